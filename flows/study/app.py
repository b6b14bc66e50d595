"""The pages of a study. Whoever asks is told nothing of what an image is."""

from __future__ import annotations

import hashlib
import hmac
import threading
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from flows.study.guard import LOG, BodyLimit, RateLimit, SecureHeaders
from flows.study.order import COUNTED, PRACTICE, Trial, trials_of
from flows.study.plan import ANSWERS, OPINION, Study
from flows.study.records import Rater, Records

_PAGES = Path(__file__).parent / "pages"
_SLOTS = ("left", "right", "beside")
_LONGEST_MS = 3_600_000.0  # of what a page says of itself

Number = Annotated[int, Form(ge=0, le=10_000)]
Milliseconds = Annotated[float | None, Form(ge=0, le=_LONGEST_MS, allow_inf_nan=False)]


class Sittings:
    """A study, its records, and where each rater is.

    Parameters
    ----------
    study : Study
    folder : Path
        With ``images/``.
    records : Records
    """

    def __init__(self, study: Study, folder: Path, records: Records) -> None:
        self.study = study
        self.records = records
        self._images = folder / "images"
        self._opened: dict[tuple[int, int], int] = {}
        self._counting = threading.Lock()
        self.trials = lru_cache(maxsize=4096)(lambda number: trials_of(study, number))
        self.image = lru_cache(maxsize=4096)(lambda name: (self._images / name).read_bytes())

    def find(self, token: str) -> Rater:
        """Who has this link.

        Raises
        ------
        HTTPException
            404, where nobody has.
        """
        rater = self.records.find_rater(token) if len(token) <= 64 else None
        if rater is None:
            LOG.warning("refused: a link that nobody has")
            raise HTTPException(404, "This link is nobody's. Take the one that you were given.")
        return rater

    def now(self, rater: Rater) -> Trial | None:
        """The trial to be answered; None where all are."""
        trials = self.trials(rater.number)
        return trials[rater.answered] if rater.answered < len(trials) else None

    def open(self, rater: Rater, trial: Trial) -> None:
        """Count that its page is shown."""
        key = rater.number, trial.number
        with self._counting:
            self._opened[key] = self._opened.get(key, 0) + 1

    def close(self, rater: Rater, trial: Trial) -> int:
        """How often it was shown since the server began."""
        with self._counting:
            return self._opened.pop((rater.number, trial.number), 0)

    def lets_in(self, access: str) -> bool:
        """Whether this is the token of the study."""
        wanted = self.study.access_sha256
        told = hashlib.sha256(access.encode()).hexdigest()
        return wanted is None or hmac.compare_digest(told, wanted)


