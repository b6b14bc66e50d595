"""No password, signature or token of an address is told; passwords are not even taken."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from geo import raster_door
from geo.catalog.http import HttpRules
from geo.catalog.sources import read_scenes
from geo.errors import CatalogError, GeoError, SourceError
from geo.pairstore.place import S3Place, StoreError
from geo.raster_io import inspect_raster, read_window
from geo.secrets import holds_user, mask, without_user
from tests.servers.stac_server import StacServer

QUICK = HttpRules(first_wait_s=0.01, read_timeout_s=1.0, attempts=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster_door, "_WAITS_S", (0.01,))


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("https://me:hunter2@host:8443/a.tif: no", "https://***@host:8443/a.tif: no"),
        ("postgresql://me:p@ss@db/x and s3://b/a@2x.tif", "postgresql://***@db/x and s3://b/a@2x.tif"),
        ("'https://h/a.tif?se=2026&sig=a%2Fb&sv=1'", "'https://h/a.tif?se=2026&sig=***&sv=1'"),
        ("https://h/a?X-Amz-Credential=A&X-Amz-Signature=B", "https://h/a?X-Amz-Credential=***&X-Amz-Signature=***"),
        ("for url: /search?token=abc (Caused by x)", "for url: /search?token=*** (Caused by x)"),
        ("https://h/a?apikey=1#r https://h/b?API_KEY=2", "https://h/a?apikey=***#r https://h/b?API_KEY=***"),
        ("no such file: https:/me:hunter2@host/a.tif", "no such file: https:/***@host/a.tif"),
        ("models:/skyscale-generator@champion", "models:/skyscale-generator@champion"),
        ("https://h/a?design=1&keys=2&monkey=3", "https://h/a?design=1&keys=2&monkey=3"),
    ],
)  # fmt: skip
def test_what_lets_others_in_is_masked_and_nothing_else(told: str, shown: str) -> None:
    assert mask(told) == shown
    assert mask(shown) == shown


def test_links_are_told_without_names() -> None:
    assert holds_user("https://me:pw@host/x")
    assert not holds_user("https://host/x?a=b@c")
    assert not holds_user("/data/a@b.tif")
    assert without_user("https://me:pw@host:5000/x?y#z") == "https://host:5000/x?y#z"


def test_every_error_of_ours_is_masked_also_after_a_journey() -> None:
    error = SourceError("https://me:pw@host/a: no such file", href="x")
    for again in (error, pickle.loads(pickle.dumps(error))):
        assert str(again) == again.message == "https://***@host/a: no such file"


@pytest.mark.parametrize(
    "source",
    [
        "http://me:hunter2@127.0.0.1:9/collection.json",
        "stac-api:http://me:hunter2@127.0.0.1:9/api#c",
        "http://me:hunter2@127.0.0.1:9/items.parquet",
        "http://hunter2@127.0.0.1:9/a_20240618.tif",
    ],
)
def test_addresses_with_passwords_are_refused_before_anybody_is_asked(source: str) -> None:
    try:
        scenes, refusals = read_scenes(source, http=QUICK)
        assert scenes == []
        told = " ".join(r.detail for r in refusals)
    except CatalogError as error:
        told = str(error)
    assert "netrc" in told
    assert "hunter2" not in told


def test_the_door_of_rasters_refuses_them_too() -> None:
    with pytest.raises(SourceError, match="netrc") as caught:
        inspect_raster("http://me:hunter2@127.0.0.1:9/a.tif")
    assert "hunter2" not in str(caught.value)


def test_a_signature_is_used_but_not_shown(tmp_path: Path) -> None:
    with StacServer(tmp_path) as server:
        with pytest.raises(GeoError) as caught:
            inspect_raster(f"{server.files}/a.tif?sig=hunter2")
        assert any("sig=hunter2" in path for _, path, _ in server.log)
    assert "sig=***" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_keys_of_s3_are_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAHUNTER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    place = S3Place("s3://bucket/store")
    assert "hunter" not in f"{place.kvstore('x')} {place.delta_options()} {vars(place)}".lower()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:hunter2@127.0.0.1:9")
    with pytest.raises(StoreError) as caught:
        raise StoreError(f"{place.kvstore('x')}")
    assert "hunter" not in str(caught.value).lower()


def test_netrc_lets_in_to_documents_and_pixels(
    rasters: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served"
    data = np.arange(64 * 64, dtype="uint16").reshape(1, 64, 64)
    rasters.write(served / "a_20240618.tif", data, rasters.grid((64, 64)))
    catalog = {"type": "Catalog", "stac_version": "1.1.0", "id": "c", "links": []}
    (served / "catalog.json").write_text(json.dumps(catalog))
    with StacServer(served, login="me:hunter2") as server:
        url, document = f"{server.files}/a_20240618.tif", f"{server.files}/catalog.json"
        with pytest.raises(SourceError):
            inspect_raster(url)
        with pytest.raises(CatalogError, match="answers 401"):
            read_scenes(document, http=QUICK)
        netrc = tmp_path / ".netrc"
        netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("HOME", str(tmp_path))
        again = f"{url}?again"  # GDAL remembers that it was refused
        np.testing.assert_array_equal(read_window(again, slice(0, 64), slice(0, 64)).data, data)
        assert read_scenes(document, http=QUICK) == ([], [])
