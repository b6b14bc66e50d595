"""Fixtures of the tests of `geo`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def rasters() -> ModuleType:
    """Small rasters whose right answer is known; a fixture, for tests are no package."""
    name = "skyscale_test_rasters"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("rasters.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
