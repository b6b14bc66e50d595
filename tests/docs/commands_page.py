"""The page docs/reference/commands.md, made from the command itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_type_hints

import typer

from flows.cli import app
from tests.docs.markdown import GENERATED, cell, kind_of, table

_HEAD = f"""\
# Commands

{GENERATED}

`skyscale COMMAND --help` says the same at a terminal. Every command takes `--debug` (the traceback
of an error), and all but `up` take `--json` (one JSON object on standard output, nothing else).

| exit status | means |
|---|---|
| 0 | done |
| 1 | failed, interrupted (the same command goes on from there), or `pairs --verify` found damage |
| 2 | wrong usage: an option, a value or a file of settings that cannot be right |

The result stands on standard output, the story and errors (one line, `skyscale: ...`) on standard
error. Settings of the training, of flows and of the environment: [configuration](configuration.md).
"""
_SHARED = ("json", "debug", "help")


def commands_page() -> str:
    """The whole page."""
    commands, hints = dict(all_commands(typer.main.get_command(app))), dict(_hints(app))
    names = ", ".join(f"[{name}](#{name.replace(' ', '-')})" for name in commands)
    parts = [_HEAD, f"{names}.\n"]
    parts += ["\n".join(_section(name, c, hints[name])) for name, c in commands.items()]
    return "\n".join(parts)


def all_commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Commands by their names, those of groups as ``GROUP COMMAND``."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from all_commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _hints(app: typer.Typer, before: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for info in app.registered_commands:
        if info.callback is not None:
            yield f"{before}{info.name or info.callback.__name__}", get_type_hints(info.callback)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from _hints(group.typer_instance, f"{before}{group.name} ")


def _section(name: str, command: Any, hints: dict[str, Any]) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name not in _SHARED]
    yield f"## {name}\n"
    yield f"{command.help}\n"
    needed = [f"{p.opts[0]} {p.name.upper()}" for p in options if p.required]
    places = [p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments]
    yield f"`{' '.join(['skyscale', name, *places, *needed, '[OPTIONS]'])}`\n"
    yield "```sh"
    yield from _examples(command.epilog)
    yield "```\n"
    if arguments:
        rows = [(f"`{p.name.upper()}`", cell(p.help)) for p in arguments]
        yield table(("argument", "meaning"), rows)
    if options:
        rows = [_option(p, hints[p.name]) for p in options]
        yield table(("option", "type", "default", "meaning"), rows)


def _option(option: Any, hint: Any) -> tuple[str, str, str, str]:
    is_flag = bool(getattr(option, "is_flag", False))
    default = "required" if option.required else ""
    if not option.required and not is_flag and option.default is not None:
        default = f"`{option.default}`"
    return f"`{option.opts[0]}`", "" if is_flag else kind_of(hint), default, cell(option.help)


def _examples(epilog: str | None) -> Iterator[str]:
    """Commands of an epilog, each under what is said of it."""
    for paragraph in re.split(r"\n\s*\n", (epilog or "").strip()):
        text = " ".join(paragraph.split())
        said, _, example = text.partition(": ")
        said = said.removeprefix("Example").lstrip(", ")
        if not example.startswith("skyscale "):
            yield f"# {text}"
            continue
        if said:
            yield f"# {said[:1].upper()}{said[1:]}"
        yield from example.split("; ")
