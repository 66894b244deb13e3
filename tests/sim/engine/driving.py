"""Driving the engine model by hand: submit at times, collect everything that happens."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from cardan_sim.engine import Ended, Engine, Event, Request, Token, make_spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cardan_sim.engine import EngineSpec


def ids(count: int, *, salt: int = 0) -> array[int]:
    """A prompt of `count` token ids; prompts of one salt are prefixes of each other."""
    return array("I", [(salt * 7919 + i * 31) % 2048 for i in range(count)])


def request(name: str, prompt: array[int] | int, output: int = 4, **rest: object) -> Request:
    """A request; an int prompt is that many ids, salted by the name."""
    if isinstance(prompt, int):
        prompt = ids(prompt, salt=sum(map(ord, name)))
    return Request(name, prompt, output, **rest)  # type: ignore[arg-type]


def tiny(**sizes: object) -> EngineSpec:
    """A small engine; sizes as of `make_spec`."""
    return make_spec(**({"model": "tiny"} | sizes))  # type: ignore[arg-type]


def run_out(engine: Engine) -> list[Event]:
    """Let the engine work until nothing is left."""
    events: list[Event] = []
    while (at := engine.next_event_at()) is not None:
        events += engine.advance(at)
    return events


def run_all(engine: Engine, requests: Iterable[tuple[float, Request]]) -> list[Event]:
    """Submit each request at its time, then let the engine work until nothing is left."""
    events: list[Event] = []
    for at, one in requests:
        while (due := engine.next_event_at()) is not None and due < at:
            events += engine.advance(due)
        engine.submit(one, at)
    return events + run_out(engine)


def ends(events: Iterable[Event]) -> dict[str, Ended]:
    """The end of each request."""
    return {event.id: event for event in events if isinstance(event, Ended)}


def tokens_of(events: Iterable[Event], name: str) -> list[Token]:
    """The tokens of one request."""
    return [event for event in events if isinstance(event, Token) and event.id == name]
