"""Bytes become pages and events, or garbage, however they are cut and whatever they hold."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from cardan_kube.frames import (
    MAX_LINE_BYTES,
    Bookmark,
    GarbageError,
    Gone,
    Lines,
    Put,
    Refused,
    read_event,
    read_page,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.kube import line, pod


class Phase(msgspec.Struct):
    """What is read here of a pod's status."""

    phase: str


class Found(msgspec.Struct):
    """What is read here of a pod."""

    status: Phase


def read_phase(raw: msgspec.Raw) -> str:
    return msgspec.json.decode(raw, type=Found).status.phase


def test_events_are_what_their_type_says() -> None:
    bare = {"metadata": {"resourceVersion": "8"}}
    put = read_event(line("ADDED", pod("a")), read_phase)
    assert isinstance(put, Put)
    assert put.reading.key == "ns/a"
    assert read_event(line("DELETED", pod("a")), read_phase) == Gone("ns/a", "1")
    assert read_event(line("BOOKMARK", bare), read_phase) == Bookmark("8")
    refused = {"code": 410, "message": "too old"}
    assert read_event(line("ERROR", refused), read_phase) == Refused(410, "too old")


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"<html>",
        b"[]",
        b"\xff\xfe",
        b'{"type": "ADDED"}',
        line("NEWS", pod("a")),
        line("ADDED", {"metadata": {"name": "a"}}),
        line("ADDED", {}),
        line("ADDED", {"metadata": {"resourceVersion": 7}}),
    ],
)
def test_what_is_no_event_is_garbage(garbage: bytes) -> None:
    with pytest.raises(GarbageError):
        read_event(garbage, read_phase)


@pytest.mark.parametrize("garbage", [b"", b"{}", b'{"metadata": {}, "items": []}', b"null"])
def test_what_is_no_list_is_garbage(garbage: bytes) -> None:
    with pytest.raises(GarbageError):
        read_page(garbage, read_phase)


def test_an_object_of_an_unexpected_shape_spoils_no_other() -> None:
    odd = pod("odd")
    odd["status"] = "Running"
    page = {"metadata": {"resourceVersion": "7"}, "items": [odd, pod("b")]}
    readings = read_page(json.dumps(page).encode(), read_phase).readings
    assert [bool(reading.value) for reading in readings] == [False, True]
    assert readings[0].complaint


@given(st.lists(st.binary(max_size=8).filter(lambda b: b"\n" not in b)), st.data())
def test_lines_come_out_whole_however_they_are_cut(lines: list[bytes], data: Any) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cutter, out = Lines(), []
    while stream:
        at = data.draw(st.integers(1, len(stream)))
        out += cutter.feed(stream[:at])
        stream = stream[at:]
    assert out == [line for line in lines if line.strip()]


def test_a_line_without_end_is_garbage() -> None:
    cutter = Lines()
    with pytest.raises(GarbageError):
        cutter.feed(b"x" * (MAX_LINE_BYTES + 1))
