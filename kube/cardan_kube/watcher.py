"""Drives one reflector over the API: asks what it says, feeds it what comes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar, cast

from cardan_kube.api import ApiError, fault_of
from cardan_kube.frames import (
    Bookmark,
    GarbageError,
    Gone,
    Lines,
    Refused,
    read_event,
    read_page,
)
from cardan_kube.reflector import (
    Fault,
    ListPage,
    Pause,
    Reflector,
    Watch,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from random import Random

    import msgspec

    from cardan_kube.api import Api
    from cardan_kube.link import Link
    from cardan_kube.reflector import Step

T = TypeVar("T")

# 250 pods are 2 MB and 5 ms of decoding, during which no request moves.
PAGE_SIZE: Final = 250


class Resource(NamedTuple, Generic[T]):
    """What is watched: a collection, which of it, and what is read of each object.

    `if_unknown` says what may be wrong where the API does not know the collection, `patience_s` how
    long to wait at least after some faults.
    """

    path: str
    selection: dict[str, str]
    read: Callable[[msgspec.Raw], T | None]
    if_unknown: str = ""
    patience_s: Mapping[Fault, float] = MappingProxyType({})


class Watcher(Generic[T]):
    """Keeps `reflector.objects` what the API server has, and says when that changes."""

    def __init__(
        self,
        api: Api,
        resource: Resource[T],
        link: Link,
        on_change: Callable[[], None],
        rng: Random,
    ) -> None:
        self.reflector: Reflector[T] = Reflector(rng, link.meter.relist, resource.patience_s)
        self.link = link
        self._api = api
        self._resource = resource
        self._on_change = on_change
        self._said: set[str] = set()
        self._open = False  # the watch that runs has begun

    async def run(self) -> None:
        """For ever; whatever fails is tried again."""
        try:
            while True:
                await self._once()
        finally:
            await self._api.close()

    async def _once(self) -> None:
        clock, reflector = self.link.meter.clock, self.reflector
        step = reflector.step(clock())
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return
        try:
            self._open = False
            await (self._list(step) if isinstance(step, ListPage) else self._watch(step))
        except ApiError as error:
            self._failed(error.fault, str(error), step, error.retry_after_s)
        except GarbageError as error:
            self._failed(Fault.GARBAGE, str(error), step)

    async def _list(self, step: ListPage) -> None:
        query = {**self._resource.selection, "limit": str(PAGE_SIZE)}
        if step.token:
            query["continue"] = step.token
        body = await self._api.get(self._resource.path, query)
        page = read_page(body, self._resource.read)
        self.link.heard(watching=False)
        if self.reflector.page(page, self.link.meter.clock()):
            self._tell()

    async def _watch(self, step: Watch) -> None:
        query = {
            **self._resource.selection,
            "watch": "1",
            "resourceVersion": step.version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(step.timeout_s),
        }
        stream = cast("AsyncGenerator[bytes]", self._api.stream(self._resource.path, query))
        lines = Lines()
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                self._open = True
                self.link.heard(watching=True)
                self._take_all(lines.feed(chunk))
        self.reflector.ended(self.link.meter.clock())

    def _take_all(self, lines: list[bytes]) -> None:
        """Events that came together are told together, those before a bad one too."""
        changed = False
        try:
            for line in lines:
                changed |= self._take(line)
        finally:
            if changed:
                self._tell()

    def _take(self, line: bytes) -> bool:
        """One event; True if what is known has changed."""
        event = read_event(line, self._resource.read)
        if isinstance(event, Refused):
            raise ApiError(fault_of(event.code), event.message)
        kind = "bookmark" if isinstance(event, Bookmark) else "put"
        self.link.meter.event("gone" if isinstance(event, Gone) else kind)
        return self.reflector.event(event)

    def _tell(self) -> None:
        """What is known has changed."""
        complaints = set(self.reflector.complaints.values())
        for complaint in sorted(complaints - self._said):
            self.link.meter.error("object")
            self.link.meter.news.error("%s: %s; it is not used", self.link.what, complaint)
        self._said = complaints
        self._on_change()

    def _failed(self, fault: Fault, words: str, step: Step, retry_after_s: float = 0.0) -> None:
        watching = isinstance(step, Watch)
        if self._open and fault is Fault.TIMEOUT:
            fault = Fault.STALLED
        if fault is Fault.NOT_FOUND and self._resource.if_unknown:
            words = f"{words}; {self._resource.if_unknown}"
        self.link.meter.error(fault.value)
        if not self._open and fault is not Fault.EXPIRED:
            self.link.lost(fault, words, watching=watching)
        self.reflector.failed(fault, self.link.meter.clock(), retry_after_s)
