"""What an href may be: a file, or a URL of a few schemes; never a command to GDAL.

GDAL takes far more than paths: `/vsi...` file systems, `WMS:` or `NETCDF:` connection strings and
whole documents (`<VRTDataset ...`), each able to read other files or hosts. Catalogues are written
by strangers, so what they say is looked at here before anything is opened.
"""

from __future__ import annotations

import hashlib
import os
import re
from urllib.parse import unquote, urljoin, urlsplit

from geo.errors import SourceError
from geo.secrets import holds_user

REMOTE_SCHEMES = frozenset({"http", "https", "s3"})

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+._-]*):")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def is_remote(href: str) -> bool:
    """Whether an href is a URL that GDAL fetches over the network."""
    scheme = _scheme_of(href)
    return scheme in REMOTE_SCHEMES and "://" in href


def is_web(href: str) -> bool:
    """Whether an href is a URL of HTTP."""
    return _scheme_of(href) in ("http", "https") and "://" in href


def resolve_href(href: str, base: str) -> str:
    """Absolute form of an href that stands in a document.

    Parameters
    ----------
    href : str
        As written: relative, absolute or a URL.
    base : str
        Absolute path or URL of the document.

    Returns
    -------
    str
        An absolute local path (only for a local document) or a URL. URLs of schemes that cannot be
        read here (``gs://`` ...) come back as they are: the door refuses them when one is opened.

    Raises
    ------
    SourceError
        With cause ``forbidden_href``: the href is no plain path or URL, or a document from the
        network names a local file.
    """
    _refuse_tricks(href)
    scheme = _scheme_of(href)
    if scheme is not None and "://" not in href and scheme != "file":
        raise _forbidden(href, f"{scheme}: is neither a path nor a URL")
    if is_remote(base):
        if scheme == "file":
            raise _forbidden(href, f"{base} comes from the network and names a local file")
        if scheme is None and base.startswith("s3://"):
            # urljoin knows relative references only for schemes of the web.
            return "s3:" + urljoin("https:" + base[3:], href)[6:]
        return href if scheme is not None else urljoin(base, href)
    if scheme == "file":
        return os.path.abspath(_path_of_file_url(href))
    if scheme is not None:
        return href
    return os.path.abspath(os.path.join(os.path.dirname(base), href))


def check_href(href: str) -> str:
    """Let only plain files and URLs pass; the last look before GDAL opens something.

    Returns
    -------
    str
        The href, ``file://`` URLs as paths.

    Raises
    ------
    SourceError
        With cause ``forbidden_href``.
    """
    _refuse_tricks(href)
    scheme = _scheme_of(href)
    if scheme == "file":
        href = _path_of_file_url(href)
    elif scheme is not None and not is_remote(href):
        raise _forbidden(href, "wanted a path, or a URL of http, https or s3")
    if urlsplit(href).path.lower().endswith(".vrt"):
        raise vrt_error(href)
    return href


def vrt_error(href: str) -> SourceError:
    """What to say of a VRT."""
    return _forbidden(
        href, "a VRT can read any other file; turn it into a GeoTIFF (gdal_translate)"
    )


def safe_name(text: str, limit: int = 80) -> str:
    """A file name for any id: no separators, bounded, different for different ids.

    Plain ids stay as they are; others get a short hash of the whole id behind what can be kept.
    """
    kept = _UNSAFE_IN_NAMES.sub("_", text)
    if kept == text and 0 < len(text) <= limit and not text.startswith((".", "-")):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{kept.lstrip('.-_')[: limit - 11] or 'id'}~{digest}"


def _scheme_of(href: str) -> str | None:
    match = _SCHEME.match(href)
    return match.group(1).lower() if match else None


def _path_of_file_url(href: str) -> str:
    parts = urlsplit(href)
    if parts.netloc not in ("", "localhost"):
        raise _forbidden(href, "a file of another host")
    path = unquote(parts.path)
    _refuse_tricks(path)
    return path


def _refuse_tricks(href: str) -> None:
    if not isinstance(href, str) or not href.strip():
        raise _forbidden(str(href), "it is empty")
    if _CONTROL.search(href):
        raise _forbidden(href, "it holds control characters")
    # As written and as it will be once `..`, doubled slashes and escapes are folded.
    written = unquote(href).lower().strip()
    for path in (written, os.path.normpath(written)):
        if path.startswith(("/", "\\")) and path.lstrip("/\\").startswith("vsi"):
            raise _forbidden(href, "GDAL's virtual file systems are not allowed")
    if href.lstrip()[0] in "<{\\":
        raise _forbidden(href, "it is a document or a share, not a file")
    if is_web(href) and holds_user(href):
        raise _forbidden(
            href, "a name or password in it would be told to stores and reports; ~/.netrc keeps it"
        )


def _forbidden(href: str, why: str) -> SourceError:
    shown = href if len(href) <= 200 else href[:200] + "..."
    return SourceError(f"{shown!r}: not opened: {why}", href=href, cause="forbidden_href")


def local_path(source: str) -> str:
    """Absolute path of a local file, from a path or a ``file://`` URL."""
    return os.path.abspath(_path_of_file_url(source) if _scheme_of(source) == "file" else source)
