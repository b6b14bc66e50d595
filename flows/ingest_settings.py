"""What the flow `ingest` is told, turned into the rules that `geo` works by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.errors import FlowError, UsageError
from flows.forms import form
from flows.ingest_form import Form, usual_form

if TYPE_CHECKING:
    from geo.decisions import PairingRules
    from geo.match import Candidate, MatchRules
    from geo.pairstore.config import StoreConfig
    from geo.pairstore.store import PairStore
    from geo.splits import SplitRule


@form
@dataclass(frozen=True, kw_only=True)
class IngestConfig:
    """Which scenes become pairs, how, and where the pairs go.

    Parameters
    ----------
    satellite, aerial : str
        STAC catalogue, collection or item (path or URL), ``stac-api:URL#COLLECTION``, GeoParquet
        of items, folder of rasters, or one raster. Pairs want both; chips alone want either;
        derived pairs the aerial one.
    store : str
        Folder or s3:// URL of the pair store; made if it is not there.
    unpaired : bool
        Cut each side on its own, without partners, for trainings that want none.
    degrade : str, optional
        Make pairs of the aerial side alone, their LR images derived of the HR ones by this:
        ``sensor``, a fixed sensor model, or a degrader: models:/skyscale-degrader@ALIAS,
        models:/skyscale-degrader/VERSION, runs:/ID/degrader, or a folder.
    aoi : str, optional
        Area of interest: GeoJSON file, or ``west,south,east,north`` in degrees.
    start : str, optional
        First day of satellite scenes, for example 2024-06-01.
    end : str, optional
        The day after the last one, for example 2024-07-01.
    max_gap_days : float
        Most days between the two acquisitions.
    season_days : float, optional
        Scenes of other years match as well, if their days of the year differ by no more; by
        default none do.
    max_solar_gap : float, optional
        Most hours between the two local solar times; by default any number.
    min_overlap : float
        Least common ground as a share of the smaller footprint.
    max_cloud : float
        Most cloud over the common ground, 0 to 1.
    dates_per_chip : int, optional
        Most satellite dates for each aerial chip, the best ones; all by default.
    min_valid : float
        Least share of good pixels in a chip.
    max_shift : float
        Largest believable shift, in satellite pixels.
    borrow_shift : bool
        Where there is nothing to register on, take the shift of the scene's neighbours.
    harmonise : {"linear", "histogram"}
        How aerial colours are brought to the satellite's.
    bands : list of str, optional
        Band names; by default those that the first scenes of both sides share.
    scale : int
        How many times finer aerial chips are: 2, 4 or 8.
    lr_size : int
        Satellite pixels on a side of a chip.
    landcover : str, optional
        GeoJSON of polygons with the property ``category``.
    split_block : int, optional
        Chips on a side of a block of held-out ground: 4 for a new store. A store keeps the metres
        that it was made with.
    split_buffer : int, optional
        Chips set aside around such a block: 1 for a new store.
    data_range : float, optional
        The DN that means 1.0; by default 255 for 8 bits, 10000 for 16 bits, 1 for reals.
    time_pattern : str, optional
        Regular expression that finds the time in names of rasters.
    catalog_dir : str, optional
        Folder of the tables of known scenes; ``catalog`` beside the store by default.
    map_dir : str, optional
        Folder of the map; ``maps`` beside the store by default, none in a dry run.
    dry_run : bool
        Only say what would be read and written.
    workers : int, optional
        Threads of the embedded Dask cluster; one for each core by default.
    """

    store: str
    satellite: str | None = None
    aerial: str | None = None
    unpaired: bool = False
    degrade: str | None = None
    aoi: str | None = None
    start: str | None = None
    end: str | None = None
    max_gap_days: float = 30.0
    season_days: float | None = None
    max_solar_gap: float | None = None
    min_overlap: float = 0.01
    max_cloud: float = 0.6
    dates_per_chip: int | None = None
    min_valid: float = 0.9
    max_shift: float = 4.0
    borrow_shift: bool = False
    harmonise: str = "linear"
    bands: list[str] | None = None
    scale: int = 4
    lr_size: int = 32
    landcover: str | None = None
    split_block: int | None = None
    split_buffer: int | None = None
    data_range: float | None = None
    time_pattern: str | None = None
    catalog_dir: str | None = None
    map_dir: str | None = None
    dry_run: bool = False
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.dates_per_chip is not None and self.dates_per_chip < 1:
            raise UsageError(f"dates_per_chip is {self.dates_per_chip}; wanted 1 or more")
        self._check_sides()

    @property
    def alone(self) -> bool:
        """Whether scenes are cut one by one, not in pairs."""
        return self.unpaired or self.degrade is not None

    def _check_sides(self) -> None:
        """Refuse a run that lacks a side, and what has no meaning without partners."""
        lacking = [side for side in ("satellite", "aerial") if not getattr(self, side)]
        if lacking and not self.alone:
            raise UsageError(
                f"--{' and --'.join(lacking)} missing: pairs want both sides; --unpaired cuts one "
                "side on its own, --degrade derives the satellite's"
            )
        if self.unpaired and self.degrade is not None:
            raise UsageError(
                "--unpaired and --degrade are both given; wanted one: chips alone, or pairs whose "
                "LR images are derived. Run the command twice for both"
            )
        if self.degrade is not None and not self.aerial:
            raise UsageError("--aerial missing: LR images are derived of aerial ones")
        if len(lacking) == 2:
            raise UsageError("--satellite and --aerial are both missing; wanted one of them")
        for name in ("dates_per_chip", "borrow_shift"):
            if self.alone and getattr(self, name):
                raise UsageError(
                    f"--{name.replace('_', '-')} is for pairs: leave it out where scenes are cut "
                    "alone"
                )


def match_rules(config: IngestConfig) -> MatchRules:
    """Which scenes go together.

    Raises
    ------
    UsageError
        If a day, the area or a limit cannot be right.
    """
    from geo.catalog.aoi import read_aoi
    from geo.match import MatchRules, parse_day

    try:
        return MatchRules(
            max_gap_days=config.max_gap_days,
            max_cloud=config.max_cloud,
            min_overlap=config.min_overlap,
            season_days=config.season_days,
            max_solar_gap_hours=config.max_solar_gap,
            start=parse_day(config.start, "start") if config.start else None,
            end=parse_day(config.end, "end") if config.end else None,
            aoi=read_aoi(config.aoi) if config.aoi else None,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def choose_form(config: IngestConfig, candidates: Sequence[Candidate]) -> Form | None:
    """Bands and dtype: as the store has them, else as most scene pairs do.

    Raises
    ------
    GeoError
        When no scene pair can be joined and there is no store yet.
    """
    from geo.pairstore.store import PairStore

    exists, form = PairStore.exists(config.store), None
    split_is_told = config.split_block is not None or config.split_buffer is not None
    if candidates and (split_is_told or not exists):
        try:
            form = usual_form(candidates, config.bands, config.scale)
        except ValueError as error:
            raise UsageError(str(error)) from error
    if not exists:
        return form
    store = PairStore.open(config.store).config
    pixel_m = form.pixel_m if form is not None else None
    return Form(bands=tuple(config.bands or store.bands), dtype=store.dtype, pixel_m=pixel_m)


def pairing_rules(config: IngestConfig, form: Form | None) -> PairingRules:
    """How pairs are made."""
    from geo.alignment import AlignRules
    from geo.coregister import RegistrationRules
    from geo.cut import CutRules
    from geo.decisions import PairingRules
    from geo.harmonise import HarmoniseRules

    try:
        return PairingRules(
            bands=form.bands if form else (),
            scale=config.scale,
            lr_size=config.lr_size,
            align=AlignRules(
                registration=RegistrationRules(max_shift_px=config.max_shift),
                harmonise=HarmoniseRules(method=config.harmonise),  # type: ignore[arg-type]  # checks itself
                max_cloud=config.max_cloud,
            ),
            cut=CutRules(min_valid=config.min_valid),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def open_store(config: IngestConfig, form: Form | None, rules: PairingRules) -> PairStore:
    """Open the store, made if it is new."""
    from geo.pairstore.store import PairStore

    return PairStore.create_or_open(config.store, store_config(config, form, rules))


def store_config(config: IngestConfig, form: Form | None, rules: PairingRules) -> StoreConfig:
    """What the store's pairs are to share.

    Raises
    ------
    FlowError
        If there is nothing to make a store of.
    UsageError
        If a setting cannot be.
    """
    from geo.pairstore.config import StoreConfig, default_data_range

    if form is None:
        if config.alone:
            raise FlowError(
                "no scene is left to cut, so there is nothing to make a store of; the refusals are "
                "listed above (look at --start, --end, --aoi and --max-cloud)"
            )
        raise FlowError(
            "no scene pair matches, so there is nothing to make a store of; the refusals are "
            "listed above (look at dates, footprints, --max-gap-days and --max-cloud)"
        )
    try:
        return StoreConfig(
            bands=form.bands,
            scale=rules.scale,
            lr_size=rules.lr_size,
            dtype=form.dtype,
            data_range=config.data_range or default_data_range(form.dtype),
            split=_split_rule(config, form, rules),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _split_rule(config: IngestConfig, form: Form, rules: PairingRules) -> SplitRule:
    """Held-out ground in metres: as the store has it, or by the chips of the first scenes."""
    from geo.pairstore.store import PairStore
    from geo.splits import SplitRule

    block = 4 if config.split_block is None else config.split_block
    buffer = 1 if config.split_buffer is None else config.split_buffer
    if block < 1 or not 0 <= buffer <= block:
        raise UsageError(
            f"split_block is {block} and split_buffer {buffer}; wanted 1 or more chips, and 0 to "
            "split_block of them around"
        )
    if form.pixel_m is None:
        return PairStore.open(config.store).config.split
    chip_m = rules.lr_size * form.pixel_m
    return SplitRule(block_m=block * chip_m, buffer_m=buffer * chip_m)


def home_of(store: str) -> Path:
    """Folder of this machine for tables and maps of a store: its own, or of its name."""
    from geo.pairstore.place import is_remote, place_of

    return Path(place_of(store).name if is_remote(store) else store)
