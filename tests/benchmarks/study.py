"""A rating study under 200 raters at once, and how often its intervals hold what is true.

Raters answer over HTTP with the pauses of people (1.5 to 2.5 s a question), each source fooling
them at a rate that is known; the server is killed and started again ten times meanwhile. Then the
same raters without HTTP, in many studies, for rates from 5 to 95 %.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from flows.study.analysis import analyse
from flows.study.order import CHECK, Trial, trials_of
from flows.study.plan import BICUBIC, OPINION, PREFERENCE, REAL, REAL_OR_GENERATED, SR, Study
from flows.study.records import Records
from tests.flows.studies import make_study
from tests.servers.study_server import StudyServer

RATERS = 200
KILLS = 10
STUDIES = 200
RATES = (0.05, 0.25, 0.5, 0.75, 0.95)
_TRUTH = {REAL: 0.85, SR: 0.4, BICUBIC: 0.05}


def run(write: Callable[[str], None], *_: str) -> None:
    """Print what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        _over_http(write, Path(folder) / "study")
        write("")
        _coverage(write, Path(folder) / "repeated")


def _over_http(write: Callable[[str], None], folder: Path) -> None:
    study = make_study(
        folder,
        places=64,
        trials={REAL_OR_GENERATED: 20, PREFERENCE: 5, OPINION: 5},
    )
    write("| | requests | p50, ms | p99, ms | largest, ms | answers | lost | doubled |")
    write("|---|---|---|---|---|---|---|---|")
    for name, kills in (("undisturbed", 0), (f"killed {KILLS} times", KILLS)):
        for file in folder.glob("answers.db*"):  # and what SQLite keeps beside it
            file.unlink()
        with StudyServer(folder) as server:
            times = asyncio.run(_all(server, folder, study, kills))
        wanted = sum(len(trials_of(study, n)) for n in _numbers(folder))
        with sqlite3.connect(folder / "answers.db") as database:
            (kept,) = database.execute("SELECT count(*) FROM answers").fetchone()
            (apart,) = database.execute(
                "SELECT count(*) FROM (SELECT DISTINCT rater, trial FROM answers)"
            ).fetchone()
        p50, p99, most = (1000 * float(np.quantile(times, q)) for q in (0.5, 0.99, 1.0))
        write(
            f"| {name} | {len(times)} | {p50:.1f} | {p99:.1f} | {most:.0f} | {kept} | "
            f"{wanted - apart} | {kept - apart} |"
        )
    records = Records(f"sqlite:///{folder / 'answers.db'}")
    found = analyse(study, records.answers())
    records.close()
    write("\n| source | judged real, true | found | interval |\n|---|---|---|---|")
    for source, truth in _TRUTH.items():
        of = found["judged_real"][source]
        write(
            f"| {source} | {truth:.2f} | {of['value']:.3f} | {of['low']:.3f} to {of['high']:.3f} |"
        )


def _numbers(folder: Path) -> list[int]:
    """Of raters who have answered: who asked twice to join, because no answer came, has two."""
    with sqlite3.connect(folder / "answers.db") as database:
        return [n for (n,) in database.execute("SELECT DISTINCT rater FROM answers")]


async def _all(server: StudyServer, folder: Path, study: Study, kills: int) -> list[float]:
    times: list[float] = []
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(server.url, connector=connector, timeout=timeout) as session:
        crowd = [asyncio.create_task(_sit(session, folder, study, n, times)) for n in range(RATERS)]
        for _ in range(kills):
            await asyncio.sleep(4)
            server.kill()
            await asyncio.to_thread(server.start)
        await asyncio.gather(*crowd)
    return times


