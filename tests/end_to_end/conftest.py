"""``skyscale up`` as users start it, once for each module that asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.training_store import make_store
from tests.servers.notice_board import NoticeBoard
from tests.servers.skyscale_up import SkyscaleUp


@pytest.fixture(scope="module")
def board() -> Iterator[NoticeBoard]:
    with NoticeBoard() as board:
        yield board


@pytest.fixture(scope="module")
def up(
    services: Path, board: NoticeBoard, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SkyscaleUp]:
    up = SkyscaleUp(tmp_path_factory.mktemp("up") / "servers", SKYSCALE_NOTICE_URL=board.url)
    up.start()
    yield up
    up.stop()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("made") / "store")
