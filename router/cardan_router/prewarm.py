"""Making a prefix warm at an engine that is to own it, before it is sent any of its requests.

The operator's overlay says which keys are to be warm where (`ModelOverlay.warm`). A gateway that
sees prompts under such a key asks those engines for one token after the prefix, as the next
requests would, and tells in its metrics that it has; the operator then lets the engine own the key.

Each such request has a lease like any other, so its work is counted where it lies, and this
gateway's shadow knows afterwards what is cached there. It is nobody's request: nobody waits for it,
its errors are nobody's, it says nothing of an engine's health, and it is not tried for ever. With
several gateways each asks once, a moment apart, and the engine computes the prefix for the first.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.ledger import Outcome
from cardan.overlay import NO_OVERLAY, bearer, named

from cardan_router import answers
from cardan_router.calls import RequestIds
from cardan_router.fetch import FetchError, FetchFault
from cardan_router.flight import TAIL_BYTES
from cardan_router.prefixes import Prefix, Prefixes, Warming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from cardan.endpoint import EndpointId
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.ledger import Usage
    from cardan.prompt import KeyConfig

    from cardan_router.clock import Clock
    from cardan_router.fetch import Fetcher
    from cardan_router.gateway import Gateway
    from cardan_router.limits import PrewarmConfig

log = logging.getLogger(__name__)

# Gateways that see the same overlay at once do not all ask at once.
SPREAD_S: Final = 1.0
# An engine that has no room has some a moment later, or is no good place for a prefix.
MAX_TRIES: Final = 3
FIRST_RETRY_S: Final = 1.0
REFUSALS: Final = frozenset({429, 503})
FAULTS: Final = {
    FetchFault.UNREACHABLE: Outcome.UNREACHABLE,
    FetchFault.TIMEOUT: Outcome.TIMEOUT,
    FetchFault.BROKEN: Outcome.RESET,
}


class Try:
    """How far the warming of one prefix at one endpoint is."""

    __slots__ = ("count", "due_at", "in_the_air", "is_over", "is_warm")

    def __init__(self, due_at: float) -> None:
        self.due_at = due_at
        self.count = 0
        self.in_the_air = self.is_over = self.is_warm = False


class Prewarms:
    """Follows the overlay of a gateway's fleet, and warms what it names.

    `count` is told how each request ended, `computed` of how many tokens engines made for it.
    """

    def __init__(
        self,
        gateway: Gateway,
        config: PrewarmConfig,
        key: KeyConfig,
        fetcher: Fetcher,
        clock: Clock,
        rng: Random,
        count: Callable[[str], None],
        computed: Callable[[int], None],
    ) -> None:
        self._gateway = gateway
        self._scheduler = gateway.scheduler
        self._clock = clock
        self._rng = rng
        self._count = count
        self._computed = computed
        self._ids = RequestIds()
        self._wanted = asyncio.Event()
        self._in_the_air = 0
        self._next_at = 0.0
        self.reconfigure(config, key, fetcher)

    def reconfigure(self, config: PrewarmConfig, key: KeyConfig, fetcher: Fetcher) -> None:
        """Take a new configuration; what is under way goes on, all else begins anew."""
        self._config = config
        self._fetcher = fetcher
        self._prefixes = Prefixes(config, key)
        self._tries: dict[tuple[str, int, EndpointId], Try] = {}
        self._overlay = NO_OVERLAY
        self._gateway.on_placed = None

    async def run(self) -> None:
        """Warm whatever is due, for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                self._begin(tasks)

    def look(self, now: Monotonic) -> None:
        """One of the gateway's sweeps: is there anything to warm?"""
        overlay = self._scheduler.fleet.overlay
        if overlay is not self._overlay and self._config.enabled:
            self._overlay = overlay
            self._prefixes.follow(overlay)
            self._keep_tries(now)
        if self._prefixes:
            self._put_aside()
            self._prefixes.cut(now)
            self._wanted.set()
        waits = self._prefixes.wants_prompts
        self._gateway.on_placed = self._prefixes.saw if waits else None

    def warmed(self) -> Iterator[tuple[tuple[str, str, str], float]]:
        """Rows of the gauge: model, key and endpoint of what has been made warm."""
        for model, part in self._overlay.models.items():
            for word, names in part.warm.items():
                for name in names:
                    attempt = self._tries.get((model, int(word, 16), name))
                    if attempt is not None and attempt.is_warm:
                        yield (model, word, name), 1.0

    def _put_aside(self) -> None:
        """Prompts are kept until everybody has been asked, and no longer."""
        for prefix in self._prefixes:
            tries = (self._tries[prefix.model, prefix.key, name] for name in prefix.names)
            if all(attempt.is_over for attempt in tries):
                prefix.done()

    def _keep_tries(self, now: Monotonic) -> None:
        known, self._tries = self._tries, {}
        for prefix in self._prefixes:
            for name in prefix.names:
                which = (prefix.model, prefix.key, name)
                due_at = now + SPREAD_S * self._rng.random()
                self._tries[which] = known.get(which) or Try(due_at)

    def _begin(self, tasks: asyncio.TaskGroup) -> None:
        now = self._clock()
        for prefix in self._prefixes:
            for name in prefix.names if prefix.warming is not None else ():
                attempt = self._tries[prefix.model, prefix.key, name]
                state = self._due(prefix, name, attempt, now)
                if state is not None and prefix.warming is not None:
                    attempt.in_the_air = True
                    attempt.count += 1
                    self._in_the_air += 1
                    self._next_at = now + 1.0 / self._config.max_per_s
                    tasks.create_task(self._warm(prefix, prefix.warming, attempt, state))

    def _due(
        self, prefix: Prefix, name: EndpointId, attempt: Try, now: Monotonic
    ) -> EndpointState | None:
        """The endpoint, if it is to be asked now."""
        if attempt.in_the_air or attempt.is_over or now < attempt.due_at:
            return None
        if self._in_the_air >= self._config.max_concurrent or now < self._next_at:
            return None
        pool = self._scheduler.fleet.pool(prefix.model, now)
        bearers = named(pool.routable).get(name) if pool is not None else None
        state = bearer(prefix.key, bearers) if bearers else None
        return state if state is not None and state.health.reachable else None

    async def _warm(
        self, prefix: Prefix, warming: Warming, attempt: Try, state: EndpointState
    ) -> None:
        """Ask once."""
        outcome: Outcome = Outcome.INTERNAL
        usage: Usage | None = None
        try:
            outcome, usage = await self._ask(prefix, warming, state)
        except Exception:  # the boundary of a request that is nobody's: the others go on
            log.exception("%s: warming a prefix failed", state.id)
        finally:
            attempt.in_the_air = False
            self._in_the_air -= 1
        self._ended(attempt, outcome, usage)

    async def _ask(
        self, prefix: Prefix, warming: Warming, state: EndpointState
    ) -> tuple[Outcome, Usage | None]:
        """Under a lease of its own, closed however it ends."""
        now, config = self._clock(), self._config
        view = warming.view(self._ids.of({}), prefix.model, now, config.timeout_s)
        candidate = estimate(state, view, now)
        lease = self._scheduler.open(view, Decision(candidate, (candidate,), Reason.ONLY), now)
        outcome: Outcome = Outcome.INTERNAL
        usage: Usage | None = None
        try:
            outcome, usage = await self._post(state, warming, config)
        except asyncio.CancelledError:
            outcome = Outcome.CLIENT_LEFT
            raise
        finally:
            ended_at = self._clock()
            if outcome is Outcome.OK:
                lease.first_token(ended_at)
            lease.close(outcome, ended_at, usage)
        return outcome, usage

    async def _post(
        self, state: EndpointState, warming: Warming, config: PrewarmConfig
    ) -> tuple[Outcome, Usage | None]:
        body = warming.body
        if config.priority is not None:
            fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            fields["priority"] = msgspec.Raw(msgspec.json.encode(config.priority))
            body = msgspec.json.encode(fields)
        url = state.endpoint.url.rstrip("/") + warming.path
        try:
            answer = await self._fetcher.post(url, body, config.timeout_s)
        except FetchError as error:
            log.debug("%s: a prefix was not warmed: %s", state.id, error)
            return FAULTS[error.fault], None
        if answer.status in REFUSALS:
            return Outcome.REFUSED, None
        outcome = answers.outcome_of(answer.status)
        if outcome is not Outcome.OK:
            log.warning("%s: a prefix was not warmed: it answered %d", state.id, answer.status)
            return outcome, None
        return outcome, answers.usage_in(answer.body[-TAIL_BYTES:])

    def _ended(self, attempt: Try, outcome: Outcome, usage: Usage | None) -> None:
        attempt.is_warm = outcome is Outcome.OK
        told_off = outcome is Outcome.CLIENT_ERROR  # another time it would say the same
        attempt.is_over = attempt.is_warm or told_off or attempt.count >= MAX_TRIES
        attempt.due_at = self._clock() + FIRST_RETRY_S * 2.0 ** (attempt.count - 1)
        words = {Outcome.OK: "ok", Outcome.REFUSED: "refused"}
        self._count(words.get(outcome, "failed"))
        if usage is not None:
            self._computed(max(0, (usage.prompt_tokens or 0) - (usage.cached_tokens or 0)))
