from __future__ import annotations

from pathlib import Path

from PIL import Image

from flows.learning_curves import adversarial_start, draw_curves, read_curves
from flows.metric_spool import Spool


def test_curves_come_from_the_record_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for step in (10, 20, 30):
        spool.metrics({"train/content_loss": 1 / step}, step)
    spool.metrics({"train/d_accuracy": 0.5}, 30)
    spool.confirm(spool.waiting("metrics")[1])  # sent or not does not matter
    curves = read_curves(spool.entries())
    assert curves["train/content_loss"] == [(10, 0.1), (20, 0.05), (30, 1 / 30)]
    assert adversarial_start(curves) == 30


def test_a_picture_is_drawn_of_any_run_even_one_without_curves(tmp_path: Path) -> None:
    names = ("train/content_loss", "val/psnr_db", "train/d_real", "val/hf_power_ratio")
    full = {name: [(step, float(step)) for step in range(5)] for name in names}
    for number, curves in enumerate((full, {})):
        path = tmp_path / f"{number}.png"
        draw_curves(curves, path, title="run $ _a_")
        with Image.open(path) as picture:
            assert picture.size[0] == 990
