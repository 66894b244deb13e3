"""Recorded observations: what is written is what is read, and a bad line is named."""

from __future__ import annotations

import pytest
from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.scaling.drain import DrainMemory, Victim
from cardan.scaling.memory import Memory, PoolMemory
from cardan.scaling.observation import (
    Datum,
    Demand,
    EndpointLoad,
    Freshness,
    Observation,
    PendingReplica,
    PoolState,
)
from cardan.scaling.recording import (
    RecordingError,
    header_line,
    observation_line,
    read_recording,
    tick_of,
)
from cardan.scaling.spec import PoolSpec, ScalingSpec

SPEC = ScalingSpec(pools=(PoolSpec(name="engines"),))


def observation(at: float) -> Observation:
    fresh = Datum(3.0, WallTime(at - 5), Freshness.FRESH)
    return Observation(
        at=WallTime(at),
        demand=Demand(requests_per_s=fresh, held=Datum(freshness=Freshness.FAILED, why="503")),
        pools={
            "engines": PoolState(desired=3, ready=2, pending=(PendingReplica("p", WallTime(at)),))
        },
        endpoints=(EndpointLoad(id=EndpointId("a"), pool="engines", in_flight=fresh),),
        external={"queue": fresh},
    )


def test_what_is_written_is_read_again() -> None:
    busy = Memory(drains=DrainMemory((Victim(pod="p", pool="engines", since=WallTime(90.0)),)))
    ticks = [
        tick_of(observation(100.0), Memory()),
        tick_of(observation(115.0), busy, held="spec.paused", stale="no answer"),
    ]
    learned = Memory(pools={"engines": PoolMemory(current=3, recommended=4)})
    lines = [header_line("chat", SPEC, learned), *map(observation_line, ticks)]
    header, read = read_recording(lines)
    assert (header.fleet, header.spec, header.memory) == ("chat", SPEC, learned)
    assert list(read) == ticks
    assert ticks[1].remembering(learned).drains == busy.drains
    assert ticks[1].remembering(learned).pools == learned.pools


def test_observations_alone_are_ticks_of_which_nothing_else_is_known() -> None:
    seen = observation(100.0)
    _, read = read_recording([header_line("chat", SPEC), observation_line(seen)])
    assert list(read) == [tick_of(seen, Memory())]


def test_what_a_shell_adds_to_a_specification_is_left_out() -> None:
    class Pool(PoolSpec, frozen=True, kw_only=True):
        target: str

    class Spec(ScalingSpec, frozen=True, kw_only=True):
        model: str

    pool = Pool(name="engines", target="vllm", max_replicas=7)
    header, _ = read_recording([header_line("chat", Spec(pools=(pool,), model="m"))])
    assert header.spec == ScalingSpec(pools=(PoolSpec(name="engines", max_replicas=7),))


def test_each_tick_is_a_line_and_empty_lines_do_not_matter() -> None:
    line = observation_line(observation(100.0))
    assert line.count(b"\n") == 1
    _, read = read_recording([header_line("chat"), b"\n", line, b"  \n"])
    assert len(list(read)) == 1


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ([], "no lines"),
        ([b'{"recording": "something else"}'], "line 1"),
        ([b'{"recording": "cardan.dev/observations", "version": 2}'], "version 2"),
    ],
)
def test_what_is_no_recording_is_refused_at_once(lines: list[bytes], word: str) -> None:
    with pytest.raises(RecordingError, match=word):
        read_recording(lines)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b'{"at": "soon"}', r"line 3: .*\$\.at"),
        (b"{", "line 3"),
        (b'{"at": 50}', "line 3: earlier"),
    ],
)
def test_a_bad_line_is_named_when_it_is_reached(line: bytes, word: str) -> None:
    _, read = read_recording([header_line("chat"), observation_line(observation(100.0)), line])
    assert next(read).at == 100.0
    with pytest.raises(RecordingError, match=word):
        next(read)
