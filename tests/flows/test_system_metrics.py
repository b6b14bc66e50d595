from __future__ import annotations

import pytest

from flows.code_version import code_tags
from flows.system_metrics import parse_gpus, system_reader

TABLE = """0, 87, 40960, 81920, 310.55
1, [N/A], 0, 81920, [N/A]
Failed to initialize NVML: Driver/library version mismatch
"""


def test_gpus_are_named_as_mlflow_does_and_what_they_do_not_know_is_left_out() -> None:
    assert parse_gpus(TABLE) == {
        "system/gpu_0_utilization_percentage": 87.0,
        "system/gpu_0_memory_usage_megabytes": pytest.approx(40960 * 1.048576),
        "system/gpu_0_memory_usage_percentage": 50.0,
        "system/gpu_0_power_usage_watts": 310.55,
        "system/gpu_1_memory_usage_megabytes": 0.0,
        "system/gpu_1_memory_usage_percentage": 0.0,
    }


def test_a_machine_without_gpus_has_processor_and_memory() -> None:
    values = system_reader()()
    assert 0 <= values["system/cpu_utilization_percentage"] <= 100
    assert 0 < values["system/system_memory_usage_percentage"] <= 100
    assert values["system/process_memory_usage_megabytes"] > 10


def test_the_code_has_a_version() -> None:
    tags = code_tags()
    assert tags["skyscale_version"]
    assert tags["torch_version"][0].isdigit()
    assert len(tags.get("mlflow.source.git.commit", "0" * 40)) == 40
