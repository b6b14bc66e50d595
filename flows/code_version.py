"""Which code a run was made with."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_HERE = Path(__file__).resolve()
_LIBRARIES = ("torch", "mlflow", "numpy")


def code_tags() -> dict[str, str]:
    """Tags of a run: package version, git commit where the code is a clone, versions beside it."""
    tags = {
        "mlflow.source.name": "skyscale train",
        "mlflow.source.type": "LOCAL",
        "skyscale_version": _version("skyscale"),
        "python_version": platform.python_version(),
        **{f"{name}_version": _version(name) for name in _LIBRARIES},
    }
    # Installed inside another project's clone, the commit would be that project's.
    if _git("ls-files", "--error-unmatch", _HERE.name) is not None and (
        commit := _git("rev-parse", "HEAD")
    ):
        tags["mlflow.source.git.commit"] = commit
        tags["git_changed_files"] = str(len((_git("status", "--porcelain") or "").splitlines()))
    return tags


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _git(*arguments: str) -> str | None:
    """What git answers; None where there is no git or it refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(_HERE.parent), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
