"""The clock of the model: submits requests, wakes when the engine has news, hands the news out.

A `Feed` is one client's view: the pieces of all sequences it asked for (n choices, or a batch of
prompts), in the order they were generated. Leaving a feed before its end aborts what is left.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from cardan_sim.engine import Ended, Token

if TYPE_CHECKING:
    from cardan_sim.engine import Engine, Event, Request

# SGLang looks every 4 s whether the client of a queued or unstreamed request is still there
# (SGLANG_REQUEST_STATE_WAIT_TIMEOUT; 2 to 4 s seen).
SGLANG_POLL_S: Final = 4.0


class Piece(NamedTuple):
    """News of one sequence: a token, its end, or both (the last token comes with the end)."""

    choice: int
    token_id: int | None
    ended: Ended | None


class EngineDiedError(Exception):
    """The engine behind the server is gone; every open feed is told so."""


class Feed:
    """The pieces of one client's sequences as they come."""

    def __init__(self, pump: Pump, ids: list[str], opened_at: float, *, streamed: bool) -> None:
        """Made by `Pump.open`."""
        self.ids: Final = ids
        self.opened_at: Final = opened_at
        self.streamed: Final = streamed
        self.ends: list[Ended | None] = [None] * len(ids)
        self.started = False
        self.died = False
        self._pump = pump
        self._pieces: deque[Piece] = deque()
        self._waiter: asyncio.Future[None] | None = None

    @property
    def refused(self) -> Ended | None:
        """The refusal, if one of the sequences was refused."""
        return next((end for end in self.ends if end and end.reason == "refused"), None)

    @property
    def over(self) -> bool:
        """All sequences have ended."""
        return None not in self.ends

    def put(self, piece: Piece) -> None:
        """Take a piece; called by the pump."""
        self.started = self.started or piece.token_id is not None
        if piece.ended is not None:
            self.ends[piece.choice] = piece.ended
        self._pieces.append(piece)
        self._wake()

    def die(self) -> None:
        """The engine is gone: whoever reads gets EngineDiedError."""
        self.died = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> list[Piece]:
        """All pieces there are, waiting for at least one; EngineDiedError if none will come."""
        while not self._pieces:
            if self.died:
                raise EngineDiedError
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.rest()

    @property
    def pending(self) -> bool:
        """There are pieces nobody has taken."""
        return bool(self._pieces)

    def rest(self) -> list[Piece]:
        """All pieces that are there."""
        pieces = list(self._pieces)
        self._pieces.clear()
        return pieces

    def close(self) -> None:
        """The client has all it wanted or has left: nothing more is generated for it."""
        self._pump.leave(self)


class Pump:
    """Drives one engine by the event loop's clock; `quiet` is set while nobody waits for it."""

    def __init__(self, engine: Engine) -> None:
        """Made inside a running loop."""
        self.engine: Final = engine
        self._loop: Final = asyncio.get_running_loop()
        self._feeds: dict[str, tuple[Feed, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._died = False
        self.quiet: Final = asyncio.Event()
        self.quiet.set()

    @property
    def now(self) -> float:
        """The clock the engine runs by, in seconds."""
        return self._loop.time()

    def open(self, requests: list[Request], *, streamed: bool) -> Feed:
        """Submit the sequences of one client."""
        if self._died:
            raise EngineDiedError
        # One instant for all, so that the choices of one answer share their steps.
        now = self.now
        feed = Feed(self, [request.id for request in requests], now, streamed=streamed)
        self.quiet.clear()
        for choice, request in enumerate(requests):
            self._feeds[request.id] = (feed, choice)
            self.engine.submit(request, now)
        self._advance()
        return feed

    def leave(self, feed: Feed) -> None:
        """Abort what is left of a feed, as soon as the make notices that its client is gone."""
        left = [name for name, end in zip(feed.ids, feed.ends, strict=True) if end is None]
        if not left:
            return
        delay_s = self._notice_after_s(feed)
        if delay_s:
            self._loop.call_later(delay_s, self._abort, left)
        else:
            self._abort(left)

    def abort(self, request_id: str) -> bool:
        """End a sequence whose client stays, as an administrator's abort does."""
        found = self.engine.abort(request_id, self.now)
        self._advance()
        return found

    def die(self) -> None:
        """The engine is gone: nothing is computed any more, every feed is told."""
        self._died = True
        if self._timer is not None:
            self._timer.cancel()
        for feed, _ in list(self._feeds.values()):
            feed.die()
        self._feeds.clear()

    def freeze(self) -> None:
        """The engine is gone and nobody is told: feeds wait for ever."""
        self._died = True
        if self._timer is not None:
            self._timer.cancel()

    def _notice_after_s(self, feed: Feed) -> float:
        spec = self.engine.spec
        if spec.make == "vllm" or (feed.streamed and feed.started):
            return 0.0
        poll_s = SGLANG_POLL_S * spec.time_scale
        return poll_s - (self.now - feed.opened_at) % poll_s

    def _abort(self, names: list[str]) -> None:
        for name in names:
            self.engine.abort(name, self.now)
        self._advance()

    def _advance(self) -> None:
        if self._died:
            return
        self._hand_out(self.engine.advance(self.now))
        self._arm()

    def _hand_out(self, events: list[Event]) -> None:
        token: Token | None = None
        for event in events:
            if token is not None:
                ended = event if isinstance(event, Ended) and event.id == token.id else None
                self._tell(token.id, token.token_id, ended)
                token = None
                if ended is not None:
                    continue
            if isinstance(event, Token):
                token = event
            else:
                self._tell(event.id, None, event)
        if token is not None:
            self._tell(token.id, token.token_id, None)

    def _tell(self, name: str, token_id: int | None, ended: Ended | None) -> None:
        feed, choice = self._feeds[name] if ended is None else self._feeds.pop(name)
        feed.put(Piece(choice, token_id, ended))
        if not self._feeds:
            self.quiet.set()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self.engine.next_event_at()
        if at is not None:
            # The loop rounds to whole milliseconds, so ask for the next one: waking early would
            # spin. The model's own clock does not drift, however late it is asked.
            delay_s = math.ceil(max(0.0, at - self.now) * 1e3) * 1e-3
            self._timer = self._loop.call_later(delay_s, self._advance)
