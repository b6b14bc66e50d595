"""Dask's dashboard is told of where there is one, and only there."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from flows.dashboard import find_dashboard
from flows.runtime import dask_client

HAS_BOKEH = find_spec("bokeh") is not None


@pytest.mark.skipif(HAS_BOKEH, reason="bokeh is installed")
def test_a_page_that_only_asks_for_bokeh_is_no_dashboard() -> None:
    with dask_client(1) as client:
        assert "dashboard" in client.scheduler_info(n_workers=0)["services"]
        assert find_dashboard(client, embedded=True) is None


@pytest.mark.skipif(not HAS_BOKEH, reason="bokeh is not installed")
def test_that_of_an_embedded_cluster_is_on_this_machine_alone() -> None:
    with dask_client(1) as client:
        link = find_dashboard(client, embedded=True)
        assert link is not None
        assert link.startswith("http://127.0.0.1:")
