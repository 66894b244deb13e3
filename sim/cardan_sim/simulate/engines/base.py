"""What a cluster asks of an engine model, and what it is told.

Times are absolute, in simulated seconds, and never go backwards. A model does nothing by itself:
the cluster asks `next_event_at` and calls `advance` then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cardan.metrics import EngineMetrics

    from cardan_sim.engine.stats import Histogram
    from cardan_sim.simulate.jobs import Job

    # Ids of blocks that the cache has from now on, and of those that it has no more.
    BlocksHeard = Callable[[Iterable[int], Iterable[int]], object]


class Began(NamedTuple):
    """The first token of a request."""

    key: int
    at: float


class Finished(NamedTuple):
    """The last token; `cached_tokens` of the prompt were found."""

    key: int
    at: float
    cached_tokens: int
    output_tokens: int


class Refused(NamedTuple):
    """There was no room, or the prompt is too long for any room (`hopeless`)."""

    key: int
    at: float
    hopeless: bool


Notice = Began | Finished | Refused


class Tally(NamedTuple):
    """What an engine has done in all; tokens. The conservation laws compare it with the answers."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    preemptions: int


class EngineModel(Protocol):
    """One engine."""

    def submit(self, key: int, job: Job, now: float) -> None:
        """Take a request; `key` names it from now on."""
        ...

    def abort(self, key: int, now: float) -> None:
        """Its client has left. Harmless for one that is not there."""
        ...

    def next_event_at(self) -> float | None:
        """When `advance` has something to do; None while there is no work."""
        ...

    def advance(self, now: float) -> list[Notice]:
        """Everything that happened up to `now`, in order."""
        ...

    def holds(self, block: int) -> bool:
        """Whether the cache has the block with this id, as of the last `advance`."""
        ...

    def listen(self, heard: BlocksHeard) -> None:
        """Tell `heard` of every block that is stored or evicted from now on: KV events."""
        ...

    def count_gaps(self, gaps: Histogram) -> None:
        """Count there the seconds between the tokens of every answer, from the start on."""
        ...

    def metrics(self, now: float) -> EngineMetrics:
        """What the engine says of itself."""
        ...

    @property
    def pending_tokens(self) -> int:
        """Prompt tokens that were sent here and are not computed, found ones left out."""
        ...

    @property
    def tally(self) -> Tally:
        """Totals since the start."""
        ...

    def set_speed(self, factor: float) -> None:
        """From the next piece of work on everything takes `factor` times as long."""
        ...

    def hold(self, until: float, now: float) -> None:
        """Begin nothing before `until`; what is under way ends."""
        ...

    def forget(self) -> None:
        """Lose what is cached and nobody uses."""
        ...

    def check_at_rest(self) -> str | None:
        """What is wrong with an engine that has no work left; None if nothing is."""
        ...
