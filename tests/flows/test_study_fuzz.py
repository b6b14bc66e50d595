"""What no page of a study sends: thousands of odd requests, and no error of the server's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.study.app import Sittings, build_app
from tests.flows.studies import Rater, Server, make_study

EXAMPLES = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("study") / "study"
    study = make_study(folder)
    with Server(study, folder) as server:
        server.schema = build_app(Sittings(study, folder, server.records)).openapi()  # type: ignore[attr-defined]
        yield server


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_nothing_that_is_sent_makes_the_server_fail(server: Server) -> None:
    rater = Rater(server.client)
    token = rater.link.removeprefix("/r/")
    schema = schemathesis.openapi.from_dict(server.schema)  # type: ignore[attr-defined]
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {operation.path for operation in operations} >= {
        "/join/{access}",
        "/r/{token}",
        "/r/{token}/image/{number}/{slot}",
    }
    codes: set[int] = set()
    for operation in operations:

        @given(case=operation.as_strategy(), known=st.booleans())
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Any, known: bool) -> None:
            if known and "token" in (case.path_parameters or {}):
                case.path_parameters["token"] = token
            response = case.call(base_url=str(server.client.base_url), allow_redirects=False)
            codes.add(response.status_code)
            assert response.status_code < 500, (case, response.text)

        ask()
    assert {200, 303, 404, 422} <= codes
    for answer in server.records.answers():
        assert answer["answer"] in ("real", "generated", "left", "right", *"12345")
