"""Bytes become pages of a list and events of a watch.

A list is one JSON object; a watch is one JSON object a line, cut anywhere into pieces. An object
that cannot be read (a wrong label, a field of an unexpected type) is kept as a `Reading` without a
value: it must not stop the others, and what it was before is no longer true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import msgspec
from cardan.errors import CardanError

from cardan_kube.objects import (
    Bare,
    ListMeta,
    Meta,
    ObjectList,
    Status,
    WatchEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# etcd's limit for an object is 1.5 MB; four times that is no event.
MAX_LINE_BYTES: Final = 6 * 1024 * 1024

_decode_list = msgspec.json.Decoder(ObjectList).decode
_decode_event = msgspec.json.Decoder(WatchEvent).decode
_decode_bare = msgspec.json.Decoder(Bare).decode
_decode_status = msgspec.json.Decoder(Status).decode


class GarbageError(CardanError):
    """What came is not what the API promises."""


class Reading(NamedTuple, Generic[T]):
    """One object: where it belongs, its version, what was read of it, or why nothing was."""

    key: str
    version: str
    value: T | None
    complaint: str = ""


class Page(NamedTuple, Generic[T]):
    """A page of a list; `token` asks for the next one, empty in the last."""

    readings: list[Reading[T]]
    version: str
    token: str


class Put(NamedTuple, Generic[T]):
    """An object is there, or is different."""

    reading: Reading[T]


class Gone(NamedTuple):
    """An object is no longer there, or no longer selected."""

    key: str
    version: str


class Bookmark(NamedTuple):
    """Nothing happened up to this version."""

    version: str


class Refused(NamedTuple):
    """The watch ends with an error."""

    code: int
    message: str


Event = Put[T] | Gone | Bookmark | Refused
Read = "Callable[[msgspec.Raw], T | None]"


def read_page(body: bytes, read: Callable[[msgspec.Raw], T | None]) -> Page[T]:
    """A page of a list; `GarbageError` if it is none."""
    try:
        listed = _decode_list(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GarbageError(f"the list cannot be read: {error}") from error
    meta: ListMeta = listed.metadata
    if not meta.resource_version:
        raise GarbageError("the list has no resourceVersion")
    readings = [_reading(raw, read) for raw in listed.items or ()]
    return Page(readings, meta.resource_version, meta.continue_)


def read_event(line: bytes, read: Callable[[msgspec.Raw], T | None]) -> Event[T]:
    """An event of a watch; `GarbageError` if it is none."""
    try:
        event = _decode_event(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GarbageError(f"an event cannot be read: {error}") from error
    if event.type in ("ADDED", "MODIFIED"):
        return Put(_reading(event.object, read))
    if event.type == "ERROR":
        status = read_status(bytes(event.object))
        return Refused(status.code, status.message or status.reason)
    meta = _meta(event.object)
    if event.type == "BOOKMARK":
        return Bookmark(meta.resource_version)
    if event.type == "DELETED":
        return Gone(_key(meta), meta.resource_version)
    raise GarbageError(f"there is no event {event.type!r}")


def read_status(body: bytes) -> Status:
    """What a refusal says; empty if it is no Status."""
    try:
        return _decode_status(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Status()


class Lines:
    """Cuts a stream into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete now; `GarbageError` if one grows without end."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise GarbageError(f"an event is over {MAX_LINE_BYTES} bytes")
        return [line for line in lines if line.strip()]


def _reading(raw: msgspec.Raw, read: Callable[[msgspec.Raw], T | None]) -> Reading[T]:
    meta = _meta(raw)
    try:
        value, complaint = read(raw), ""
    except (ValueError, msgspec.DecodeError) as error:
        value, complaint = None, f"{_key(meta)}: {error}"
    return Reading(_key(meta), meta.resource_version, value, complaint)


def _meta(raw: msgspec.Raw) -> Meta:
    """Metadata alone; without a version nothing could be continued from there."""
    try:
        meta = _decode_bare(raw).metadata
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GarbageError(f"an object cannot be read: {error}") from error
    if not meta.resource_version:
        raise GarbageError("an object has no resourceVersion")
    return meta


def _key(meta: Meta) -> str:
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
