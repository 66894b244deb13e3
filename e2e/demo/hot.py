"""The demo's last step: all send one prompt, so that more engines come to own it; then few do."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from e2e.demo import counters, fleet, steps
from e2e.demo.errors import DemoError
from e2e.demo.load import ANSWER_TOKENS, replay, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster.interface import Cluster
    from e2e.demo.load import Load
    from e2e.demo.tell import Clock, Teller

# As long as the prompts of the load before are on average: within seconds most of the tokens of
# the last minute are this one's.
BLOCKS: Final = 16
BLOCK_TOKENS: Final = 512
# Block ids that the bundled trace does not have.
FIRST_BLOCK: Final = 1_000_000
# Four engines' worth, so that none leaves meanwhile. The prefix moves after about half of them.
MANY, MANY_RPS = 480, 20.0
# One engine's worth, for as long as it takes to see that, and for the others to drain.
FEW, FEW_RPS = 60, 2.0
# Answers after the move, to see whose they are.
SHOWN: Final = 100


class Hot:
    """The step: what it has found out so far."""

    def __init__(self, cluster: Cluster, tell: Teller, load: Load) -> None:
        """A fleet that has grown; nothing of the load need be there."""
        self._cluster = cluster
        self._tell = tell
        self._load = load

    def show(self) -> None:
        """All of it.

        Raises:
            DemoError: no engine has come to own the prefix, or none of those that have answers, or
                the fleet stays as it is when few ask.
        """
        self._tell.line(
            f"One prompt of {BLOCKS * BLOCK_TOKENS:,} tokens, {MANY} times in"
            f" {MANY / MANY_RPS:.0f} s, and {FEW} times in the next {FEW / FEW_RPS:.0f} s:"
        )
        self._tell.command("cardan", *replay(None)[:-2], "  # in a pod")
        known = {move["key"] for move in fleet.moves(self._cluster)}
        began = self._answered()
        self._load.start(trace())
        with self._tell.clock("under load") as clock:
            self._load.await_running(clock)
            moves = self._moved(known, clock)
            told, then = fleet.told(self._cluster, fleet.MOVES), self._answered()
            after = self._shown(then, clock)
        self._tell.line(
            "One prompt has one routing key, and a key belongs to two engines. The operator"
        )
        self._tell.line("has given it to others, which the gateways had made warm for it first:")
        self._tell.command(*fleet.telling(fleet.MOVES))
        self._tell.block(told)
        self._tell.table(table(moves, then - began, after))
        self._fall()
        self._tell.command("kubectl describe fleet", fleet.NAME, "  # its last events")
        self._tell.block(last(fleet.events(self._cluster)))
        self._tell.command(*fleet.telling(fleet.CONDITIONS))
        self._tell.block(fleet.told(self._cluster, fleet.CONDITIONS))

    def _moved(self, known: set[str], clock: Clock) -> list[dict[str, Any]]:
        """Moves of prefixes that had none, as soon as there are some whose new owners are warm."""
        moves: list[dict[str, Any]] = []

        def is_moved() -> bool:
            moves[:] = [one for one in fleet.moves(self._cluster) if one["key"] not in known]
            return bool(moves)

        self._while_loaded(is_moved, "no hot prefix was moved", clock)
        return moves

    def _shown(self, then: Counter[str], clock: Clock) -> Counter[str]:
        """Whose the next answers are."""
        after: Counter[str] = Counter()

        def is_shown() -> bool:
            after.update(self._answered() - then - after)
            return after.total() >= SHOWN

        self._while_loaded(is_shown, "too few were answered after the move", clock)
        return after

    def _fall(self) -> None:
        """Few ask: engines leave, each when it has finished what it ran, and nobody notices."""
        most = least = fleet.ready(self._cluster)
        with self._tell.clock("fewer ask") as clock:
            while not self._load.over():
                ready = fleet.ready(self._cluster)
                most, least = max(most, ready), min(least, ready)
                clock.tick()
        whole(self._load.figures(), MANY + FEW)
        self._load.remove()
        if least >= most:
            raise DemoError(f"it stayed at {most} engines when few asked")
        self._tell.line(
            f"When few asked, it fell from {most} engines to {least}: {MANY + FEW} requests, "
            "0 failed."
        )

    def _while_loaded(self, condition: Callable[[], bool], otherwise: str, clock: Clock) -> None:
        """Wait for something that is to be so before the load is over."""
        while not condition():
            if self._load.over():
                raise DemoError(f"{otherwise}:\n{fleet.events(self._cluster)}")
            clock.tick()

    def _answered(self) -> Counter[str]:
        """How many requests each engine has answered so far."""
        rows = counters.read(self._cluster, steps.pods(self._cluster, "router")).rows()
        return Counter({row.endpoint: row.requests for row in rows})


def trace() -> list[bytes]:
    """The prompt again and again, first often and then seldom, as a trace has it."""
    request = {
        "input_length": BLOCKS * BLOCK_TOKENS,
        "output_length": ANSWER_TOKENS,
        "hash_ids": list(range(FIRST_BLOCK, FIRST_BLOCK + BLOCKS)),
    }
    often = [number / MANY_RPS for number in range(MANY)]
    seldom = [MANY / MANY_RPS + number / FEW_RPS for number in range(FEW)]
    times_ms = [round(1000 * at_s) for at_s in (*often, *seldom)]
    return [json.dumps({"timestamp": time_ms, **request}).encode() + b"\n" for time_ms in times_ms]


def table(
    moves: list[dict[str, Any]], before: Counter[str], after: Counter[str]
) -> list[tuple[str, str, str]]:
    """Who has answered how much before the move and after it.

    Raises:
        DemoError: no engine that owns the prefix now has a greater part than before.
    """
    owners = {owner for move in moves for owner in move["owners"]}
    if not any(after[owner] * before.total() > before[owner] * after.total() for owner in owners):
        raise DemoError(f"the prefix is {sorted(owners)}'s too, but these answer: {dict(after)}")
    names = sorted({*before, *after})
    rows = [(name, str(before[name]), str(after[name])) for name in names]
    return [("answers of", "before", "after"), *rows]


def last(events: str) -> str:
    """The heading, and the lines since a hot prefix first got another owner."""
    heading, *lines = events.splitlines()
    begun = [at for at, line in enumerate(lines) if line.startswith("HotSpotWarming")]
    return "\n".join([heading, *(lines[begun[0] :] if begun else ())])
