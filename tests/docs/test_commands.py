"""Every command that a page tells could be typed: it exists, and takes these options and values."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli import app
from tests.docs.commands_page import all_commands
from tests.docs.shell import PAGES, ROOT, Command, commands_of

GROUP: Any = typer.main.get_command(app)
COMMANDS = dict(all_commands(GROUP))
EVERY = [command for page in PAGES for command in commands_of(page)]
# Stand for any command in running text.
_ANY = ("COMMAND",)
# Of the shell, or of programs that pages only pass things through, or that are not Python's.
_SHELL = {".", "echo", "export", "head", "jq", "scontrol", "git", "cd", "mail", "docker", "kubectl"}


def found(words: Sequence[str]) -> tuple[str, list[str]]:
    """A command, of one word or of two, and what follows it."""
    two = " ".join(words[:2])
    return (two, list(words[2:])) if two in COMMANDS else (words[0], list(words[1:]))


def refusal(words: Sequence[str]) -> str | None:
    """What the command would say to these words, without doing anything."""
    name, rest = found(words)
    if name not in COMMANDS:
        return f"no command {name}"
    try:
        COMMANDS[name].make_context(name, [_value(word) for word in rest])
    except typer.Exit:  # --help
        return None
    except Exception as error:  # of click, wherever typer has it from
        if getattr(error, "exit_code", None) != 2:
            raise
        return str(error)
    return None


def _value(word: str) -> str:
    """A variable as a number, which is a text as well."""
    return "1" if word.startswith("$") else word


def unknown_names(words: Sequence[str]) -> list[str]:
    """Commands and options that are not there, of a mention that is not complete."""
    name, rest = found(words)
    if name in _ANY or words == ["--help"] or (name in GROUP.commands and not rest):
        return []
    if name not in COMMANDS:
        return [name]
    known = {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts)}
    return [w for w in rest if w.startswith("--") and w.partition("=")[0] not in {*known, "--help"}]


def test_commands_are_found_in_all_their_forms() -> None:
    told = [str(command) for command in EVERY]
    assert "skyscale scenes my-scenes" in told  # after a prompt
    assert any("report sr.tif my-scenes/aerial --store" in t for t in told)  # over two lines
    assert any("--prepare --json" in t for t in told)  # within $( ... | ... )
    assert any("train-0.train:29500" in t for t in told)  # of a container
    assert len(told) > 80


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_would_be_understood(page: str) -> None:
    wrong = {}
    for command in commands_of(page):
        program, *words = command.words
        if program == "skyscale" and words:
            found = refusal(words) if command.whole else unknown_names(words)
            wrong |= {str(command): found} if found else {}
        elif program == "make":
            targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            wrong |= {} if set(words) <= set(targets) else {str(command): "no such target"}
    assert wrong == {}


@pytest.mark.parametrize(
    "words",
    [
        ("paris", "my-store"),
        ("pairs",),
        ("pairs", "my-store", "--tga", "v1"),
        ("train", "--store", "s", "--nproc", "many"),
    ],
)
def test_a_wrong_command_is_seen(words: tuple[str, ...]) -> None:
    assert refusal(words)


def test_links_between_pages_lead_somewhere() -> None:
    dead = []
    for page in PAGES:
        path = ROOT / page
        text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            file, _, anchor = target.partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            there = (path.parent / file).resolve() if file else path
            if not there.exists() or (anchor and anchor not in anchors(there)):
                dead.append(f"{page}: {target}")
    assert dead == []


def anchors(page: Path) -> set[str]:
    """What headings of a page are called in links to them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", h.lower()) for h in headings)
    return {re.sub(r"\s", "-", text.strip()) for text in plain}


def programs_of_others() -> list[Command]:
    return [c for c in EVERY if c.words[0] not in {"skyscale", "make", *_SHELL}]


@pytest.mark.slow
@pytest.mark.parametrize("command", programs_of_others(), ids=str)
def test_options_of_other_programs_exist(command: Command) -> None:
    """As far as their own help knows: mlflow, dask, prefect, torchrun."""
    program, *words = command.words
    names = [w for w in words if re.fullmatch(r"[a-z][a-z-]+", w)] if program != "torchrun" else []
    subcommands = names[: 2 if program == "prefect" else 1]
    ours = words.index("-m") if "-m" in words else len(words)
    told = help_of(program, *subcommands)
    for option in (w.partition("=")[0] for w in words[:ours] if w.startswith("-")):
        assert re.search(rf"(?<![\w-]){option}\b", told), option


@cache
def help_of(program: str, *subcommands: str) -> str:
    path = Path(sys.executable).with_name(program)
    done = subprocess.run([path, *subcommands, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
