"""The commands that stand in the pages: fenced ones whole, those in running text as mentions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w-]+\.toml)\b")
_INLINE = re.compile(r"`(skyscale\s[^`]+)`")
_SHELLS = ("sh", "bash", "console")
_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True)
class Command:
    """A program and its arguments, as a page tells them.

    Parameters
    ----------
    page : str
        Path from the root of the project.
    words : tuple of str
        Without prompt, comment, assignments before and pipes behind.
    whole : bool
        Whether it could be typed as it stands: fenced, and without ``...``.
    """

    page: str
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return " ".join(self.words)


def commands_of(page: str) -> list[Command]:
    """All commands of a page, in their order; mentions in running text come last."""
    text = (ROOT / page).read_text()
    found: list[Command] = []
    for match in _FENCE.finditer(text):
        language, block = match.groups()
        if language in _SHELLS:
            for line in _lines(block, prompted=language == "console"):
                found += [_command(page, words, fenced=True) for words in _split(line)]
        elif language == "yaml":
            found += [_command(page, words, fenced=True) for words in _in_yaml(block)]
    for mention in _INLINE.findall(_FENCE.sub("", text)):
        found += [_command(page, words, fenced=False) for words in _split(mention)]
    return found


def toml_files_of(page: str) -> dict[str, str]:
    """The TOML files that a page shows, by the name that stands in their first line."""
    blocks = (
        block for language, block in _FENCE.findall((ROOT / page).read_text()) if language == "toml"
    )
    return {match[1]: block for block in blocks if (match := _FILE.match(block))}


def _command(page: str, words: list[str], *, fenced: bool) -> Command:
    whole = fenced and "..." not in words
    return Command(page, tuple(word for word in words if word != "..."), whole)


def _lines(block: str, *, prompted: bool) -> Iterator[str]:
    """Lines without comments, those that go on after a backslash joined."""
    pending: str | None = None
    for line in block.splitlines():
        if pending is None:
            if prompted and not line.startswith("$ "):
                continue  # what the command has printed
            pending = ""
            line = line.removeprefix("$ ")
        bare = _COMMENT.sub("", line).strip()
        pending = f"{pending} {bare.removesuffix(chr(92))}".strip()
        if not bare.endswith(chr(92)):
            if pending:
                yield pending
            pending = None


def _split(line: str) -> Iterator[list[str]]:
    """Simple commands of a line: what stands between pipes, semicolons and brackets."""
    lexer = shlex.shlex(" ".join(line.split()), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    skip = False
    for word in [*lexer, ";"]:
        if word in ("<", ">", ">>"):  # and the file behind it
            skip = True
        elif skip:
            skip = False
        elif set(word) <= set("();|&"):
            words = [w for w in words if w != "$"]
            while words and re.match(r"[A-Za-z_]+=", words[0]):
                words = words[1:]
            if words:
                yield words[1:] if words[0] == "srun" else words
            words = []
        else:
            words.append(word)


def _in_yaml(block: str) -> Iterator[list[str]]:
    """Lists that begin with the command, as containers are told what to run."""

    def look(value: object) -> Iterator[list[str]]:
        if isinstance(value, list) and value and value[0] == "skyscale":
            yield [str(item) for item in value]
        elif isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                yield from look(item)

    for document in yaml.safe_load_all(block):
        yield from look(document)
