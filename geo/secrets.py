"""Secrets that stand in addresses: none is shown, and passwords are not even taken.

What is said of an address ends in logs, in stores, in reports that are mailed.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# Of `scheme://name:password@host`: up to the last @ before the path. Who takes an address for a
# path leaves one slash of the two.
_USER = re.compile(
    r"(?<=://)[^/\s'\"<>]+(?=@)|(?<=[a-z]:/)[^/\s'\"<>:]+:[^/\s'\"<>]+(?=@)", re.IGNORECASE
)
# Signatures and keys that go with a request, by the names that large archives use.
_SIGNED = re.compile(
    r"([?&;](?:sig|signature|x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|"
    r"token|access_token|(?:api|subscription)[_-]?key|key|pass(?:word|wd)?|secret|client_secret)=)"
    r"[^&;\s'\"<>#]+",
    re.IGNORECASE,
)
_HOLDS_USER = re.compile(r"[a-z0-9+.-]+://[^/?#]*@", re.IGNORECASE)
_HIDDEN = "***"


def mask(text: str) -> str:
    """Text without what lets others in: names and passwords of URLs, signatures, tokens, keys.

    Examples
    --------
    >>> mask("https://me:hunter2@host/a.tif?sig=abc&v=1: no such file")
    'https://***@host/a.tif?sig=***&v=1: no such file'
    """
    return _SIGNED.sub(rf"\1{_HIDDEN}", _USER.sub(_HIDDEN, text))


def holds_user(url: str) -> bool:
    """Whether a URL holds a name or password before its host."""
    return _HOLDS_USER.match(url) is not None


def without_user(url: str) -> str:
    """A URL without name and password, for links that people click."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
