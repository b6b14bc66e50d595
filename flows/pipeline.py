"""Flow `pipeline`: the whole path from one file."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from prefect import flow

from flows import tracking
from flows.artifacts import publish_result
from flows.errors import FlowError, UsageError
from flows.forms import form
from flows.ingest import ingest
from flows.ingest_settings import IngestConfig
from flows.notices import HOOKS
from flows.progress import duration
from flows.report import ReportFlowConfig, report
from flows.stage import stage
from flows.train import TrainFlowConfig, train
from flows.upscale import UpscaleFlowConfig, upscale

_Config = TypeVar("_Config")


@form
@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """The four stages; what one makes is filled into the next where it is left out.

    Parameters
    ----------
    ingest : IngestConfig
        Scenes to pairs.
    train : TrainFlowConfig
        Pairs to a generator.
    upscale : UpscaleFlowConfig
        A region; an empty model means the one that was trained.
    report : ReportFlowConfig
        Scores; by default logged to the run that trained.
    """

    ingest: IngestConfig
    train: TrainFlowConfig
    upscale: UpscaleFlowConfig
    report: ReportFlowConfig


def _closing(result: Mapping[str, Any]) -> str:
    stages = ", ".join(f"{name} {duration(s)}" for name, s in result["seconds"].items())
    return f"{stages}; {result['report_page']}"


@flow(name="pipeline", description="Ingest, train, upscale, report.", **HOOKS)
@stage("pipeline", _closing)
def pipeline(config: PipelineConfig) -> dict[str, Any]:
    """Run all stages; the report is logged to the run that trained the model."""
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        started = time.monotonic()
        result = work()
        seconds[name] = round(time.monotonic() - started, 1)
        return result

    ingested = timed("ingest", lambda: ingest(config.ingest))
    trained = timed("train", lambda: train(config.train))
    model = config.upscale.model or trained["model_uri"]
    if not model:
        raise FlowError(f"{trained['reason']}, and there is no champion to upscale with")
    upscaling = _with(config.upscale, model=model)
    upscaled = timed("upscale", lambda: upscale(upscaling))
    reporting = _with(config.report, run_id=config.report.run_id or trained["run_id"])
    reported = timed("report", lambda: report(reporting))
    if trained["run_id"] is not None:
        tracking.log_metrics(trained["run_id"], {f"seconds/{k}": v for k, v in seconds.items()})
    total = sum(seconds.values())
    publish_result("pipeline", seconds, f"All four stages in {total:.0f} s; seconds of each")
    return {
        "ingest": ingested,
        "train": trained,
        "upscale": upscaled,
        "report": reported,
        "report_page": str(Path(config.report.out) / "report.html"),
        "seconds": seconds,
    }


def _with(config: _Config, **changes: Any) -> _Config:
    return type(config)(**{**{f.name: getattr(config, f.name) for f in fields(config)}, **changes})  # type: ignore[arg-type]  # any dataclass


def read_pipeline(path: Path) -> PipelineConfig:
    """Read the file; paths in it are relative to the working folder.

    Raises
    ------
    UsageError
        If the file or a table or a key in it is wrong; the message names it.
    """
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML ({error})") from error
    unknown = set(tables) - {f.name for f in fields(PipelineConfig)}
    if unknown:
        raise UsageError(
            f"{path}: unknown table {', '.join(sorted(unknown))}; wanted ingest, train, upscale, "
            "report"
        )
    ingest_config = _table(path, tables, "ingest", IngestConfig, {})
    store = {"store": ingest_config.store}
    upscale_config = _table(path, tables, "upscale", UpscaleFlowConfig, {"model": ""})
    has_maps = tables.get("report", {}).get("segmenter") is not None
    return PipelineConfig(
        ingest=ingest_config,
        train=_table(path, tables, "train", TrainFlowConfig, store),
        upscale=upscale_config,
        report=_table(
            path,
            tables,
            "report",
            ReportFlowConfig,
            {
                "sr": upscale_config.output,
                **({"reference": ingest_config.aerial} if ingest_config.aerial else {}),
                "lr": upscale_config.source,
                "landcover": ingest_config.landcover,
                **({"labels": ingest_config.landcover} if has_maps else {}),
                **store,
            },
        ),
    )


def _table(
    path: Path,
    tables: Mapping[str, Any],
    name: str,
    kind: type[_Config],
    defaults: Mapping[str, Any],
) -> _Config:
    values = {**defaults, **tables.get(name, {})}
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]  # a dataclass
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UsageError(
            f"{path}: [{name}] has unknown key {', '.join(unknown)}; known are {', '.join(known)}"
        )
    try:
        return kind(**values)
    except TypeError as error:
        missing = str(error).split(":")[-1].strip()
        raise UsageError(f"{path}: [{name}] lacks {missing}") from error