def build_app(
    sittings: Sittings,
    *,
    hosts: tuple[str, ...] = ("*",),
    requests: str = "100/second",
    joins: str = "60/minute",
) -> FastAPI:
    """The application that serves a study.

    Parameters
    ----------
    sittings : Sittings
    hosts : tuple of str
        Names that it answers to.
    requests, joins : str
        Most of them from one address.
    """
    app = FastAPI(title=sittings.study.title, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(BodyLimit)
    app.add_middleware(RateLimit, requests=requests, joins=joins)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.add_middleware(SecureHeaders)
    app.mount("/static", StaticFiles(directory=_PAGES / "static"))
    pages = Jinja2Templates(
        env=Environment(
            loader=FileSystemLoader(_PAGES), autoescape=select_autoescape(), auto_reload=False
        )
    )
    study = sittings.study

    def page(request: Request, name: str, status: int = 200, **facts: Any) -> HTMLResponse:
        return pages.TemplateResponse(request, name, {"study": study, **facts}, status_code=status)

    @app.exception_handler(HTTPException)
    def refuse(request: Request, error: HTTPException) -> Response:
        return page(request, "refused.html", error.status_code, text=error.detail)

    @app.exception_handler(RequestValidationError)
    def refuse_form(request: Request, error: RequestValidationError) -> Response:
        LOG.warning("refused: a form that no page of ours sends")
        text = "That is not an answer to this page. Load it again; nothing is lost."
        return page(request, "refused.html", 422, text=text)

    @app.get("/health")
    def health() -> PlainTextResponse:
        return PlainTextResponse("OK")

    @app.get("/")
    def begin() -> Response:
        if study.access_sha256 is not None:
            raise HTTPException(403, "This study wants the link that you were invited by.")
        return RedirectResponse("/join/open", 303)

    @app.get("/join/{access}")
    def invite(request: Request, access: str) -> Response:
        _let_in(sittings, access)
        return page(request, "consent.html", access=access)

    @app.post("/join/{access}")
    def join(access: str, consent: Annotated[str, Form(max_length=3)]) -> Response:
        _let_in(sittings, access)
        if consent != "yes":
            raise HTTPException(403, "Without your consent there is no study.")
        rater = sittings.records.add_rater()
        return RedirectResponse(f"/r/{rater.token}", 303)

    @app.get("/r/{token}")
    def sit(request: Request, token: str) -> Response:
        rater = sittings.find(token)
        trial, trials = sittings.now(rater), sittings.trials(rater.number)
        before = _told(sittings, rater, trials, len(trials) if trial is None else trial.number)
        if trial is None:
            return page(request, "done.html", before=before, count=len(trials))
        sittings.open(rater, trial)
        first = trial.number == 0 or trials[trial.number - 1].question != trial.question
        return page(
            request,
            "trial.html",
            token=token,
            trial=trial,
            answers=ANSWERS[trial.question],
            slots=_slots(trial),
            count=len(trials),
            first=first,
            begins=_begins_to_count(trials, trial.number),
            before=before,
        )

    @app.get("/r/{token}/image/{number}/{slot}")
    def image(token: str, number: int, slot: str) -> Response:
        trial = sittings.now(sittings.find(token))
        if trial is None or trial.number != number or slot not in _slots(trial):
            raise HTTPException(404, "There is no such image now.")
        source = trial.place.images[_slots(trial)[slot]]
        return Response(sittings.image(source), media_type="image/png")

    @app.post("/r/{token}")
    def answer(
        token: str,
        number: Number,
        answer: Annotated[str, Form(max_length=16)],
        exposure_ms: Milliseconds = None,
        took_ms: Milliseconds = None,
    ) -> Response:
        rater = sittings.find(token)
        trials, due = sittings.trials(rater.number), sittings.now(rater)
        here = RedirectResponse(f"/r/{token}", 303)
        if number < (len(trials) if due is None else due.number):
            LOG.info("left alone: trial %d of rater %d is answered already", number, rater.number)
            return here
        if due is None or number != due.number:
            LOG.warning("refused: trial %d of rater %d is not due", number, rater.number)
            raise HTTPException(409, "That question is not yet due. Load the page again.")
        if answer not in ANSWERS[due.question]:
            LOG.warning("refused: no answer to trial %d of rater %d", number, rater.number)
            raise HTTPException(422, "That is none of the answers. Load the page again.")
        sittings.records.answer(
            rater,
            due,
            answer,
            exposure_ms=exposure_ms,
            took_ms=took_ms,
            opened=sittings.close(rater, due),
        )
        return here

    return app


def _let_in(sittings: Sittings, access: str) -> None:
    if not sittings.lets_in(access):
        LOG.warning("refused: an invitation that is not of this study")
        raise HTTPException(403, "This is no invitation to this study.")


def _slots(trial: Trial) -> dict[str, str]:
    """Where on the page each source is shown."""
    shown = dict(zip(_SLOTS, trial.shown, strict=False))
    return {"beside": "lr", **shown} if trial.question == OPINION else shown


def _told(
    sittings: Sittings, rater: Rater, trials: list[Trial], number: int
) -> dict[str, Any] | None:
    """What is said of the trial before, if it was practice."""
    if number == 0 or trials[number - 1].phase != PRACTICE:
        return None
    trial = trials[number - 1]
    given = sittings.records.answer_to(rater, trial.number)
    return {"trial": trial, "answer": given, "well": given in trial.right}


def _begins_to_count(trials: list[Trial], number: int) -> bool:
    """Whether practice has just ended."""
    return trials[number].phase == COUNTED and number > 0 and trials[number - 1].phase == PRACTICE
