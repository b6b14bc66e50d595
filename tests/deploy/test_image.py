"""The Dockerfile, as far as it can be judged where there is no Docker."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.deploy.pools import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def copied() -> list[str]:
    """What comes from the project's folder."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_all_that_is_copied_is_there_and_nothing_else_is_sent() -> None:
    assert copied()
    assert [name for name in copied() if not (ROOT / name).exists()] == []
    assert IGNORED[1] == "*"
    sent = {line.removeprefix("!") for line in IGNORED if line.startswith("!")}
    assert sent == set(copied())


def test_packages_of_the_wheel_are_in_the_image() -> None:
    assert {"flows", "geo", "models", "prefect.yaml", "deploy"} <= set(copied())


def installs(text: str) -> tuple[str, ...]:
    """Options of the one installation of a file, extras apart."""
    joined = re.sub(r"\\\n\s*", " ", text)
    (line,) = re.findall(r"pip install (.*--editable '\.\[[\w,]+\]')", joined)
    words = re.sub(r"\[[\w,]+\]", "[]", line).split()
    return tuple(word for word in words if word not in ("--quiet", "--disable-pip-version-check"))


def test_it_is_installed_as_a_clone_is() -> None:
    assert installs(DOCKERFILE) == installs((ROOT / "Makefile").read_text())


def test_extras_are_known_and_their_packages_pinned() -> None:
    (extras,) = re.findall(r"--editable '\.\[([\w,]+)\]'", DOCKERFILE)
    pinned = {
        line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().split()
    }
    for extra in extras.split(","):
        for wanted in PROJECT["optional-dependencies"][extra]:
            name = re.split(r"[<>=;\[ ]", wanted)[0].lower()
            assert name in pinned, f"{extra}: {name}"


def test_its_python_is_the_one_that_versions_are_tested_on() -> None:
    (python,) = re.findall(r"^ARG PYTHON=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert f"(Python {python})" in (ROOT / "constraints.txt").read_text().splitlines()[0]
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]


@pytest.mark.parametrize("line", ["USER 1000:1000", 'ENTRYPOINT ["tini", "--"]'])
def test_flows_run_without_rights_under_something_that_buries_orphans(line: str) -> None:
    assert line in DOCKERFILE.split("FROM")[-1].splitlines()
