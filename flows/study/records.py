"""What raters said, in SQLite or PostgreSQL: an answer is there once, or not at all."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from flows.errors import FlowError
from flows.study.order import Trial

_TOKEN_BYTES = 18
_TRIES = 20

_METADATA = sa.MetaData()
RATERS = sa.Table(
    "raters",
    _METADATA,
    sa.Column("token", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, unique=True),
    sa.Column("consented_at", sa.String(32), nullable=False),
)
ANSWERS = sa.Table(
    "answers",
    _METADATA,
    sa.Column("rater", sa.Integer, primary_key=True),
    sa.Column("trial", sa.Integer, primary_key=True),
    sa.Column("question", sa.String(32), nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("place", sa.String(256), nullable=False),
    sa.Column("category", sa.String(256)),
    sa.Column("shown", sa.String(64), nullable=False),  # JSON list of sources, left to right
    sa.Column("answer", sa.String(16), nullable=False),
    sa.Column("right", sa.Boolean),  # null where nobody knows better
    sa.Column("exposure_ms", sa.Float),  # as the page measured it
    sa.Column("took_ms", sa.Float),
    sa.Column("opened", sa.Integer, nullable=False),  # how often its page was asked for
    sa.Column("answered_at", sa.String(32), nullable=False),
)


@dataclass(frozen=True)
class Rater:
    """Somebody who answers; nothing else is known of them.

    Parameters
    ----------
    token : str
        Of their link.
    number : int
        From 0.
    answered : int
        Trials so far.
    """

    token: str
    number: int
    answered: int


_FIND = sa.select(
    RATERS.c.token,
    RATERS.c.number,
    sa.select(sa.func.count())
    .where(ANSWERS.c.rater == RATERS.c.number)
    .correlate(RATERS)
    .scalar_subquery(),
).where(RATERS.c.token == sa.bindparam("token"))


class Records:
    """The records of a study.

    Parameters
    ----------
    url : str
        ``sqlite:///FILE`` or ``postgresql://...``.

    Raises
    ------
    FlowError
        If the database cannot be opened.
    """

    def __init__(self, url: str) -> None:
        try:
            self._engine = sa.create_engine(url, pool_size=16, max_overflow=16, pool_timeout=60)
            if self._engine.dialect.name == "sqlite":
                sa.event.listen(self._engine, "connect", _prepare_sqlite)
            _METADATA.create_all(self._engine)
            # SQLite has one writer at a time, and who waits in line here need not poll there.
            one_writer = self._engine.dialect.name == "sqlite"
            self._writing: Any = threading.Lock() if one_writer else nullcontext()
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            hidden = sa.engine.make_url(url).render_as_string(hide_password=True)
            raise FlowError(f"{hidden}: cannot be opened ({str(error).splitlines()[0]})") from error

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def add_rater(self) -> Rater:
        """Somebody new, who has consented; numbers follow each other."""
        for _ in range(_TRIES):  # two who come at once want the same number
            token = secrets.token_urlsafe(_TOKEN_BYTES)
            try:
                with self._writing, self._engine.begin() as connection:
                    last = connection.scalar(sa.select(sa.func.max(RATERS.c.number)))
                    number = 0 if last is None else int(last) + 1
                    connection.execute(
                        RATERS.insert().values(token=token, number=number, consented_at=_now())
                    )
                return Rater(token, number, 0)
            except sa.exc.IntegrityError:
                continue
        raise FlowError("too many raters come at once; try again")

    def find_rater(self, token: str) -> Rater | None:
        """Who has this link, if anybody has, and how far they are: trials come in order."""
        with self._engine.connect() as connection:
            row = connection.execute(_FIND, {"token": token}).first()
        return None if row is None else Rater(*row)

    def answer(
        self,
        rater: Rater,
        trial: Trial,
        answer: str,
        *,
        exposure_ms: float | None,
        took_ms: float | None,
        opened: int,
    ) -> bool:
        """Keep an answer; False where there is one already, which stays."""
        insert = self._insert(ANSWERS).on_conflict_do_nothing()
        with self._writing, self._engine.begin() as connection:
            done = connection.execute(
                insert.values(
                    rater=rater.number,
                    trial=trial.number,
                    question=trial.question,
                    phase=trial.phase,
                    place=trial.place.name,
                    category=trial.place.category,
                    shown=json.dumps(trial.shown),
                    answer=answer,
                    right=answer in trial.right if trial.right else None,
                    exposure_ms=exposure_ms,
                    took_ms=took_ms,
                    opened=opened,
                    answered_at=_now(),
                )
            )
        return bool(done.rowcount)

    def answer_to(self, rater: Rater, trial: int) -> str | None:
        """What was answered."""
        wanted = sa.select(ANSWERS.c.answer).where(
            ANSWERS.c.rater == rater.number, ANSWERS.c.trial == trial
        )
        with self._engine.connect() as connection:
            return connection.scalar(wanted)

    def answers(self) -> list[dict[str, Any]]:
        """All answers, by rater and trial."""
        with self._engine.connect() as connection:
            rows: Sequence[Any] = connection.execute(
                sa.select(ANSWERS).order_by(ANSWERS.c.rater, ANSWERS.c.trial)
            ).all()
        return [{**row._mapping, "shown": tuple(json.loads(row.shown))} for row in rows]

    def count_raters(self) -> int:
        """How many have consented."""
        with self._engine.connect() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).select_from(RATERS)) or 0)

    def _insert(self, table: sa.Table) -> Any:
        postgres = self._engine.dialect.name == "postgresql"
        return postgresql.insert(table) if postgres else sqlite.insert(table)


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """Readers beside a writer; what is committed outlives a power cut."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=30000")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
