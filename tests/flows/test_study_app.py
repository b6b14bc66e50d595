"""The pages of a study, over HTTP: what raters can do, what they cannot, what they are not told."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flows.study.order import trials_of
from flows.study.plan import BICUBIC, REAL, REAL_OR_GENERATED, SR, Study
from tests.flows.studies import Rater, Server, make_study

NOBODY = "/r/" + "A" * 24


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path / "study")


@pytest.fixture
def server(study: Study, tmp_path: Path) -> Iterator[Server]:
    with Server(study, tmp_path / "study") as server:
        yield server


def answer_all(rater: Rater, study: Study, number: int) -> None:
    for trial in trials_of(study, number):
        assert rater.due() == trial.number
        assert (
            rater.say(
                trial.number,
                sorted(trial.right)[0]
                if trial.right
                else "left"
                if trial.question == "preference"
                else "3",
            ).status_code
            == 303
        )


def test_consent_comes_first_and_the_end_is_told(server: Server, study: Study) -> None:
    front = server.client.get("/", follow_redirects=True)
    assert "Nothing is kept of you." in front.text
    assert server.client.post("/join/open", data={"consent": "no"}).status_code == 403
    rater = Rater(server.client)
    answer_all(rater, study, 0)
    assert "Thank you" in rater.page()
    assert len(server.records.answers()) == len(trials_of(study, 0))


def test_who_comes_back_goes_on_where_they_were(server: Server, study: Study) -> None:
    rater = Rater(server.client)
    rater.say(0, "real")
    with httpx.Client(base_url=server.client.base_url) as elsewhere:
        assert Rater(elsewhere, rater.link).due() == 1


def test_two_raters_are_independent(server: Server, study: Study) -> None:
    first, second = Rater(server.client), Rater(server.client)
    first.say(0, "real")
    assert (first.due(), second.due()) == (1, 0)
    assert server.client.post(second.link, data={"number": 1, "answer": "real"}).status_code == 409


def test_an_answer_counts_once_however_often_it_is_sent(server: Server) -> None:
    rater = Rater(server.client)
    for answer in ("real", "generated", "real"):
        assert rater.say(0, answer).status_code == 303
    (kept,) = server.records.answers()
    assert kept["answer"] == "real"


def test_of_twenty_that_are_sent_at_once_one_is_kept(server: Server) -> None:
    rater = Rater(server.client)

    def send() -> None:
        with httpx.Client(base_url=server.client.base_url, timeout=30) as client:
            Rater(client, rater.link).say(0, "real")

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.records.answers()) == 1
    assert rater.due() == 1


def test_raters_who_come_at_once_get_numbers_of_their_own(server: Server) -> None:
    links: list[str] = []

    def join() -> None:
        with httpx.Client(base_url=server.client.base_url, timeout=30) as client:
            links.append(Rater(client).link)

    threads = [threading.Thread(target=join) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(links)) == 20
    numbers = sorted(server.records.find_rater(link[3:]).number for link in links)  # type: ignore[union-attr]
    assert numbers == list(range(20))


def test_practice_is_told_what_was_right_and_nothing_else_is(server: Server, study: Study) -> None:
    rater = Rater(server.client)
    told = []
    for trial in trials_of(study, 0)[:9]:
        right = sorted(trial.right)[0]
        rater.say(trial.number, right)
        told.append('class="told well"' in rater.page())
    assert told == [True] * 3 + [False] * 6


def test_how_long_and_how_often_is_kept(server: Server) -> None:
    rater = Rater(server.client)
    rater.page()
    rater.page()
    rater.say(0, "real", exposure_ms=1016.7, took_ms=800)
    (kept,) = server.records.answers()
    assert (kept["exposure_ms"], kept["took_ms"], kept["opened"]) == (1016.7, 800, 2)


class TestNothingTells:
    """Real from generated: not names, order, sizes, headers."""

    def images(self, server: Server, study: Study) -> dict[str, list[httpx.Response]]:
        found: dict[str, list[httpx.Response]] = {REAL: [], SR: [], BICUBIC: []}
        for number in range(4):
            rater = Rater(server.client)
            for trial in trials_of(study, number):
                if trial.question == REAL_OR_GENERATED and trial.shown[0] in found:
                    found[trial.shown[0]] += rater.images()
                answer = sorted(trial.right)[0] if trial.right else "3"
                rater.say(trial.number, "left" if trial.question == "preference" else answer)
        return found

    def test_images_differ_in_their_pixels_alone(self, server: Server, study: Study) -> None:
        found = self.images(server, study)
        assert all(len(some) >= 6 for some in found.values())
        looks = {
            (
                response.status_code,
                len(response.content),
                tuple((k, v) for k, v in response.headers.items() if k != "date"),
            )
            for some in found.values()
            for response in some
        }
        assert len(looks) == 1, looks
        chunks = {
            tuple(re.findall(rb"IHDR|pHYs|tEXt|iTXt|tIME|gAMA|IDAT|IEND", response.content))
            for some in found.values()
            for response in some
        }
        assert chunks == {(b"IHDR", b"IDAT", b"IEND")}

    def test_a_page_names_a_trial_and_a_slot_and_no_image(
        self, server: Server, study: Study
    ) -> None:
        rater = Rater(server.client)
        page = rater.page()
        assert re.findall(r'data-src="([^"]+)"', page) == [f"{rater.link}/image/0/left"]
        for place in study.places:
            assert place.name + '"' not in page
            for source, file in place.images.items():
                assert file.removesuffix(".png") not in page
                assert f'"{source}"' not in page.replace('value="real"', "")

    def test_pages_of_real_and_generated_trials_are_of_one_length(
        self, server: Server, study: Study
    ) -> None:
        lengths: dict[str, set[int]] = {}
        rater = Rater(server.client)
        for trial in trials_of(study, 0):
            if trial.question != REAL_OR_GENERATED:
                break
            if trial.number > 4:
                page = re.sub(r"\b\d+ of|value=\"\d+\"|image/\d+", "", rater.page())
                lengths.setdefault(trial.shown[0], set()).add(len(page))
            rater.say(trial.number, "real")
        assert len(set.union(*lengths.values())) == 1
        assert len(lengths) >= 3

    def test_nothing_is_kept_by_a_browser(self, server: Server) -> None:
        rater = Rater(server.client)
        for response in (server.client.get(rater.link), *rater.images()):
            assert response.headers["cache-control"] == "no-store"
            assert not {"etag", "last-modified", "set-cookie"} & set(response.headers)

    def test_an_image_is_there_while_it_is_due(self, server: Server) -> None:
        rater = Rater(server.client)
        for path in ("image/1/left", "image/0/right", "image/0/beside", "image/-1/left"):
            assert server.client.get(f"{rater.link}/{path}").status_code in (404, 422)
        assert server.client.get(f"{rater.link}/image/0/left").status_code == 200
        rater.say(0, "real")
        assert server.client.get(f"{rater.link}/image/0/left").status_code == 404


class TestAttacks:
    @pytest.mark.parametrize(
        "link", [NOBODY, "/r/' OR 1=1 --", "/r/" + "x" * 5000, "/r/%00", "/r/..%2f..%2fstudy.json"]
    )
    def test_a_forged_link_lets_nobody_in(self, server: Server, link: str) -> None:
        Rater(server.client)
        assert server.client.get(link).status_code == 404
        assert server.client.post(link, data={"number": 0, "answer": "real"}).status_code == 404
        assert server.records.answers() == []

    @pytest.mark.parametrize(
        "path",
        [
            "/static/../app.py",
            "/static/%2e%2e/app.py",
            "/static/..%2f..%2fplan.py",
            "/static//etc/passwd",
            "/study.json",
            "/images/",
            "/openapi.json",
            "/docs",
        ],
    )
    def test_no_file_but_what_pages_need_is_served(self, server: Server, path: str) -> None:
        assert server.client.get(path).status_code == 404

    @pytest.mark.parametrize(
        "sent",
        [
            {"answer": "' ; DROP TABLE answers; --"},
            {"answer": "<script>alert(1)</script>"},
            {"answer": "<b>real</b>"},
            {"answer": ""},
            {"answer": "left"},
            {"number": -1},
            {"number": "0; DELETE FROM raters"},
            {"number": 10**30},
            {"exposure_ms": "nan"},
            {"exposure_ms": "1e308"},
            {"took_ms": "<svg onload=alert(1)>"},
        ],
    )
    def test_what_is_no_answer_is_refused_and_changes_nothing(
        self, server: Server, sent: dict[str, object]
    ) -> None:
        rater = Rater(server.client)
        data = {"number": 0, "answer": "real", **sent}
        refused = server.client.post(rater.link, data=data)
        assert refused.status_code in (409, 422), refused.text
        assert "<script>alert" not in refused.text
        assert "<svg onload" not in refused.text
        assert rater.due() == 0
        assert server.records.answers() == []

    def test_a_large_body_is_refused_however_it_is_sent(self, server: Server) -> None:
        rater = Rater(server.client)
        large = b"answer=" + b"x" * 100_000
        form = {"content-type": "application/x-www-form-urlencoded"}
        assert server.client.post(rater.link, content=large, headers=form).status_code == 413
        chunks = (b"x" * 1000 for _ in range(100))
        assert server.client.post(rater.link, content=chunks, headers=form).status_code == 413

    def test_a_file_in_the_form_is_no_answer(self, server: Server) -> None:
        rater = Rater(server.client)
        files = {"answer": ("a.png", b"x", "image/png")}
        refused = server.client.post(rater.link, data={"number": 0}, files=files)
        assert refused.status_code == 422

    def test_headers_forbid_what_no_page_needs(self, server: Server) -> None:
        for path in ("/join/open", NOBODY, "/static/study.js", "/nowhere"):
            headers = server.client.get(path).headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert "server" not in headers


def test_a_study_by_invitation_lets_only_invited_ones_in(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"a-secret").hexdigest()
    study = make_study(tmp_path / "study", access_sha256=digest)
    with Server(study, tmp_path / "study") as server:
        for path in ("/", "/join/open", "/join/a-secre", f"/join/{digest}"):
            assert server.client.get(path).status_code == 403
        assert server.client.post("/join/open", data={"consent": "yes"}).status_code == 403
        assert server.client.get("/join/a-secret").status_code == 200
        assert server.client.post("/join/a-secret", data={"consent": "yes"}).status_code == 303
        assert server.records.count_raters() == 1


def test_a_flood_is_held_back_and_then_all_is_well_again(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    with Server(study, tmp_path / "study", requests="20 per 2 second") as server:
        codes = [server.client.get("/health").status_code for _ in range(60)]
        assert set(codes) == {200, 429}
        time.sleep(4)
        assert server.client.get("/health").status_code == 200


def test_no_address_fills_a_study_with_raters(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    with Server(study, tmp_path / "study", joins="2/hour") as server:
        consent = {"consent": "yes"}
        joined = [server.client.post("/join/open", data=consent).status_code for _ in range(4)]
        assert joined == [303, 303, 429, 429]
        assert server.client.get("/join/open").status_code == 200, "who is in goes on"


def test_other_names_are_not_answered_to(tmp_path: Path) -> None:
    """A page of the web that points its name here (DNS rebinding) gets nothing."""
    study = make_study(tmp_path / "study")
    with Server(study, tmp_path / "study", hosts=("127.0.0.1",)) as server:  # type: ignore[arg-type]
        refused = server.client.get("/join/open", headers={"host": "evil.example.org"})
        assert refused.status_code == 400
