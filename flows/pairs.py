"""Looking into a store and caring for it, and the shift between two rasters: no flow needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import say
from flows.errors import UsageError
from flows.progress import Progress

if TYPE_CHECKING:
    from geo.pairstore.store import PairStore

_MESSAGE = "skyscale pairs"


@dataclass(frozen=True, kw_only=True)
class PairsRequest:
    """What ``skyscale pairs`` is asked for; without any of it, it says what the store holds.

    Parameters
    ----------
    store : str
    version : str, optional
        Number or tag; the newest by default.
    since : str, optional
        Number or tag: say what has been added, removed and replaced after it.
    keep_days : float
        Versions replaced longer ago are expired.
    """

    store: str
    version: str | None = None
    rejected: bool = False
    versions: bool = False
    since: str | None = None
    tag: str | None = None
    untag: str | None = None
    remove_scene: str | None = None
    readmit_scene: str | None = None
    verify: bool = False
    repair: bool = False
    compact: bool = False
    expire: bool = False
    keep_days: float = 7.0
    dry_run: bool = False
    export_png: Path | None = None
    export_webdataset: Path | None = None

    def __post_init__(self) -> None:
        if self.repair and not self.verify:
            raise UsageError("--repair wants --verify beside it: what is damaged has to be found")
        if self.repair and self.version is not None:
            raise UsageError("--repair mends the newest version; leave --version out")
        if self.dry_run and not self.expire:
            raise UsageError("--dry-run is for --expire")
        if self.keep_days < 1:
            raise UsageError(
                f"--keep-days is {self.keep_days:g}; wanted 1 or more: what was replaced today may "
                "still be read"
            )


def describe_store(request: PairsRequest) -> dict[str, Any]:
    """Do what is asked for, then say what the store holds: what ``skyscale pairs`` prints."""
    from geo.pairstore.store import PairStore

    store = PairStore.open(request.store)
    result = _change(store, request)
    version = store.tags.resolve(request.version)
    if request.tag:
        result["tag"] = asdict(store.tags.add(request.tag, version))
    result = store.summary(version) | result
    if request.rejected:
        wanted = ("satellite_id", "aerial_id", "row", "col", "reason", "value", "limit", "detail")
        table = store.rows(kind="rejection", version=version, columns=wanted)
        result["rejections"] = table.select(wanted).to_pylist()
    if request.versions:
        result["versions"] = _list_versions(store)
    if request.since is not None:
        result["since"] = _compare(store, store.tags.resolve(request.since), version)
    if request.verify:
        result["verify"] = _verify(store, version, repair=request.repair)
    return result | _export(store, request, version)


def _change(store: PairStore, request: PairsRequest) -> dict[str, Any]:
    """What makes new versions, or lets go of old ones."""
    result: dict[str, Any] = {}
    if request.untag:
        store.tags.remove(request.untag)
    if request.remove_scene:
        version, pairs = store.withdraw(request.remove_scene, _MESSAGE)
        result["removed"] = {"scene": request.remove_scene, "pairs": pairs, "version": version}
    if request.readmit_scene:
        version = store.readmit(request.readmit_scene, _MESSAGE)
        result["readmitted"] = {"scene": request.readmit_scene, "version": version}
    if request.compact:
        from geo.pairstore.care import compact_store

        done = compact_store(store, _MESSAGE, progress=_counting("compact"))
        result["compact"] = asdict(done)
    if request.expire:
        from geo.pairstore.care import expire_store

        gone = expire_store(store, keep_days=request.keep_days, dry_run=request.dry_run)
        result["expire"] = asdict(gone) | {"dry_run": request.dry_run}
    return result


def _list_versions(store: PairStore) -> list[dict[str, Any]]:
    tags: dict[int, list[str]] = {}
    for tag in store.tags.all():
        tags.setdefault(tag.version, []).append(tag.name)
    return [
        {
            "version": commit.version,
            "time": commit.time.isoformat(timespec="seconds"),
            "by": commit.message or commit.operation.lower(),
            "tags": tags.get(commit.version, []),
        }
        for commit in store.tags.versions()
    ]


def _compare(store: PairStore, first: int, second: int) -> dict[str, Any]:
    difference = store.tags.compare(first, second)
    names = ("added", "removed", "replaced")
    return {
        "first": first,
        "second": second,
        **{name: len(getattr(difference, name)) for name in names},
        "added_by_split": difference.added_by_split,
        "identities": {name: list(getattr(difference, name)) for name in names},
    }


def _verify(store: PairStore, version: int, *, repair: bool) -> dict[str, Any]:
    from geo.pairstore.verify import repair_store, verify_store

    verdict = verify_store(store, version=version, progress=_counting("verify"))
    result = asdict(verdict) | {"well": verdict.is_well}
    if repair and not verdict.is_well:
        result["repaired_version"], result["forgotten"] = repair_store(store, verdict, _MESSAGE)
        say(f"verify: {result['forgotten']} rows forgotten; ingest their scenes again")
    return result


def _export(store: PairStore, request: PairsRequest, version: int) -> dict[str, Any]:
    from geo.pairstore import exports

    result = {}
    if request.export_png is not None:
        result["pictures"] = exports.export_png(
            store, request.export_png, version=version, progress=_counting("export")
        )
    if request.export_webdataset is not None:
        result["webdataset"] = exports.export_webdataset(
            store, request.export_webdataset, version=version, progress=_counting("export")
        )
    return result


def _counting(what: str) -> Callable[[int, int], None]:
    """Tell now and then how far the work is."""
    progress: list[Progress] = []
    before = 0

    def tell(done: int, total: int) -> None:
        nonlocal before
        if not progress:
            progress.append(Progress(what, total, "pairs"))
        progress[0].add(done - before)
        before = done

    return tell


def measure_shift(reference: str, target: str, *, max_shift: float) -> dict[str, Any]:
    """What ``skyscale coregister`` prints."""
    from geo.alignment import AlignRules
    from geo.coregister import RegistrationRules
    from geo.raster_shift import align_rasters

    rules = AlignRules(registration=RegistrationRules(max_shift_px=max_shift))
    alignment, metres_yx = align_rasters(reference, target, rules=rules)
    return {
        "dy_px": alignment.dy_px,
        "dx_px": alignment.dx_px,
        "dy_m": alignment.dy_px * metres_yx[0],
        "dx_m": alignment.dx_px * metres_yx[1],
        "reliability": alignment.reliability,
        "accepted": alignment.accepted,
        "reason": alignment.reason,
        "residual_px": alignment.residual_px,
        "correlation": alignment.correlation,
    }
