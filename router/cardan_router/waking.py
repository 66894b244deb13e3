"""Telling the operator that somebody waits for a model that sleeps.

The first request that is held for a model is told at once, so that the operator need not find out
at its next look. Telling is idempotent there, so it is told again while somebody still waits: soon,
and ever less often, if it could not be told; now and then if it could, for the operator that noted
it may have been replaced since. One model has one push in the air at a time, and no request waits
for any of it: whoever is held stays held, told or not.

    POST WAKE_URL/v1/wake    {"namespace": ..., "model": ...}

A replica that does not lead answers 307 with the leader's address; one such step is followed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import orjson

from cardan_router.fetch import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.instants import Monotonic
    from cardan.scheduler import Scheduler

    from cardan_router.fetch import Fetcher

log = logging.getLogger(__name__)

PATH: Final = "/v1/wake"
NOTED: Final = frozenset({200, 202, 204})
# The operator answers from memory; who has not answered within this is asked again.
TIMEOUT_S: Final = 3.0
# A replica that is being replaced is back within seconds, and so is a leader.
FIRST_RETRY_S: Final = 0.25
MAX_RETRY_S: Final = 5.0
# An operator forgets a push after a minute at the latest.
AGAIN_S: Final = 30.0


class Wakes:
    """Pushes for the models that somebody is held for. `count` is told how each one ended."""

    def __init__(
        self,
        scheduler: Scheduler,
        fetcher: Fetcher,
        namespace: Callable[[], str],
        clock: Callable[[], float],
        count: Callable[[str], None],
    ) -> None:
        self._scheduler = scheduler
        self._fetcher = fetcher
        self._namespace = namespace
        self._clock = clock
        self._count = count
        self._pushes: dict[str, _Push] = {}
        self._wanted = asyncio.Event()
        scheduler.holding.on_first = lambda _: self._wanted.set()

    async def run(self) -> None:
        """Tell whatever is due, for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                self._begin(tasks)

    def look(self, _now: Monotonic) -> None:
        """One of the gateway's sweeps: is anything due that nobody has asked for?"""
        if self._pushes or self._scheduler.holding.models():
            self._wanted.set()

    def _begin(self, tasks: asyncio.TaskGroup) -> None:
        held = self._scheduler.holding.models()
        for model in self._pushes.keys() - held:  # the next one who waits is the first again
            del self._pushes[model]
        now = self._clock()
        for model in held:
            push = self._pushes.setdefault(model, _Push(now))
            url = self._url(model)
            if url and not push.in_the_air and now >= push.due_at:
                push.in_the_air = True
                tasks.create_task(self._tell(model, url, push))

    def _url(self, model: str) -> str:
        dormant = self._scheduler.fleet.overlay.dormant(model)
        return dormant.wake_url.rstrip("/") if dormant is not None else ""

    async def _tell(self, model: str, url: str, push: _Push) -> None:
        try:
            trouble = await self._post(model, url)
        except Exception:  # the boundary of a push: the others' go on
            log.exception("%s: the push for %s failed", url, model)
            trouble = "the gateway failed"
        finally:
            push.in_the_air = False
        now = self._clock()
        self._count("failed" if trouble else "ok")
        if trouble:
            push.due_at = now + push.retry_s
            push.retry_s = min(2 * push.retry_s, MAX_RETRY_S)
            if trouble != push.trouble:
                log.warning("%s could not be told that %s is waited for: %s", url, model, trouble)
        else:
            push.due_at, push.retry_s = now + AGAIN_S, FIRST_RETRY_S
            if not push.told:
                log.info("%s was told that %s is waited for", url, model)
            push.told = True
        push.trouble = trouble

    async def _post(self, model: str, url: str) -> str:
        """Push once; why it failed, empty if it did not."""
        body = orjson.dumps({"namespace": self._namespace(), "model": model})
        try:
            answer = await self._fetcher.post(url + PATH, body, TIMEOUT_S)
        except FetchError as error:
            return str(error)
        return "" if answer.status in NOTED else f"it answered {answer.status}"


class _Push:
    """How far the telling of one model is."""

    __slots__ = ("due_at", "in_the_air", "retry_s", "told", "trouble")

    def __init__(self, now: float) -> None:
        self.due_at = now
        self.in_the_air = False
        self.retry_s = FIRST_RETRY_S
        self.told = False
        self.trouble = ""
