"""A study from its consent page to its results: a real server, a real browser, real kills."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from scipy import stats

from flows.study.order import CHECK, Trial, trials_of
from flows.study.plan import BICUBIC, OPINION, PREFERENCE, REAL, REAL_OR_GENERATED, SR, Study
from tests.flows.studies import make_study
from tests.servers.study_server import StudyServer

pytestmark = pytest.mark.slow

# Measured by the page's frames, whatever the page itself says: how long an image can be seen.
_WATCH = """
window.seen = [];
let since = null;
const look = (now) => {
  const image = document.querySelector("main[data-exposure]:not([data-exposure='0']) img");
  const shown = image && !image.hidden && image.naturalWidth > 0;
  if (shown && since === null) since = now;
  if (!shown && since !== null) { window.seen.push(now - since); since = null; }
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study") / "study"


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    trials = {REAL_OR_GENERATED: 8, PREFERENCE: 6, OPINION: 6}
    return make_study(folder, trials=trials, practice=1, check_every=8, exposure_ms=400)


@pytest.fixture(scope="module")
def server(study: Study, folder: Path) -> Iterator[StudyServer]:
    with StudyServer(folder) as server:
        yield server


def kept(folder: Path, rater: int) -> list[dict[str, Any]]:
    with sqlite3.connect(folder / "answers.db") as database:
        database.row_factory = sqlite3.Row
        query = "SELECT * FROM answers WHERE rater = ? ORDER BY trial"
        return [dict(row) for row in database.execute(query, (rater,))]


KEYS = {"real": "r", "generated": "g", "left": "ArrowLeft", "right": "ArrowRight"}


def sit(
    page: Any,
    server: StudyServer,
    study: Study,
    *,
    say: Callable[[str], None],
    show: Callable[[], None],
    between: Callable[[int], None] = lambda number: None,
) -> tuple[int, list[float]]:
    """From consent to the end; the rater's number, and how long images could be seen."""
    page.add_init_script(_WATCH)
    page.goto(server.url)
    page.get_by_role("button", name="I agree, begin").click()
    page.locator("#answers").wait_for()
    number = len(raters(server.folder)) - 1
    seen: list[float] = []
    for trial in trials_of(study, number):
        due = page.locator(f"input[name=number][value='{trial.number}']")
        due.wait_for(state="attached")
        between(trial.number)
        due.wait_for(state="attached")
        if trial.question == REAL_OR_GENERATED:
            page.locator("#show").wait_for()
            show()
        page.locator("#answers button:enabled").first.wait_for()
        seen += page.evaluate("window.seen.splice(0)")
        say(
            sorted(trial.right)[0]
            if trial.right
            else "left"
            if trial.question == PREFERENCE
            else "4"
        )
    page.get_by_text("Thank you").wait_for()
    return number, seen


def raters(folder: Path) -> list[int]:
    with sqlite3.connect(folder / "answers.db") as database:
        return [number for (number,) in database.execute("SELECT number FROM raters")]


def test_by_keyboard_to_the_end_with_each_image_shown_for_its_time(
    chromium: Any,
    server: StudyServer,
    study: Study,
    folder: Path,
    picture: Callable[[Any, str], None],
) -> None:
    page = chromium.new_page(viewport={"width": 1100, "height": 800})
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    reloads = {2, 6, 12}

    def between(number: int) -> None:
        if number in reloads:
            page.reload()

    number, seen = sit(
        page,
        server,
        study,
        say=lambda answer: page.keyboard.press(KEYS.get(answer, answer)),
        show=lambda: page.keyboard.press("Space"),
        between=between,
    )
    page.close()
    answers = kept(folder, number)
    assert [a["trial"] for a in answers] == [t.number for t in trials_of(study, number)]
    assert all(a["right"] in (1, None) for a in answers if a["phase"] == CHECK)
    assert {a["opened"] for a in answers if a["trial"] in reloads} == {2}
    told = [a["exposure_ms"] for a in answers if a["question"] == REAL_OR_GENERATED]
    assert len(seen) == len(told) == 10
    for measured in (*told, *seen):
        assert abs(measured - study.exposure_ms) < 50, (told, seen)
    assert errors == []


def test_by_touch_on_a_phone(
    chromium: Any, server: StudyServer, study: Study, folder: Path
) -> None:
    context = chromium.new_context(
        viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True
    )
    page = context.new_page()

    def say(answer: str) -> None:
        button = page.locator(f"#answers button[value='{answer}']")
        box = button.bounding_box()
        assert box["height"] >= 44, "a thumb is no mouse"
        assert box["y"] + box["height"] <= 780, "without scrolling"
        button.tap()

    number, seen = sit(page, server, study, say=say, show=lambda: page.locator("#show").tap())
    wide = page.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert wide <= 390
    assert len(kept(folder, number)) == len(trials_of(study, number))
    assert all(abs(measured - study.exposure_ms) < 50 for measured in seen)


class Crowd:
    """Raters who answer at random, and go on through lost connections."""

    def __init__(self, url: str, study: Study, size: int) -> None:
        self._url, self._study = url, study
        self.troubles: list[str] = []
        self.times: list[float] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(size)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def is_going_on(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _run(self, seed: int) -> None:
        luck = random.Random(seed)
        try:
            with httpx.Client(base_url=self._url, timeout=30) as client:
                link = self._ask(client, "POST", "/join/open", consent="yes").headers["location"]
                number = None
                while True:
                    page = self._ask(client, "GET", link).text
                    if "Thank you" in page:
                        return
                    due = int(page.split('name="number" value="')[1].split('"')[0])
                    answer = self._answer(page, luck)
                    data = {"number": str(due), "answer": answer, "exposure_ms": "1000"}
                    self._ask(client, "POST", link, **data)
                    if luck.random() < 0.05:  # a finger that trembles
                        self._ask(client, "POST", link, **data)
                    assert number is None or due > number
                    number = due
        except Exception as error:  # to be looked at by the test
            self.troubles.append(repr(error))

    def _answer(self, page: str, luck: random.Random) -> str:
        """At random: what is shown cannot be known from the page."""
        if 'data-question="preference"' in page:
            return luck.choice(["left", "right"])
        if 'data-question="opinion"' in page:
            return luck.choice("12345")
        return luck.choice(["real", "generated"])

    def _ask(self, client: httpx.Client, method: str, path: str, **data: str) -> httpx.Response:
        """Again and again while nobody is there, as people do."""
        for _ in range(400):
            begun = time.monotonic()
            try:
                response = client.request(method, path, data=data or None)
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            assert response.status_code in (200, 303), response.text
            self.times.append(time.monotonic() - begun)
            return response
        raise TimeoutError(path)


def test_a_server_that_is_killed_ten_times_loses_and_doubles_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    study = make_study(folder, places=40)
    with StudyServer(folder) as server:
        crowd = Crowd(server.url, study, 30)
        crowd.start()
        kills = 0
        while kills < 10 and crowd.is_going_on():
            time.sleep(0.3)
            server.kill()
            kills += 1
            server.start()
        crowd.join()
    assert crowd.troubles == []
    assert kills == 10, "who is quicker than that is to answer more"
    with sqlite3.connect(folder / "answers.db") as database:
        numbers = [n for (n,) in database.execute("SELECT number FROM raters")]
        counts = dict(database.execute("SELECT rater, count(*) FROM answers GROUP BY rater"))
        doubled = database.execute(
            "SELECT count(*) FROM (SELECT 1 FROM answers GROUP BY rater, trial HAVING count(*) > 1)"
        ).fetchone()[0]
    # Who asks to join again because no answer came leaves a number that nobody uses.
    assert len(counts) == 30
    assert set(counts) <= set(numbers)
    assert all(counts[n] == len(trials_of(study, n)) for n in counts)
    assert doubled == 0


def test_how_long_an_image_takes_tells_nothing_of_it(
    server: StudyServer, study: Study, folder: Path
) -> None:
    """Real and generated ones in the order of the trials, each asked for again and again."""
    took: dict[str, list[float]] = {"real": [], "generated": []}
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for _ in range(8):
            link = client.post("/join/open", data={"consent": "yes"}).headers["location"]
            number = len(raters(folder)) - 1
            for trial in trials_of(study, number):
                if trial.question != REAL_OR_GENERATED:
                    client.post(link, data=_reply(trial))
                    continue
                client.get(link)
                for _ in range(6):
                    begun = time.perf_counter()
                    assert client.get(f"{link}/image/{trial.number}/left").status_code == 200
                    took[sorted(trial.right)[0]].append(time.perf_counter() - begun)
                client.post(link, data=_reply(trial))
    assert min(map(len, took.values())) > 100
    # One in a thousand such tests would be wrong by chance.
    assert stats.mannwhitneyu(took["real"], took["generated"]).pvalue > 0.001


def _reply(trial: Trial) -> dict[str, str]:
    answers = {REAL_OR_GENERATED: "real", PREFERENCE: "left", OPINION: "3"}
    return {"number": str(trial.number), "answer": answers[trial.question], "exposure_ms": "1000"}


def test_results_are_told_written_and_put_beside_a_report(
    server: StudyServer, study: Study, folder: Path, tmp_path: Path, chromium: Any
) -> None:
    crowd = Crowd(server.url, study, 6)
    crowd.start()
    crowd.join()
    assert crowd.troubles == []
    report = tmp_path / "report"
    report.mkdir()
    (report / "report.html").write_text("<main></main><!--pages-->")
    command = [sys.executable, "-m", "flows", "study", "results", str(folder)]
    more = ["--csv", str(tmp_path / "answers.csv"), "--report", str(report)]
    for _ in range(2):
        done = subprocess.run([*command, *more], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "were judged real in" in done.stdout
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert lines[0].startswith("rater,trial,question,phase,place")
    assert len(lines) > 6 * 20
    assert (report / "report.html").read_text().count("study.html") == 1
    page = chromium.new_page()
    page.goto((report / "study.html").as_uri())
    assert page.get_by_role("heading", name="Judged real").is_visible()
    page.close()
    found = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert set(json.loads(found.stdout)["judged_real"]) == {REAL, SR, BICUBIC}


def test_a_network_is_not_let_in_without_an_invitation(study: Study, folder: Path) -> None:
    command = [sys.executable, "-m", "flows", "study", "serve", str(folder), "--host", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "make it with --invite" in done.stderr
