"""The page's files, read once."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Final, NamedTuple

# The page loads its own files and nothing else, runs no inline code and cannot be framed.
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    ("content-security-policy", CSP),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-cache"),
)
_TYPES: Final = {
    "index.html": "text/html; charset=utf-8",
    "ui.css": "text/css; charset=utf-8",
    "ui.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class Asset(NamedTuple):
    """A file and its type."""

    body: bytes
    content_type: str


@functools.cache
def asset(name: str) -> Asset | None:
    """One of the page's files; None for any other name."""
    content_type = _TYPES.get(name)
    if content_type is None:
        return None
    body = (resources.files("cardan_router.ui") / "assets" / name).read_bytes()
    return Asset(body, content_type)
