"""Forms of the Prefect UI say what the docstrings say."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate

from flows.care import CareConfig
from flows.forms import form, read_docstring
from flows.ingest_settings import IngestConfig
from flows.report import ReportFlowConfig
from flows.train_job import TrainFlowConfig
from flows.upscale import UpscaleFlowConfig, upscale


@pytest.mark.parametrize(
    "config", [IngestConfig, CareConfig, TrainFlowConfig, UpscaleFlowConfig, ReportFlowConfig]
)
def test_every_parameter_is_described(config: type) -> None:
    words, _ = read_docstring(config)
    assert [f.name for f in fields(config) if not words.get(f.name)] == []


def test_choices_and_shared_descriptions_are_found() -> None:
    words, choices = read_docstring(IngestConfig)
    assert choices == {"harmonise": ["linear", "histogram"]}
    assert words["satellite"] == words["aerial"]
    assert words["data_range"].startswith("The DN that means 1.0")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """What a deployment of the flow `upscale` tells the UI."""
    return dict(parameter_schema(upscale).model_dump_for_openapi())


def test_what_may_be_left_out_is_an_empty_field_of_its_type(schema: dict[str, Any]) -> None:
    properties = schema["definitions"]["UpscaleFlowConfig"]["properties"]
    kinds = {name: properties[name]["type"] for name in ("aoi", "workers", "bands", "ensemble")}
    assert kinds == {"aoi": "string", "workers": "integer", "bands": "array", "ensemble": "boolean"}
    assert [name for name, of in properties.items() if "anyOf" in of] == []
    assert properties["memory_mb"]["default"] == 1500


def test_programs_may_say_none_for_what_may_be_left_out(schema: dict[str, Any]) -> None:
    config: dict[str, Any] = {"source": "a", "output": "b", "model": "c"}
    for value in ("1,2,3,4", None):
        validate({"config": config | {"aoi": value}}, schema, raise_on_error=True)
    with pytest.raises(ValidationError, match="aoi"):
        validate({"config": config | {"aoi": 3}}, schema, raise_on_error=True)


def test_titles_are_words(schema: dict[str, Any]) -> None:
    properties = schema["definitions"]["UpscaleFlowConfig"]["properties"]
    titles = [properties[name]["title"] for name in ("aoi", "max_cloud", "memory_mb", "dtype")]
    assert titles == ["AOI", "Max cloud", "Memory MB", "Data type"]


def test_a_description_of_what_is_not_there_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="gone"):

        @form
        @dataclass
        class Config:
            """A form.

            Parameters
            ----------
            here : int
                It is.
            gone : int
                It was.
            """

            here: int
