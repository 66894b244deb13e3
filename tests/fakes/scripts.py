"""What fake engines do in several tests, and waiting for it to have been done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fakes.engine import DONE, LAST_CHUNK, SSE_HEAD, Seen, plain, token
from tests.fakes.waiting import until

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from tests.fakes.engine import FakeEngine, Script, Step
    from tests.fakes.gateway import Served


def well(seen: Seen) -> Iterable[Step]:
    """A short stream or a plain answer, as asked."""
    if seen.json.get("stream"):
        yield SSE_HEAD + token(0) + token(1) + DONE + LAST_CHUNK
    else:
        yield plain()


def says(*steps: Step) -> Script:
    """A script of fixed steps."""

    def script(_: Seen) -> Iterable[Step]:
        yield from steps

    return script


async def asked(*fleet: FakeEngine, times: int = 1) -> None:
    """Wait until these engines have been asked so often in all."""
    await until(lambda: sum(len(e.requests) for e in fleet) == times, "the engines to be asked")


async def begun(served: Served) -> None:
    """Wait until an answer has begun."""
    await until(lambda: any(f.status for f in served.gateway.flights), "an answer to begin")


async def first_is(fleet: list[FakeEngine], *steps: Step) -> None:
    """Whichever engine is asked first does this, the others are well."""
    asked: list[bool] = []

    def script(seen: Seen) -> Iterable[Step]:
        if asked:
            yield from well(seen)
        else:
            asked.append(True)
            yield from steps

    for engine in fleet:
        engine.script = script


def held_stream(go: asyncio.Event) -> Script:
    """A stream of two tokens, the second when `go` is set."""

    def script(_: Seen) -> Iterable[Step]:
        yield SSE_HEAD + token(0)
        yield go
        yield token(1) + DONE + LAST_CHUNK

    return script
