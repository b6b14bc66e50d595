"""The page docs/reference/configuration.md, made from the settings themselves."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from flows import settings
from models.config import OBJECTIVES, BalanceConfig, HealthConfig, TrainConfig
from models.config_chips import ChipsConfig
from models.config_networks import (
    DISCRIMINATORS,
    GENERATORS,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
)
from models.config_segment import SegmentConfig
from models.config_style import AugmentConfig, StyleConfig
from models.config_unpaired import CycleConfig
from tests.docs.docstrings import commented_dicts, parameters_of, summary_of
from tests.docs.markdown import GENERATED, cell, kind_of, table, told_default

ROOT = Path(__file__).resolve().parents[2]
_HEAD = f"""\
# Configuration

{GENERATED}

What a command is told stands in [commands](commands.md). Here is what files and surroundings tell:
[training settings](#training-settings), [flow parameters](#flow-parameters),
[environment variables](#environment-variables).
"""
_TRAINING = """\
## Training settings

A TOML file for `skyscale train --config`, the table `settings` of `[train]` in a
[pipeline file](../pipeline.toml), and of the flow `train`. What is left out keeps its default;
unknown keys and impossible combinations are refused. How to choose:
[training](../guides/training.md).
"""
_FLOWS = """\
## Flow parameters

What the Prefect UI shows as a form and `prefect.yaml` gives as `config`; in a
[pipeline file](../pipeline.toml) each table is one of these.
"""
_ENVIRONMENT = """\
## Environment variables

Read when a command starts; none is needed.
"""
_LIBRARIES = """\
These are given to the libraries beneath, each unless it is set already:
"""
_S3 = """\
Stores and scenes on S3, and on servers that speak its protocol: {names}; see
[the pair store](../guides/pair-store.md). Names and passwords of web servers stand in `~/.netrc`;
see [security](../guides/security.md).
"""


def configuration_page() -> str:
    """The whole page."""
    parts = [_HEAD, _TRAINING, *_training(), _FLOWS, *_flows(), _ENVIRONMENT, *_environment()]
    return "\n".join(parts)


def _training() -> Iterator[str]:
    nested = {
        "generator": GeneratorConfig,
        "discriminator": DiscriminatorConfig,
        "losses": LossConfig,
        "cycle": CycleConfig,
        "chips": ChipsConfig,
        "segment": SegmentConfig,
        "style": StyleConfig,
        "augment": AugmentConfig,
        "balance_networks": BalanceConfig,
        "health": HealthConfig,
    }
    yield _settings(TrainConfig, without=tuple(nested))
    yield f"Objectives: {', '.join(f'`{name}`' for name in OBJECTIVES)}.\n"
    for name, kind in nested.items():
        yield f"### [{name}]\n"
        yield f"{cell(summary_of(kind))}\n"
        yield _settings(kind)
        if kind is GeneratorConfig:
            yield _by_kind([GeneratorConfig(name=name) for name in GENERATORS])
        elif kind is DiscriminatorConfig:
            yield _by_kind([DiscriminatorConfig(name=name) for name in DISCRIMINATORS])


def _settings(kind: type, without: tuple[str, ...] = ()) -> str:
    meanings, hints = parameters_of(kind), get_type_hints(kind)
    rows = []
    for item in dataclasses.fields(kind):
        if item.name in without:
            continue
        default = told_default(item.default)
        if item.default is dataclasses.MISSING:
            default = "" if item.default_factory is not dataclasses.MISSING else "required"
        meaning = cell(meanings.get(item.name))
        rows.append((f"`{item.name}`", kind_of(hints[item.name]), default, meaning))
    return table(("setting", "type", "default", "meaning"), rows)


def _by_kind(examples: list[Any]) -> str:
    """Defaults that depend on the name, as the configuration fills them in."""
    names = [
        item.name
        for item in dataclasses.fields(examples[0])
        if item.default is None and item.name != "name"
    ]
    rows = [
        [f"`{example.name}`", *(told_default(getattr(example, name)) for name in names)]
        for example in examples
    ]
    return table(["left out, of", *(f"`{name}`" for name in names)], rows)


def _flows() -> Iterator[str]:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    for entrypoint in dict.fromkeys(deployment["entrypoint"] for deployment in deployments):
        file, _, name = entrypoint.partition(":")
        flow = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
        yield f"### Flow {flow.name}\n"
        yield f"{cell(flow.description)}\n"
        for parameter, hint in get_type_hints(flow.fn).items():
            if dataclasses.is_dataclass(hint) and isinstance(hint, type):
                yield _settings(hint)
            elif parameter != "return":
                yield f"`{parameter}`: {kind_of(hint)}.\n"


def _environment() -> Iterator[str]:
    rows = []
    for meaning in parameters_of(settings.Surroundings).values():
        if match := re.match(r"``([A-Z_]+)``[:;,]?\s*", meaning):
            rows.append((f"`{match[1]}`", cell(meaning[match.end() :])))
    yield table(("variable", "meaning"), rows)
    from geo.pairstore import place

    names = re.findall(r"``(AWS_\w+)``", place.__doc__ or "")
    yield _S3.format(names=", ".join(f"`{name}`" for name in names))
    yield _LIBRARIES
    rows = [
        (f"`{name}`", f"`{value}`", cell(why))
        for entries in commented_dicts(settings).values()
        for name, (value, why) in entries.items()
    ]
    yield table(("variable", "set to", "why"), rows)
