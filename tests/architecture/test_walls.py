"""The walls of the house: geo knows places, models knows tensors, only flows knows both."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    "geo": {"torch", "prefect", "mlflow", "distributed", "models", "flows"},
    "models": {"rasterio", "zarr", "dask", "prefect", "mlflow", "distributed", "geo", "flows"},
}


def modules(package: str) -> Iterator[Path]:
    yield from sorted((ROOT / package).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Top-level names that a module imports anywhere, also inside functions and by a string."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            named = node.args[0]
            if isinstance(named, ast.Constant):
                names.add(str(named.value).split(".")[0])
    return names


@pytest.mark.parametrize("package", ["geo", "models"])
def test_no_import_goes_through_a_wall(package: str) -> None:
    crossing = {
        str(path.relative_to(ROOT)): sorted(imports_of(path) & FORBIDDEN[package])
        for path in modules(package)
        if imports_of(path) & FORBIDDEN[package]
    }
    assert crossing == {}


def test_a_crossing_would_be_seen(tmp_path: Path) -> None:
    module = tmp_path / "m.py"
    module.write_text(
        "import importlib\n"
        "def f():\n    from torch.nn import Linear\n    import dask.array\n"
        "    importlib.import_module('mlflow.pytorch')\n"
    )
    assert imports_of(module) == {"importlib", "torch", "dask", "mlflow"}


@pytest.mark.parametrize("package", ["geo", "models", "flows"])
def test_packages_start_empty_and_have_no_drawer_for_everything(package: str) -> None:
    for path in modules(package):
        if path.name == "__init__.py":
            assert path.read_text() == "", path
        assert path.stem not in {"utils", "helpers", "misc", "common"}, path


def reads_environment(source: str) -> bool:
    """Whether code touches the environment, as ``os.environ`` or by a name taken from `os`."""
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in names:
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            taken = {alias.name for alias in node.names}
            if names & taken:
                return True
    return False


def test_only_settings_reads_the_environment() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for package in ("geo", "models", "flows")
        for path in modules(package)
        if reads_environment(path.read_text())
    }
    # Where an S3 server is, and by whose leave, is told to all its clients by the environment.
    assert readers == {"flows/settings.py", "geo/pairstore/place.py"}


@pytest.mark.parametrize(
    "source",
    ["import os\nos.environ['A']", "from os import getenv", "import os as o\no.environ.get('A')"],
)
def test_a_reader_of_the_environment_would_be_seen(source: str) -> None:
    assert reads_environment(source)
    assert not reads_environment('"""Says os.environ in words only."""\nimport os\nos.getpid()')


def test_nothing_committed_names_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    # Spelled in two parts, so that this file does not name what it looks for.
    pattern = re.compile(r"/(?:ro" + r"ot|wo" + r"rk|ho" + r"me)/[a-z]")
    naming = [
        name
        for name in listed.stdout.splitlines()
        if Path(name).suffix in {".py", ".toml", ".yaml", ".md", ".txt", ".js", ".html", ""}
        and (ROOT / name).is_file()
        and pattern.search((ROOT / name).read_text(errors="ignore"))
    ]
    assert naming == []
