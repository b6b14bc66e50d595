"""What a study shows and asks: written once, before the first rater comes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flows.errors import FlowError, UsageError

REAL_OR_GENERATED, PREFERENCE, OPINION = "real_or_generated", "preference", "opinion"
QUESTIONS = (REAL_OR_GENERATED, PREFERENCE, OPINION)
ANSWERS: Mapping[str, tuple[str, ...]] = {
    REAL_OR_GENERATED: ("real", "generated"),
    PREFERENCE: ("left", "right"),
    OPINION: ("1", "2", "3", "4", "5"),
}
"""What may be answered to each question."""

REAL, SR, OTHER, BICUBIC, LR = "real", "sr", "other", "bicubic", "lr"
GENERATED = (SR, OTHER, BICUBIC)
"""What raters judge beside real images. LR pixels are only shown beside others, and as a check."""

FORMAT = 1
_FILE = "study.json"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A tile, as each source shows it.

    Parameters
    ----------
    name : str
        Of the tile.
    category : str or None
    images : mapping
        Source to file in ``images/``.
    practice : bool
        Shown for practice and as a check, and never counted.
    """

    name: str
    category: str | None
    images: Mapping[str, str]
    practice: bool = False


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study.

    Parameters
    ----------
    title : str
    places : tuple of Place
    side_px : int
        Of every image.
    trials : mapping
        Question to how many trials of it a rater is shown; 0 leaves it out.
    practice : int
        Practice trials before each question.
    check_every : int
        Trials from one attention check to the next; 0 for none.
    exposure_ms : int
        How long an image is shown before "real or generated?" is asked.
    seed : int
        Of the orders.
    models : mapping
        Source to the name of the model that drew it.
    run_id : str or None
        MLflow run that results are logged to.
    consent : str
        What raters agree to.
    access_sha256 : str or None
        Of the token that lets raters in; None lets all in who reach the server.
    """

    title: str
    places: tuple[Place, ...]
    side_px: int
    trials: Mapping[str, int]
    practice: int = 3
    check_every: int = 10
    exposure_ms: int = 1000
    seed: int = 0
    models: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    consent: str = ""
    access_sha256: str | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.trials) - set(QUESTIONS)):
            raise UsageError(
                f"trials of {', '.join(unknown)}; wanted some of {', '.join(QUESTIONS)}"
            )
        if not any(self.trials.values()) or min(self.trials.values()) < 0:
            raise UsageError(f"trials are {dict(self.trials)}; wanted at least one, none below 0")
        if not 100 <= self.exposure_ms <= 60_000:
            raise UsageError(f"exposure_ms is {self.exposure_ms}; wanted 100 to 60000")
        for name in ("practice", "check_every"):
            if (value := getattr(self, name)) < 0:
                raise UsageError(f"{name} is {value}; wanted 0 or more")
        most = max(self.trials.values())
        if len(self.shown) < most:
            raise UsageError(
                f"{most} trials of a question want as many places, for nobody sees one twice; "
                f"there are {len(self.shown)} (and {len(self.kept_for_practice)} for practice): "
                "ask for fewer trials, or make the study of more ground"
            )
        if (self.practice or self.check_every) and not self.kept_for_practice:
            raise UsageError("practice and checks want a place of their own, and there is none")

    @property
    def shown(self) -> tuple[Place, ...]:
        """Places that count."""
        return tuple(place for place in self.places if not place.practice)

    @property
    def kept_for_practice(self) -> tuple[Place, ...]:
        """Places that do not."""
        return tuple(place for place in self.places if place.practice)

    @property
    def generated(self) -> tuple[str, ...]:
        """Sources beside real images that all places have."""
        return tuple(s for s in GENERATED if all(s in place.images for place in self.places))

    def options(self, question: str) -> tuple[tuple[str, ...], ...]:
        """What a trial of a question can show: one source, or two that are compared.

        As many real images as generated ones are shown when that is the question, or raters would
        do well to say always the same.
        """
        generated = self.generated
        if question == REAL_OR_GENERATED:
            return tuple((source,) for one in generated for source in (REAL, one))
        if question == PREFERENCE:
            return ((REAL, SR), *((SR, other) for other in generated if other != SR))
        return tuple((source,) for source in (REAL, *generated))


def write_study(study: Study, folder: Path) -> None:
    """Write it into its folder."""
    text = json.dumps({"format": FORMAT, **asdict(study)}, indent=2, ensure_ascii=False)
    (folder / _FILE).write_text(text + "\n", encoding="utf-8")


def read_study(folder: Path) -> Study:
    """Read a study from its folder.

    Raises
    ------
    FlowError
        If there is none, or it cannot be read.
    """
    file = folder / _FILE
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if (found := values.pop("format", None)) != FORMAT:
            raise FlowError(f"{file}: format {found}; this version reads {FORMAT}")
        places = tuple(Place(**place) for place in values.pop("places"))
        return Study(places=places, **values)
    except FileNotFoundError as error:
        raise FlowError(f"{folder}: no study; `skyscale study make` makes one") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FlowError(f"{file}: cannot be read ({error})") from error
