"""Sources that cannot be read as a whole: what was found there and what was wanted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from geo.catalog.http import HttpRules
from geo.catalog.sources import read_scenes
from geo.errors import CatalogError
from tests.servers.stac_server import StacServer


@pytest.mark.parametrize("name", ["nowhere", "nowhere.tif", "nowhere/collection.json"])
def test_nothing_there_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(CatalogError, match="no such file or folder; wanted a STAC collection"):
        read_scenes(str(tmp_path / name))


@pytest.mark.parametrize("source", ["s3://bucket/collection.json", "gs://bucket", "ftp://a/b"])
def test_a_place_that_cannot_be_listed_is_not_said_to_be_missing(source: str) -> None:
    with pytest.raises(CatalogError, match=f"{source}: scenes are listed from files and over HTTP"):
        read_scenes(source)


@pytest.mark.parametrize("source", ["", " "])
def test_no_source_is_not_the_folder_one_happens_to_be_in(source: str) -> None:
    with pytest.raises(CatalogError, match=f"the source is '{source}'; wanted a STAC collection"):
        read_scenes(source)


@pytest.mark.parametrize("text", ["", "not json", "[1, 2]", "{}", '{"type": "Nothing"}'])
def test_a_source_that_is_no_stac_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "collection.json"
    path.write_text(text)
    with pytest.raises(CatalogError, match="not a STAC catalogue, collection or item") as caught:
        read_scenes(str(path))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("features", [None, {}, "all"])
def test_a_list_of_items_without_items_is_an_error(tmp_path: Path, features: object) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    told = f"its features are {features!r}; wanted a list of STAC items"
    with pytest.raises(CatalogError, match=re.escape(told)):
        read_scenes(str(path))


def test_a_document_out_of_reach_is_not_said_to_be_no_stac(tmp_path: Path) -> None:
    with StacServer(tmp_path) as server, pytest.raises(CatalogError) as caught:
        read_scenes(f"{server.files}/lost.json")
    assert caught.value.message == f"{server.files}/lost.json: the server answers 404"
    too_large = tmp_path / "large.json"
    too_large.write_bytes(b" " * 2000)
    with pytest.raises(CatalogError, match=r"large\.json: 2000 bytes; wanted 1000 at most"):
        read_scenes(str(too_large), http=HttpRules(max_bytes=1000))