async def _sit(
    session: aiohttp.ClientSession, folder: Path, study: Study, seed: int, times: list[float]
) -> None:
    luck = np.random.default_rng(seed)
    await asyncio.sleep(luck.uniform(0, 5))  # people do not come in the same instant
    link, _ = await _ask(session, times, "POST", "/join/open", consent="yes")
    with sqlite3.connect(folder / "answers.db") as database:
        (number,) = database.execute(
            "SELECT number FROM raters WHERE token = ?", (link.removeprefix("/r/"),)
        ).fetchone()
    for trial in trials_of(study, number):
        _, page = await _ask(session, times, "GET", link)
        for image in re.findall(r'data-src="([^"]+)"', page):
            await _ask(session, times, "GET", image)
        await asyncio.sleep(luck.uniform(1.5, 2.5))
        answer = _answer(trial, luck, _TRUTH)
        await _ask(
            session, times, "POST", link, number=str(trial.number), answer=answer, took_ms="900"
        )


async def _ask(
    session: aiohttp.ClientSession, times: list[float], method: str, path: str, **data: str
) -> tuple[str, str]:
    """Where it leads, and its text; again and again while nobody answers."""
    while True:
        begun = time.perf_counter()
        try:
            async with session.request(
                method, path, data=data or None, allow_redirects=False
            ) as response:
                body = await response.read()
                if response.status == 404 and "/image/" in path:
                    return "", ""  # answered before the server was killed, and told nobody
                assert response.status in (200, 303), (response.status, path)
                times.append(time.perf_counter() - begun)
                is_page = response.content_type == "text/html"
                return response.headers.get("location", ""), body.decode() if is_page else ""
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(0.2)


def _answer(trial: Trial, luck: np.random.Generator, truth: dict[str, float]) -> str:
    if trial.phase == CHECK and trial.right:
        return sorted(trial.right)[0]
    if trial.question == REAL_OR_GENERATED:
        return "real" if luck.random() < truth.get(trial.shown[0], 0.0) else "generated"
    return str(luck.choice(["left", "right"] if trial.question == PREFERENCE else list("12345")))


def _coverage(write: Callable[[str], None], folder: Path) -> None:
    study = make_study(folder, places=64, trials={REAL_OR_GENERATED: 20})
    orders = [trials_of(study, number) for number in range(RATERS)]
    write(
        f"\n{STUDIES} studies of {RATERS} raters for each rate; raters and places differ by 0.5 in "
        "logits.\n\n| fooling rate | intervals that hold it |\n|---|---|"
    )
    for rate in RATES:
        luck = np.random.default_rng(int(1000 * rate))
        held = 0
        for _ in range(STUDIES):
            answers, truth = _simulated(orders, rate, luck)
            of = analyse(study, answers)["judged_real"][SR]
            held += of["low"] <= truth <= of["high"]
        write(f"| {rate:.0%} | {held / STUDIES:.1%} |")


def _simulated(
    orders: list[list[Trial]], rate: float, luck: np.random.Generator
) -> tuple[list[dict[str, Any]], float]:
    """Answers about what is generated, and the mean rate of all that there could be."""
    names = sorted({trial.place.name for order in orders for trial in order})
    of_place = dict(zip(names, luck.normal(0, 0.5, len(names)), strict=True))
    logit = np.log(rate / (1 - rate))
    answers = []
    for rater, order in enumerate(orders):
        ease = luck.normal(0, 0.5)
        for trial in order:
            chance = 1 / (1 + np.exp(-(logit + ease + of_place[trial.place.name])))
            fooled = luck.random() < chance
            answers.append(
                {
                    "rater": rater,
                    "trial": trial.number,
                    "question": trial.question,
                    "phase": trial.phase,
                    "place": trial.place.name,
                    "category": trial.place.category,
                    "shown": trial.shown,
                    "answer": "real" if fooled else "generated",
                    "right": True,
                    "exposure_ms": None,
                    "opened": 1,
                }
            )
    points = np.linspace(-6, 6, 2001)
    weights = np.exp(-(points**2) / 2)
    spread = np.sqrt(2) * 0.5
    truth = (weights / (1 + np.exp(-(logit + spread * points)))).sum() / weights.sum()
    return answers, float(truth)
