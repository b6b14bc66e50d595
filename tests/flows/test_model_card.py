"""The card says what a stranger must know, and what catalogues say cannot break it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.model_card import escape_markdown, write_card
from models.config import TrainConfig

SPLIT: dict[str, Any] = {
    "pairs": 40,
    "psnr_db": 24.0,
    "bicubic_psnr_db": 23.0,
    "pooled_psnr_db": 23.5,
    "pooled_bicubic_psnr_db": 22.7,
    "pooled_gain_db": 0.8,
    "pooled_gain_db_low": 0.61,
    "pooled_gain_db_high": 0.97,
    "interval_places": 12,
    "interval_place_chips": 2,
    "hf_power_ratio": 0.42,
    "bicubic_hf_power_ratio": 0.01,
    "lr_consistency": 0.002,
    "bicubic_lr_consistency": 0.009,
    "sam_deg": None,
    "by_category": {"farm": {"pairs": 40, "pooled_psnr_db": 23.5, "pooled_gain_db": 0.8}},
}
JOB: dict[str, Any] = {
    "run_id": "abc",
    "store": "s3://bucket/store",
    "store_version": 7,
    "store_digest": "d1gest",
    "config": TrainConfig().to_dict(),
    "data": {
        "bands": ["red", "green"],
        "scale": 4,
        "lr_size": 32,
        "data_range": 10000.0,
        "splits": {"train": 300, "val": 40, "test": 40},
        "balance": {"farm": {"train": 300, "val": 40, "test": 40}},
    },
    "code": {"skyscale_version": "1.2", "mlflow.source.git.commit": "f00" * 14},
}
EVALUATION: dict[str, Any] = {
    "parameters": 98_000,
    "training": {
        "weights_sha256": "ab" * 32,
        "selected_step": 900,
        "sharp_share": 0.75,
        "trade_off": [
            {"share": 0.0, "psnr_db": 24.0, "hf_power_ratio": 0.2},
            {"share": 0.75, "psnr_db": 23.3, "hf_power_ratio": 0.5},
            {"share": 1.0, "psnr_db": 22.0},
        ],
        "ranks": 2,
        "clock": {"content_steps": 800, "adversarial_steps": 200, "content_s": 60.0},
    },
    "val": SPLIT,
    "test": SPLIT,
}


def test_it_names_data_settings_scores_beside_bicubic_intervals_and_limits() -> None:
    card = write_card(JOB, EVALUATION)
    for words in (
        "version 7, digest `d1gest`",
        "| farm | 300 | 40 | 40 |",
        "| generator updates, adversarial | 200 |",
        "| PSNR, all pixels pooled, dB | 23.50 | 22.70 | higher |",
        "| power beyond LR Nyquist, reality = 1 | 0.420 | 0.010 | nearer 1 |",
        "+0.80 dB; 95 % interval +0.61 to +0.97 dB, drawn of 12 places",
        "of update 900, 75% of the way from faithful to sharp",
        "| 75% | 23.30 | 0.500 | exported |",
        "| 100% | 22.00 | unknown |  |",
        "It invents",
        "Radiometry",
        "Not for measuring",
        "licences of the imagery",
    ):
        assert words in card
    assert "spectral angle" not in card.split("## Limits")[0]  # no such score, no such row


def test_it_is_written_for_runs_without_test_ground_phases_or_details() -> None:
    evaluation = copy.deepcopy(EVALUATION) | {"test": None}
    del evaluation["val"]["pooled_gain_db_low"]
    evaluation["training"] = {}
    job = {key: JOB[key] for key in ("run_id", "store", "store_version", "store_digest", "config")}
    card = write_card(job, evaluation)
    assert "Test ground: there is none" in card
    assert "too few places" in card
    assert "| adversarial game | none |" in card


@given(st.text(max_size=60))
def test_names_of_catalogues_stay_text(name: str) -> None:
    job = copy.deepcopy(JOB)
    job["data"]["balance"] = {name: {"train": 300, "val": 40, "test": 40}}
    job["data"]["bands"] = [name]
    plain, named = write_card(JOB, EVALUATION), write_card(job, EVALUATION)
    assert len(named.split("\n")) == len(plain.split("\n"))
    row = next(line for line in named.split("\n") if line.endswith("| 300 | 40 | 40 |"))
    assert row.replace("\\|", "").count("|") == 5


def test_it_says_when_no_image_was_shown_with_its_partner() -> None:
    job = copy.deepcopy(JOB)
    assert "without partners" not in write_card(job, EVALUATION)
    job["config"] = TrainConfig(task="unpaired", objective="least_squares").to_dict()
    assert "without partners, each in an order of its own" in write_card(job, EVALUATION)


@pytest.mark.parametrize("text", ["<script>", "[x](y)", "a|b", "`a`", "# a\nb", "![p](http://x)"])
def test_signs_are_escaped(text: str) -> None:
    escaped = escape_markdown(text)
    assert "\n" not in escaped
    for sign in "<[|`#!(":
        assert escaped.count(sign) == escaped.count("\\" + sign)


def test_the_same_input_gives_the_same_card_after_a_round_trip_through_json() -> None:
    again = json.loads(json.dumps(JOB)), json.loads(json.dumps(EVALUATION))
    assert write_card(*again) == write_card(JOB, EVALUATION)


def test_what_is_learned_from_beside_true_pairs_is_counted() -> None:
    job = copy.deepcopy(JOB)
    assert "derived" not in write_card(job, EVALUATION)
    job["data"] |= {
        "derived": {"sensor": 100, "a|b@1234": 20},
        "chips": {"lr": {"train": 70, "val": 9}, "hr": {"train": 300}},
    }
    card = write_card(job, EVALUATION)
    assert "LR images of 120 of the training pairs are derived" in card
    assert "100 by sensor, 20 by a\\|b@1234" in card
    assert "chips" not in card.split("## Training")[0].split("| all |")[1], "a task on pairs"
    job["config"] = TrainConfig(task="unpaired", objective="least_squares").to_dict()
    assert "70 LR and 300 HR chips of training ground" in write_card(job, EVALUATION)


def test_a_generator_that_nobody_has_tested_is_called_unproven() -> None:
    job, evaluation = copy.deepcopy(JOB), copy.deepcopy(EVALUATION)
    job["data"] |= {"splits": {}, "balance": {}}
    evaluation |= {"val": None, "test": None}
    evaluation["training"] |= {
        "selected_step": None,
        "sharp_share": None,
        "trade_off": [],
        "clock": {"content_steps": 30, "adversarial_steps": 5},
    }
    card = write_card(job, evaluation)
    assert "of update 35, the last one: there was no ground to choose on" in card
    assert "**Unproven.**" in card
    assert "flatters" not in card
    assert "None" not in card
    assert "**Unproven.**" not in write_card(JOB, EVALUATION)
