"""Recorded sessions of agents: turns that follow each other, on no common clock.

The format of `kv-cache-tester`'s Claude Code sessions, one session a line:

    {"id": "trace_0001", "block_size": 64, "requests": [
        {"t": 0.0, "type": "s", "in": 71175, "out": 169, "hash_ids": [1, 2, …], "think_time": 2.1},
        {"t": 9.5, "type": "subagent", "requests": [ … ]}]}

Ids mean something inside one session only, and leave the partial block at the end out. A subagent's
turns come where its entry does, in the order of their times: whoever waits for it does so too.
Blocks are joined to 512 tokens, eight of them to one: there are 31 million of the small ones.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from cardan_sim.traces.source import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cardan_sim.traces.source import Line

BLOCK_TOKENS: Final = 512
# A session's ids are below this (the longest prompt has 14,000 blocks), its number above.
_STRIDE: Final = 1 << 24
_PARTIAL: Final = 1 << 23


class RecordedTurn(msgspec.Struct, frozen=True):
    """One entry of a session; what else it holds is ignored."""

    t: float = 0.0
    type: str = ""
    tokens: int = msgspec.field(default=0, name="in")
    out: int = 0
    hash_ids: tuple[int, ...] = ()
    think_time: float = 0.0
    requests: tuple[RecordedTurn, ...] = ()


class RecordedSession(msgspec.Struct, frozen=True):
    """One line of the file."""

    id: str
    block_size: int
    requests: tuple[RecordedTurn, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a session, sent `think_s` after the answer to the one before."""

    think_s: float
    input_tokens: int
    output_tokens: int
    blocks: array[int]


@dataclass(frozen=True, slots=True)
class Session:
    """A session by its name and its turns, at least one."""

    name: str
    turns: tuple[Turn, ...]


_DECODER: Final = msgspec.json.Decoder(RecordedSession)


def read_sessions(path: Path, limit: int | None = None) -> list[Session]:
    """The sessions of a file, `limit` at most. Raises TraceError, naming the file and the line."""
    sessions: list[Session] = []
    for line in read_lines(path):
        if limit is not None and len(sessions) >= limit:
            break
        recorded = _decode(line)
        turns = tuple(_turns(line, recorded))
        if turns:
            sessions.append(Session(recorded.id, turns))
    return sessions


def _decode(line: Line) -> RecordedSession:
    try:
        return _DECODER.decode(line.text)
    except msgspec.DecodeError as error:
        raise line.error(str(error)) from error


def _turns(line: Line, session: RecordedSession) -> Iterator[Turn]:
    step, rest = divmod(BLOCK_TOKENS, session.block_size)
    if rest or not step:
        raise line.error(f"blocks of {session.block_size} tokens do not make {BLOCK_TOKENS}")
    base = line.number * _STRIDE
    flat = sorted(_flat(session.requests, 0.0), key=lambda pair: pair[0])
    for _, turn in flat:
        ids = array("q", [base + id_ for id_ in turn.hash_ids[step - 1 :: step]])
        del ids[turn.tokens // BLOCK_TOKENS :]
        if turn.tokens % BLOCK_TOKENS:
            last = turn.hash_ids[-1] if turn.hash_ids else 0
            ids.append(base + _PARTIAL + last)
        if len(ids) != -(-turn.tokens // BLOCK_TOKENS):
            raise line.error(f"{len(turn.hash_ids)} hash_ids for {turn.tokens} tokens")
        yield Turn(max(0.0, turn.think_time), turn.tokens, turn.out, ids)


def _flat(turns: tuple[RecordedTurn, ...], origin_s: float) -> Iterator[tuple[float, RecordedTurn]]:
    for turn in turns:
        if turn.requests:
            yield from _flat(turn.requests, origin_s + turn.t)
        elif turn.tokens > 0:
            yield origin_s + turn.t, turn
