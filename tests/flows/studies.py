"""Small studies of drawn images, and raters who answer over HTTP."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import uvicorn

from flows.study.app import Sittings, build_app
from flows.study.pictures import encode_plain
from flows.study.plan import (
    BICUBIC,
    LR,
    OPINION,
    PREFERENCE,
    REAL,
    REAL_OR_GENERATED,
    SR,
    Place,
    Study,
    write_study,
)
from flows.study.records import Records

TRIALS = {REAL_OR_GENERATED: 8, PREFERENCE: 4, OPINION: 4}
SIDE_PX = 32


def make_study(folder: Path, *, places: int = 24, **settings: object) -> Study:
    """A study in a folder; each source of each place is an image of its own."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    made = []
    for number in range(places):
        images = {}
        for source in (REAL, SR, BICUBIC, LR):
            images[source] = f"{random.bytes(16).hex()}.png"
            # What is generated is smoother, and would compress better.
            step = 1 if source == REAL else 8
            small = random.integers(0, 255, (SIDE_PX // step, SIDE_PX // step, 3), np.uint8)
            picture = small.repeat(step, axis=0).repeat(step, axis=1)
            (folder / "images" / images[source]).write_bytes(encode_plain(picture))
        category = ("farm", "harbour", None)[number % 3]
        made.append(Place(name=f"r{number}", category=category, images=images, practice=number < 4))
    study = Study(
        **{  # type: ignore[arg-type]  # what tests change
            "title": "Ground from above",
            "places": tuple(made),
            "side_px": SIDE_PX,
            "trials": TRIALS,
            "consent": "You see pictures.\n\nNothing is kept of you.",
            **settings,
        }
    )
    write_study(study, folder)
    return study


class Rater:
    """Somebody at a browser, so to speak.

    Parameters
    ----------
    client : httpx.Client
    link : str, optional
        Of somebody who has begun.
    """

    def __init__(self, client: httpx.Client, link: str | None = None) -> None:
        self.client = client
        if link is None:
            answer = client.post("/join/open", data={"consent": "yes"})
            assert answer.status_code == 303, answer.text
            link = answer.headers["location"]
        self.link = link

    def page(self) -> str:
        answer = self.client.get(self.link)
        assert answer.status_code == 200, answer.text
        return answer.text

    def due(self) -> int | None:
        """Number of the trial on the page; None at the end."""
        found = re.search(r'name="number" value="(\d+)"', self.page())
        return None if found is None else int(found[1])

    def images(self) -> list[httpx.Response]:
        found = re.findall(r'data-src="([^"]+)"', self.page())
        return [self.client.get(path) for path in found]

    def say(self, number: int, answer: str, **more: object) -> httpx.Response:
        sent = {"number": number, "answer": answer, "exposure_ms": 1000.0, "took_ms": 500.0}
        return self.client.post(self.link, data={**sent, **more})


class Server:
    """A study served by this process, over real HTTP; runs while it is entered."""

    def __init__(self, study: Study, folder: Path, **limits: str) -> None:
        limits = {"requests": "5000/second", "joins": "5000/second", **limits}
        self.records = Records(f"sqlite:///{folder / 'answers.db'}")
        app = build_app(Sittings(study, folder, self.records), **limits)  # type: ignore[arg-type]  # of limits
        config = uvicorn.Config(app, port=0, log_level="warning", server_header=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join()
        self.records.close()
