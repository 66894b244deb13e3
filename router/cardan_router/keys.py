"""API keys: who calls, from a file of hashes.

One key a line: `NAME:SHA256 [priority=N] [weight=W] [admin]`; `#` starts a comment. SHA-256 and no
slow hash, because a key is not a password: it is 128 random bits or more, which no guessing
reaches, and it is checked for every request. `cardan router --hash-key` prints the hash of a key.
`admin` lets a key read `/metrics` and the status page.

Comparison takes the same time wherever two hashes differ. The table is looked up by the first four
bytes of the hash; their timing tells an attacker nothing that helps to find a key, since he cannot
choose the hash of what he sends.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, NamedTuple

from cardan.errors import ConfigError

from cardan_router.config_file import read_text

if TYPE_CHECKING:
    from pathlib import Path

_LINE = re.compile(r"(?P<name>[A-Za-z0-9._@-]{1,64}):(?P<hash>[0-9a-fA-F]{64})(?P<rest>(\s+\S+)*)")
# A generated key of 128 bits has at least 22 characters in base64; shorter ones can be guessed.
MIN_KEY_CHARS = 16


class Caller(NamedTuple):
    """Who a key belongs to: a tenant's name, its priority (larger is sooner) and its share.

    `admin` may read what the gateway tells of itself.
    """

    name: str
    priority: int = 0
    weight: float = 1.0
    admin: bool = False


class KeyRing:
    """The keys of one file."""

    def __init__(self, callers: dict[bytes, Caller]) -> None:
        self._buckets: dict[bytes, list[tuple[bytes, Caller]]] = {}
        for digest, caller in callers.items():
            self._buckets.setdefault(digest[:4], []).append((digest, caller))
        self._count = len(callers)

    def __len__(self) -> int:
        return self._count

    def find(self, key: str) -> Caller | None:
        """Whose key this is; None if it is nobody's."""
        digest = hash_key(key)
        found = None
        for known, caller in self._buckets.get(digest[:4], ()):
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def hash_key(key: str) -> bytes:
    """SHA-256 of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def read_keys(path: Path) -> KeyRing:
    """The keys in a file; `ConfigError` with file and line if one cannot be read."""
    callers: dict[bytes, Caller] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        digest, caller = _parse_line(text, f"{path}:{number}")
        if digest in callers:
            raise ConfigError(f"{path}:{number}: this key is there twice")
        callers[digest] = caller
    if not callers:
        raise ConfigError(f"{path}: no keys; nobody could call")
    return KeyRing(callers)


def _parse_line(text: str, where: str) -> tuple[bytes, Caller]:
    # Nothing of the line is repeated: a key pasted in clear, wherever, must not reach the log.
    match = _LINE.fullmatch(text)
    if match is None:
        raise ConfigError(f"{where}: NAME:SHA256 [priority=N] [weight=W] [admin] is expected")
    options = dict(option.partition("=")[::2] for option in match["rest"].split())
    if set(options) - {"priority", "weight", "admin"}:
        raise ConfigError(f"{where}: unknown option; there are priority=N, weight=W and admin")
    try:
        priority = int(options.get("priority", 0))
    except ValueError:
        raise ConfigError(f"{where}: priority must be a whole number") from None
    try:
        weight = float(options.get("weight", 1.0))
    except ValueError:
        raise ConfigError(f"{where}: weight must be a number") from None
    if not 0 < weight < float("inf"):
        raise ConfigError(f"{where}: weight must be positive")
    if options.get("admin"):
        raise ConfigError(f"{where}: admin takes no value")
    return bytes.fromhex(match["hash"]), Caller(match["name"], priority, weight, "admin" in options)
