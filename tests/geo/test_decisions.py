"""Decisions as rows: every refusal has an identity of its own, a reason, and numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
import shapely

from geo.alignment import Alignment, AlignRules
from geo.catalog.scene import Asset, Refusal, Scene
from geo.colour_fit import ColourFit
from geo.coregister import RegistrationRules
from geo.cut import CutRules
from geo.decisions import (
    PairingRules,
    failed_row,
    match_row,
    refusal_row,
    scenes_digest,
    scenes_row,
)
from geo.errors import BandError, GeoError, GridError, SourceError
from geo.match import Candidate, Rejection
from geo.pairstore.rows import SCHEMA, scenes_identity

RULES = PairingRules(bands=("red", "green"))
GROUND = shapely.box(15, 47, 15.1, 47.1)


def scene(name: str) -> Scene:
    return Scene(
        id=name,
        time=datetime(2023, 8, 15, tzinfo=UTC),
        footprint=GROUND,
        assets={"v": Asset(href=f"{name}.tif")},
    )


CANDIDATE = Candidate(
    satellite=scene("sat"), aerial=scene("air"), gap_days=2.0, overlap=GROUND, ground=GROUND
)
ALIGNED = Alignment(
    dy_px=0.4,
    dx_px=-0.6,
    reliability=0.9,
    accepted=True,
    reason=None,
    value=None,
    limit=None,
    residual_px=0.03,
    colours=ColourFit(
        gains=(2.0, 3.0), offsets=(1.0, -1.0), correlation=0.97, residual_dn=(20.0, 30.0)
    ),
    cloud_fraction=0.1,
)
REFUSED = replace(ALIGNED, accepted=False, reason="cloud", value=0.85, limit=0.6)


@pytest.mark.parametrize("scale", [0, 1, 3, 16])
def test_a_scale_is_two_four_or_eight(scale: int) -> None:
    with pytest.raises(ValueError, match=f"scale is {scale}; wanted 2, 4 or 8"):
        PairingRules(bands=("red",), scale=scale)


def test_whatever_changes_the_pairs_changes_the_digest() -> None:
    changed = [
        RULES,
        replace(RULES, bands=("green", "red")),
        replace(RULES, scale=2),
        replace(RULES, lr_size=64),
        replace(RULES, align=AlignRules(max_cloud=0.5)),
        replace(RULES, align=AlignRules(registration=RegistrationRules(max_shift_px=3))),
        replace(RULES, cut=CutRules(min_valid=0.5)),
    ]
    assert len({rules.digest for rules in changed}) == len(changed)
    assert PairingRules(bands=("red", "green")).digest == RULES.digest


def test_more_ground_is_new_work_and_the_same_ground_is_not() -> None:
    wider = replace(CANDIDATE, ground=GROUND.buffer(0.1))
    assert scenes_digest(CANDIDATE, RULES) == scenes_digest(replace(CANDIDATE), RULES)
    assert scenes_digest(wider, RULES) != scenes_digest(CANDIDATE, RULES)
    assert scenes_digest(CANDIDATE, replace(RULES, scale=2)) != scenes_digest(CANDIDATE, RULES)


def test_aligned_scenes_have_a_row_without_a_reason() -> None:
    row = scenes_row(CANDIDATE, ALIGNED, RULES, "run")
    assert row["kind"] == "scenes"
    assert row["identity"] == scenes_identity("sat", "air")
    assert (row["dy_px"], row["dx_px"], row["gains"]) == (0.4, -0.6, [2.0, 3.0])
    assert "reason" not in row


def test_refused_scenes_have_reason_value_and_limit() -> None:
    row = scenes_row(CANDIDATE, REFUSED, RULES, "run")
    assert row["kind"] == "rejection"
    assert (row["reason"], row["value"], row["limit"]) == ("cloud", 0.85, 0.6)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SourceError("a.tif: no such file", href="a.tif", cause="missing"), "missing"),
        (SourceError("a.tif: broken"), "unreadable"),
        (BandError("no band nir"), "missing_band"),
        (GridError("rotated"), "unsupported_grid"),
        (GridError("coarse", cause="aerial_too_coarse", value=1.0, limit=2.5), "aerial_too_coarse"),
    ],
)
def test_scenes_that_failed_say_why(error: GeoError, reason: str) -> None:
    row = failed_row(CANDIDATE, error, RULES, "run")
    assert row["kind"] == "rejection"
    assert row["reason"] == reason
    assert row["detail"] == error.message
    assert row["value"] == error.facts.get("value")


def test_every_decision_has_an_identity_of_its_own() -> None:
    rows = [
        scenes_row(CANDIDATE, ALIGNED, RULES, "run"),
        match_row(Rejection(satellite_id="sat", aerial_id="", reason="no_overlap"), RULES, "run"),
        match_row(Rejection(satellite_id="sat", aerial_id="b", reason="time_gap"), RULES, "run"),
        *(
            refusal_row(
                Refusal(id=name, href=href, reason="unreadable", detail=""), side, RULES, ""
            )
            for name, href in (("x", "a/x.tif"), ("y", "a/y.tif"))
            for side in ("satellite", "aerial")
        ),
    ]
    assert len({row["identity"] for row in rows}) == len(rows)


def test_a_later_decision_replaces_an_earlier_one() -> None:
    """One identity for two scenes, whatever is said about them."""
    said = [
        scenes_row(CANDIDATE, ALIGNED, RULES, "a"),
        scenes_row(CANDIDATE, REFUSED, RULES, "b"),
        failed_row(CANDIDATE, SourceError("gone"), RULES, "c"),
        match_row(Rejection(satellite_id="sat", aerial_id="air", reason="time_gap"), RULES, "d"),
    ]
    assert len({row["identity"] for row in said}) == 1


@pytest.mark.parametrize(
    "row",
    [
        scenes_row(CANDIDATE, ALIGNED, RULES, "run"),
        scenes_row(CANDIDATE, REFUSED, RULES, "run"),
        failed_row(CANDIDATE, SourceError("gone"), RULES, "run"),
        match_row(Rejection(satellite_id="s", aerial_id="", reason="cloud"), RULES, "run"),
        refusal_row(
            Refusal(id="x", href="x", reason="no_time", detail="?"), "aerial", RULES, "run"
        ),
    ],
)
def test_rows_fit_the_index(row: Any) -> None:
    assert set(row) <= set(SCHEMA.names)
    assert pa.Table.from_pylist([row], schema=SCHEMA).num_rows == 1
    assert row["settings_digest"]
