"""What chips of single scenes are made like: bands, numbers, pixels, colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flows.console import say
from flows.errors import FlowError
from flows.ingest_form import Form, usual_form_alone
from flows.runtime import run_all
from geo.errors import BandError, GeoError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import shapely

    from flows.ingest_settings import IngestConfig
    from geo.catalog.scene import Scene
    from geo.colour_fit import ColourFit
    from geo.decisions import PairingRules
    from geo.lone_scene import LoneRules
    from geo.pairstore.store import PairStore

    Wanted = Mapping[str, Sequence[tuple[Scene, shapely.Geometry]]]

SIDES = {"satellite": "lr", "aerial": "hr"}
# Pixels of the two sides may differ by no more, as a share: satellites' differ with the latitude.
_SAME_PIXEL = 0.05
_MOST_SAMPLED = 64  # scenes of each side whose colours are looked at
_MOST_COLOURS = 200_000  # pixels of each side, over all of them


def form_alone(config: IngestConfig, wanted: Wanted) -> Form | None:
    """Bands, dtype and LR pixel: as the store has them, else as most scenes have.

    Returns
    -------
    Form or None
        None where there is neither a store nor a scene.

    Raises
    ------
    FlowError
        If the two sides would be of different pixels.
    GeoError
        If no scene of a side can be used.
    """
    from geo.lone_rows import pixel_of_store
    from geo.pairstore.store import PairStore

    store = PairStore.open(config.store) if PairStore.exists(config.store) else None
    bands = config.bands or (None if store is None else list(store.config.bands))
    usual = {
        side: usual_form_alone([scene for scene, _ in wanted[side]], bands)
        for side in SIDES
        if wanted[side]
    }
    known = None if store is None else pixel_of_store(store)
    if (satellite := usual.get("satellite")) is not None:
        _check_pixel(config, satellite.pixel_m, known)
        pixel_m = known or satellite.pixel_m
    else:
        aerial = usual.get("aerial")
        pixel_m = known or (config.scale * aerial.pixel_m if aerial and aerial.pixel_m else None)
    if store is not None:
        return Form(bands=tuple(bands or ()), dtype=store.config.dtype, pixel_m=pixel_m)
    if not usual:
        return None
    main = usual.get("satellite") or usual["aerial"]
    return Form(
        bands=tuple(bands) if bands else _shared_bands(usual), dtype=main.dtype, pixel_m=pixel_m
    )


def _check_pixel(config: IngestConfig, satellite_m: float | None, known_m: float | None) -> None:
    if satellite_m and known_m and abs(satellite_m / known_m - 1) > _SAME_PIXEL:
        raise FlowError(
            f"{config.store} holds images for LR pixels of {known_m:g} m, and pixels of the "
            f"satellite side are of {satellite_m:g} m: nobody could learn {config.scale} times "
            "finer of one from the other; ingest into a new store, the satellite side first or "
            "both sides together"
        )


def _shared_bands(usual: Mapping[str, Form]) -> tuple[str, ...]:
    """Bands that all sides have, in the satellite's order."""
    names = [form.bands for form in usual.values()]
    if shared := tuple(name for name in names[0] if all(name in other for other in names)):
        return shared
    told = " and ".join(f"{', '.join(form.bands)} ({side})" for side, form in usual.items())
    raise BandError(f"the bands {told} share no name; name them alike or use --bands")


def rules_alone(
    config: IngestConfig,
    form: Form | None,
    pairing: PairingRules,
    wanted: Wanted,
    derived: str | None = None,
) -> LoneRules:
    """How chips are made of single scenes.

    Parameters
    ----------
    derived : str, optional
        Name of what derives LR images of HR ones, where these are to become pairs.

    Raises
    ------
    FlowError
        If aerial images cannot come into the store, for their numbers are others and there is no
        satellite image to go by.
    """
    from geo.lone_rows import lr_of_store
    from geo.lone_scene import LoneRules
    from geo.pairstore.store import PairStore

    coloured = bool(wanted["satellite"])
    if wanted["aerial"] and not coloured and PairStore.exists(config.store):
        coloured = lr_of_store(PairStore.open(config.store), 1) is not None
    if wanted["aerial"] and not coloured and form is not None:
        found = usual_form_alone([scene for scene, _ in wanted["aerial"]], form.bands).dtype
        if found != form.dtype:
            raise FlowError(
                f"the aerial scenes hold {found}, {config.store} holds {form.dtype}, and there is "
                "no satellite image whose colours they could be brought to: give --satellite as "
                "well, or ingest the satellite side first"
            )
    pixel_m = 0.0 if form is None or form.pixel_m is None else form.pixel_m
    return LoneRules(pairing=pairing, pixel_m=pixel_m, coloured=coloured, derived=derived)


def find_colours(
    client: Any, rules: LoneRules, wanted: Wanted, store: PairStore
) -> ColourFit | None:
    """What brings aerial scenes into the colours of the satellite side, all of them alike.

    Those that the store has cut by already, or else a new fit of both collections as a whole.

    Raises
    ------
    FlowError
        If no good pixel of a side is found.
    """
    from geo.harmonise import fit_collections
    from geo.lone_rows import colours_of_store, lr_of_store

    if not (rules.coloured and wanted["aerial"]):
        return None
    if (known := colours_of_store(store, rules)) is not None:
        return known
    aerial, _ = _sample(client, "aerial", rules, wanted)
    sampled = lr_of_store(store, _MOST_COLOURS) if not wanted["satellite"] else None
    lr, noise = sampled or _sample(client, "satellite", rules, wanted)
    fit = fit_collections(aerial, lr, rules.pairing.align.harmonise.method, noise_dn=noise)
    told = ", ".join(
        f"{band} x {gain:.3g} {offset:+.4g}"
        for band, gain, offset in zip(rules.pairing.bands, fit.gains, fit.offsets, strict=True)
    )
    say(f"ingest: aerial colours to the satellite side's, by all scenes together: {told}")
    return fit


def _sample(
    client: Any, side: str, rules: LoneRules, wanted: Wanted
) -> tuple[npt.NDArray[np.float32], tuple[float, ...]]:
    """Good pixels of scenes all over a side, at LR resolution, and their usual noise."""
    import numpy as np

    from flows.ingest_alone_work import sample

    scenes = wanted[side]
    count = min(len(scenes), _MOST_SAMPLED)
    chosen = np.unique(np.linspace(0, len(scenes) - 1, count).round().astype(int)).tolist()
    most = -(-_MOST_COLOURS // max(count, 1))
    jobs = [(i, *scenes[i], SIDES[side], rules, most) for i in chosen]
    found = dict(run_all(client, sample, jobs))
    good = [seen for i in chosen if not isinstance(seen := found[i], GeoError)]
    pixels = [values for values, _ in good if values.shape[1]]
    if not pixels:
        errors = [f"; {e}" for e in found.values() if isinstance(e, GeoError)]
        raise FlowError(
            f"no good pixel was found on the {side} side, so there are no colours to go by"
            f"{errors[0] if errors else ''}"
        )
    noises = [noise for _, noise in good if any(noise)] or [noise for _, noise in good]
    return np.concatenate(pixels, axis=1), tuple(np.median(noises, axis=0).tolist())


def with_settled_split(config: IngestConfig, form: Form | None) -> Form | None:
    """The form as far as it decides the split of a store that is there: its metres stay."""
    from geo.pairstore.store import PairStore

    told = config.split_block is not None or config.split_buffer is not None
    if form is None or told or not PairStore.exists(config.store):
        return form
    return replace(form, pixel_m=None)
