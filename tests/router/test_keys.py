"""API keys: a file of hashes, strict, which never repeats what it was given."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from cardan.errors import ConfigError
from cardan_router.keys import Caller, KeyRing, hash_key, read_keys
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

HASH = hashlib.sha256(b"sk-secret").hexdigest()
OTHER = hashlib.sha256(b"sk-other").hexdigest()


def write(tmp_path: Path, text: str) -> Path:
    """A key file."""
    path = tmp_path / "keys"
    path.write_text(text)
    return path


def test_a_key_is_found_by_what_it_hashes_to(tmp_path: Path) -> None:
    ring = read_keys(
        write(tmp_path, f"# ours\nalice:{HASH}\n\nops:{OTHER} priority=5 weight=2.5 admin # all\n")
    )
    assert len(ring) == 2
    assert ring.find("sk-secret") == Caller("alice")
    assert ring.find("sk-other") == Caller("ops", 5, 2.5, admin=True)
    for wrong in ("", "sk-secre", "sk-secret ", HASH, "\udcff", "x" * 100_000):
        assert ring.find(wrong) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no keys"),
        ("# nothing\n", "no keys"),
        (f"alice:{HASH}\nbob:{HASH}", ":2: this key is there twice"),
        (f"alice:{HASH} weight=0", ":1: weight must be positive"),
        (f"alice:{HASH} weight=nan", ":1: weight must be positive"),
        (f"alice:{HASH} priority=high", ":1: priority must be a whole number"),
        (f"alice:{HASH} boss", ":1: unknown option; there are priority"),
        (f"alice:{HASH} weight=much", ":1: weight must be a number"),
        (f"alice:{HASH} admin=no", ":1: admin takes no value"),
        (f"al ice:{HASH}", "NAME:SHA256"),
        (f":{HASH}", "NAME:SHA256"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_keys(write(tmp_path, text))


@pytest.mark.parametrize(
    "line",
    [
        "alice:SECRET",
        f"alice:{HASH} SECRET",
        f"alice:{HASH} SECRET=1",
        f"alice:{HASH} priority=SECRET",
        f"alice:{HASH} weight=SECRET",
        f"alice:{HASH} admin=SECRET",
        f"SECRET {HASH}",
    ],
)
def test_a_key_pasted_in_clear_is_refused_and_repeated_nowhere(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match="keys:1: ") as caught:
        read_keys(write(tmp_path, line.replace("SECRET", "sk-live-0123456789abcdef") + "\n"))
    error: BaseException | None = caught.value
    while error is not None and not error.__suppress_context__:  # a traceback shows these too
        assert "sk-live" not in str(error)
        error = error.__cause__ or error.__context__


@given(st.sets(st.text(min_size=1), max_size=20), st.text())
def test_exactly_the_keys_in_the_ring_are_found(keys: set[str], other: str) -> None:
    ring = KeyRing({hash_key(key): Caller(str(n)) for n, key in enumerate(sorted(keys))})
    for n, key in enumerate(sorted(keys)):
        assert ring.find(key) == Caller(str(n))
    assert (ring.find(other) is not None) == (other in keys)


def test_hashes_that_begin_alike_are_told_apart() -> None:
    digest = hash_key("sk-secret")
    twin = digest[:4] + bytes(28)
    ring = KeyRing({twin: Caller("twin"), digest: Caller("alice")})
    assert ring.find("sk-secret") == Caller("alice")
