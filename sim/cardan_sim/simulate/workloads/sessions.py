"""Agents' sessions in a closed loop: a turn waits for the answer before it, and thinks.

Sessions begin with a Poisson process; within one, the next turn is sent `think_time` after the last
answer, however long that took. So a slow fleet is asked less, as in life. `rate` is what would be
asked if answers took no time: sessions per second times turns per session.

Reads Claude Code sessions (`cardan_sim.traces.sessions`) and traces with a `session_id` on every
line, whose think times nobody has recorded: `think_s` stands for them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from cardan_sim.simulate.jobs import KEY_BLOCK_TOKENS, Job
from cardan_sim.simulate.workloads.base import Base, Count, Segment, WorkloadError, rng_of
from cardan_sim.simulate.workloads.recorded import Trace
from cardan_sim.traces import read_sessions

if TYPE_CHECKING:
    from collections.abc import Iterable


class Sessions(Base, frozen=True, tag="sessions", kw_only=True):
    """Sessions of a file. `limit` takes that many; `copies` plays each so many times, unshared.

    A session ends before its first prompt over `max_input_tokens`: an agent would begin anew.
    `max_think_s` cuts pauses (a lunch tells nothing about routing).
    """

    path: str
    limit: Count | None = None
    copies: Count = 1
    max_turns: Count | None = None
    think_s: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    max_think_s: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    block_tokens: Count | None = None

    @property
    def label(self) -> str:
        """The file's name."""
        return Path(self.path).name.partition(".")[0]

    def jobs(self, *, root: Path, segment: Segment, rate: float | None, seed: int) -> Iterable[Job]:
        """See `Base`."""
        if rate is None:
            raise WorkloadError("sessions have no common clock: say at which rate they come")
        sessions = self._sessions(root)
        sessions = sessions[segment.of(len(sessions))]
        heads = [
            head
            for copy in range(self.copies)
            for session in sessions
            if (head := self._chained(session, copy)) is not None
        ]
        rng, now = rng_of("sessions", seed), 0.0
        rng.shuffle(heads)
        turns = sum(sum(1 for _ in head.turns()) for head in heads)
        between_s = turns / len(heads) / rate if heads else 0.0

        for head in heads:
            yield replace(head, due_s=now)
            now += rng.expovariate(1.0 / between_s)

    def _sessions(self, root: Path) -> list[tuple[Job, ...]]:
        if self.block_tokens is not None:
            return _by_session(root, self.path, self.block_tokens)[: self.limit]
        return _recorded(root / self.path)[: self.limit]

    def _chained(self, session: tuple[Job, ...], copy: int) -> Job | None:
        """The first turn, with the others behind it; None if already that one is too long."""
        limit = self.max_input_tokens
        turns = []
        for turn in session[: self.max_turns]:
            if limit is not None and turn.tokens > limit:
                break
            turns.append(turn)
        following: Job | None = None
        for turn in reversed(turns):
            output = turn.output_tokens
            if self.max_output_tokens is not None:
                output = min(output, self.max_output_tokens)
            think_s = self.think_s if turn.think_s < 0 else turn.think_s
            following = Job(
                0.0,
                turn.tokens,
                output,
                [id_ + copy * _COPY for id_ in turn.blocks] if copy else turn.blocks,
                turn.block_tokens,
                session=f"{turn.session}.{copy}",
                think_s=min(think_s, self.max_think_s),
                then=following,
            )
        return following


# Copies of a session share nothing: their ids are this far apart.
_COPY = 1 << 44


@lru_cache(maxsize=2)
def _recorded(path: Path) -> list[tuple[Job, ...]]:
    """The sessions of a Claude Code file, as jobs that are not chained yet."""
    return [
        tuple(
            Job(
                0.0,
                turn.input_tokens,
                max(1, turn.output_tokens),
                turn.blocks,
                KEY_BLOCK_TOKENS,
                session=session.name,
                think_s=turn.think_s,
            )
            for turn in session.turns
        )
        for session in read_sessions(path)
    ]


def _by_session(root: Path, path: str, block_tokens: int) -> list[tuple[Job, ...]]:
    """The sessions of a trace whose lines name them; -1 s of thought stands for: not recorded."""

    trace = Trace(path=path, block_tokens=block_tokens)
    by_name: dict[str, list[Job]] = {}
    for job in trace.jobs(root=root, segment=Segment(), rate=None, seed=0):
        if not job.session:
            raise WorkloadError(f"{path}: not every line has a session_id")
        by_name.setdefault(job.session, []).append(replace(job, think_s=-1.0))
    return [tuple(jobs) for jobs in by_name.values()]
