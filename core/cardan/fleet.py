"""The fleet: which endpoints exist, how each is doing, and which may be asked now.

Membership comes from discovery and is replaced as a whole. A `Pool` is the part of the fleet that
serves one model. Its `version` changes whenever the set of routable endpoints or a weight does, so
whatever is computed from a pool (candidates of a key) can be remembered until then.

Candidates must not depend on what a single replica happens to see, or replicas would disagree. So
only hard facts shrink the routable set; soft ones (ejections) do so up to a share of the pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import xxhash
from cardan.endpoint import EngineKind, Role
from cardan.health import Health, HealthConfig, Verdict
from cardan.ledger import Load
from cardan.memory import MAX_REMEMBERED_MODELS, ModelMemory
from cardan.overlay import AS_IT_IS, NO_OVERLAY, MovedKeys, standing_of, standings
from cardan.shadow import Shadow
from cardan.siblings import Siblings
from cardan.speed import Speed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cardan.endpoint import Endpoint, EndpointId
    from cardan.instants import Monotonic
    from cardan.ledger import Lease, Usage
    from cardan.metrics import EngineMetrics
    from cardan.overlay import RoutingOverlay, Standing


class FleetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the fleet is kept.

    A joining endpoint's weight rises from a tenth to its full value over `join_ramp_s`, so cold
    prefills do not come as a step; who is there when the gateway starts is warm. `block_tokens` is
    what one prefix block stands for in an engine's cache (2,048 bytes at four bytes a token), and
    must be what `routing_key.block_tokens` is.
    `cache_tokens` bounds a shadow until the engine has told its capacity (427k tokens is
    Llama-3.1-8B on an 80 GB GPU).
    """

    health: HealthConfig = HealthConfig()
    join_ramp_s: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    block_tokens: Annotated[int, msgspec.Meta(ge=16)] = 512
    cache_tokens: Annotated[int, msgspec.Meta(ge=1)] = 427_000


# A ramp in ten steps: fine enough to be smooth, coarse enough that remembered candidates live 3 s.
RAMP_STEPS = 10
# Who joins within this time of the first list was there before the gateway was. A probe takes
# milliseconds, but lists come one after the other, and hundreds are probed for seconds.
START_S = 10.0
# A new endpoint says what it serves within moments of being reachable. One that has been silent for
# longer says nothing about the models that nobody else serves.
INTRODUCTION_S = 60.0


class EndpointState:
    """An endpoint and everything this process knows of it."""

    __slots__ = (
        "block_tokens",
        "born_at",
        "config",
        "endpoint",
        "engine",
        "hash64",
        "health",
        "id",
        "joined_at",
        "leaving",
        "load",
        "metrics",
        "models",
        "ramped",
        "shadow",
        "speed",
        "standing",
        "warm_until",
        "weight",
    )

    def __init__(
        self, endpoint: Endpoint, config: FleetConfig, now: Monotonic, *, warm_until: float
    ) -> None:
        self.endpoint = endpoint
        self.id: EndpointId = endpoint.id
        self.hash64: int = xxhash.xxh3_64_intdigest(endpoint.id.encode())
        self.config = config
        self.engine = endpoint.engine
        self.models = frozenset(endpoint.models)
        self.block_tokens = config.block_tokens
        self.load = Load()
        self.health = Health(config.health)
        self.metrics: EngineMetrics | None = None
        self.shadow = Shadow(max(1, config.cache_tokens // config.block_tokens))
        self.speed = Speed()
        self.leaving = False
        self.standing = AS_IT_IS
        self.born_at = self.joined_at = now
        self.warm_until = warm_until
        self.ramped = config.join_ramp_s <= 0
        self.weight = self._weigh(self._share(now))

    def __repr__(self) -> str:
        return (
            f"<EndpointState {self.id} models={sorted(self.models)} in_flight={self.load.in_flight}"
            f"{' draining' if self.draining else ''}>"
        )

    def ramp(self, now: Monotonic) -> bool:
        """Raise the weight of an endpoint that joined; True if it changed.

        The ramp begins when it may be asked: an engine that loads for minutes is as cold after.
        """
        if self.ramped:
            return False
        absent = self.health.not_ready or not self.models
        if absent:
            self.joined_at = now
        share = self._share(now)
        self.ramped = share >= 1 and not absent
        weight = self._weigh(share)
        changed = weight != self.weight
        self.weight = weight
        return changed

    @property
    def draining(self) -> bool:
        """It gets no new key: it leaves, or the controller wants it to."""
        return self.leaving or self.standing.draining

    def stand(self, standing: Standing, now: Monotonic) -> None:
        """The controller's word on it."""
        self.standing = standing
        self.weight = self._weigh(self._share(now))

    def _weigh(self, share: float) -> float:
        return share * self.endpoint.weight * self.standing.factor

    def _share(self, now: Monotonic) -> float:
        """Of its full weight, as of now."""
        if self.ramped or self.joined_at <= self.warm_until:
            return 1.0
        step = int((now - self.joined_at) / self.config.join_ramp_s * RAMP_STEPS) + 1
        return min(step, RAMP_STEPS) / RAMP_STEPS

    def revise(self, endpoint: Endpoint) -> bool:
        """Discovery says something new of it; False if that makes it another engine."""
        old = self.endpoint
        if (endpoint.url, endpoint.engine, endpoint.role) != (old.url, old.engine, old.role):
            return False
        self.endpoint = endpoint
        if endpoint.weight != old.weight:  # on the ramp the next tick puts it right
            self.weight = self._weigh(self._share(self.joined_at))
        if endpoint.models and endpoint.models != old.models:
            self.models = frozenset(endpoint.models)
        return True

    def fresh_metrics(self, now: Monotonic) -> EngineMetrics | None:
        """The last scrape, or None where there is none young enough to trust."""
        metrics = self.metrics
        return None if metrics is None or metrics.is_stale(now) else metrics

    def observe(self, metrics: EngineMetrics) -> None:
        """A scrape came in: the shadow is as large as the engine's cache, empty if it restarted."""
        if self.metrics is not None and metrics.is_after_restart(self.metrics):
            self.shadow.clear()
        self.metrics = metrics
        if metrics.kv_capacity_tokens:
            real_block_tokens = self.block_tokens * self.speed.siblings.token_ratio
            self.shadow.resize(max(1, int(metrics.kv_capacity_tokens / real_block_tokens)))

    def learn_first_token(self, lease: Lease, now: Monotonic) -> None:
        """The prompt has been computed: it is in the cache now, and it took so long."""
        self.speed.learn(lease, now)
        self.shadow.insert(lease.request.prompt.chain)

    def learn_close(self, lease: Lease, now: Monotonic, usage: Usage | None) -> None:
        """The engine said what it really found in its cache."""
        if usage is not None:
            self.speed.correct(lease, usage, now)


class Pool:
    """The endpoints that serve one model.

    `routable` may be asked for anything; `draining` only for what they still hold warm. `moved` are
    the keys that the controller has given other owners; None if there are none.
    `version` changes with any of them.
    """

    __slots__ = ("draining", "members", "model", "moved", "routable", "version")

    def __init__(
        self,
        model: str,
        members: Sequence[EndpointState],
        routable: Sequence[EndpointState],
        draining: Sequence[EndpointState],
        version: int,
        moved: MovedKeys | None = None,
    ) -> None:
        self.model = model
        self.members = members
        self.routable = routable
        self.draining = draining
        self.version = version
        self.moved = moved


class Fleet:
    """All endpoints, by id, and the pools made of them.

    The pools are made anew when something changed (`touch`) or a back-off runs out, and otherwise
    looked up: routing costs nothing for an unchanged fleet of any size.
    """

    def __init__(self, config: FleetConfig | None = None) -> None:
        self.config = config or FleetConfig()
        self.endpoints: dict[EndpointId, EndpointState] = {}
        self.overlay = NO_OVERLAY
        self._standings: dict[EndpointId, Standing] = {}
        self._pools: dict[str, Pool] = {}
        self._models: list[str] | None = None
        self._siblings: dict[tuple[EngineKind, str], Siblings] = {}
        self.memory = ModelMemory()
        self._version = 0
        self._stale_at = float("inf")
        self._warm_until = float("inf")

    def __repr__(self) -> str:
        return f"<Fleet {len(self.endpoints)} endpoints, version {self._version}>"

    def update(self, endpoints: Iterable[Endpoint], now: Monotonic) -> list[EndpointState]:
        """Make the fleet exactly `endpoints`; returns the states that left.

        Who stays keeps everything it knows, also when only its weight or its models are new. Who
        leaves, or comes back at another URL, is purged with its shadow; open leases close on the
        state they hold. They drain: an error that one still answers may be its end and no word on
        the request.
        """
        self.memory.note(self.models(), now)
        wanted = {endpoint.id: endpoint for endpoint in endpoints}
        gone = [state for id_, state in self.endpoints.items() if id_ not in wanted]
        if wanted:
            self._warm_until = min(self._warm_until, now + START_S)
        fresh = {}
        for id_, endpoint in sorted(wanted.items()):
            known = self.endpoints.get(id_)
            if known is not None and known.revise(endpoint):
                fresh[id_] = known
            else:
                fresh[id_] = EndpointState(endpoint, self.config, now, warm_until=self._warm_until)
                if known is not None:
                    gone.append(known)
        for state in gone:
            state.leaving = True
        if self._standings:
            for id_, state in fresh.items():
                state.stand(standing_of(id_, self._standings), now)
        self.endpoints = fresh
        self._join(fresh.values())
        self.touch()
        return gone

    def touch(self) -> None:
        """Something changed that decides who may be asked; pools are made anew on next use."""
        self._pools.clear()
        self._models = None
        self._version += 1
        self._stale_at = float("inf")

    def introspected(self, state: EndpointState, models: Iterable[str], engine: EngineKind) -> None:
        """An engine told what it is and serves; only then does it get requests."""
        served = frozenset(models)
        if served != state.models or engine != state.engine:
            state.models = served
            state.engine = engine
            self._join([state])
            self.touch()

    def apply(self, overlay: RoutingOverlay, now: Monotonic) -> None:
        """Do as the controller says from now on; what it said before is void.

        Endpoints that it does not name stand as they are. Who has slept until now is expected.
        """
        if overlay.models != self.overlay.models:
            self.memory.note(self.overlay.sleepers(), now)
            self._standings = standings(overlay)
            for id_, state in self.endpoints.items():
                state.stand(standing_of(id_, self._standings), now)
            self.touch()
        self.overlay = overlay

    def tick(self, now: Monotonic) -> None:
        """Once a second or so: ramps rise, and what is served is noted."""
        self.memory.note(self.models(), now)
        changed = [state.ramp(now) for state in self.endpoints.values()]
        if any(changed):
            self.touch()

    def version(self, now: Monotonic) -> int:
        """It changes whenever who may be asked does."""
        if now >= self._stale_at:
            self.touch()
        return self._version

    def models(self) -> list[str]:
        """Every model that at least one endpoint has said it serves, sorted."""
        if self._models is None:
            served = {model for state in self.endpoints.values() for model in state.models}
            self._models = sorted(served)
        return self._models

    def expects(self, model: str, now: Monotonic) -> bool:
        """May a model that nobody serves be served soon?

        It was a while ago, it sleeps, or a new endpoint has not said yet what it serves.
        """
        if self.overlay.dormant(model) or self.memory.recalls(model, now):
            return True
        return any(
            not state.models and now - state.born_at < INTRODUCTION_S
            for state in self.endpoints.values()
        )

    def pool(self, model: str, now: Monotonic) -> Pool | None:
        """The pool of a model; None if no endpoint serves it."""
        if now >= self._stale_at:
            self.touch()
        pool = self._pools.get(model)
        if pool is None:
            pool = self._make_pool(model, now)
            if pool is not None:
                self._pools[model] = pool
        return pool

    def _join(self, states: Iterable[EndpointState]) -> None:
        """An endpoint's siblings are those of its engine kind that share a model with it.

        What they learned outlives them: a model that was scaled to nothing starts where it was.
        """
        for state in states:
            keys = [(state.engine, model) for model in sorted(state.models)]
            known = (self._siblings[key] for key in keys if key in self._siblings)
            siblings = next(known, None) or Siblings()
            for key in keys:
                self._siblings.setdefault(key, siblings)
            if keys:
                state.speed.join(siblings)
        if len(self._siblings) > MAX_REMEMBERED_MODELS:
            served = {(s.engine, model) for s in self.endpoints.values() for model in s.models}
            self._siblings = {key: self._siblings[key] for key in self._siblings if key in served}

    def _make_pool(self, model: str, now: Monotonic) -> Pool | None:
        members = [
            state
            for state in self.endpoints.values()
            if model in state.models and state.endpoint.role is Role.BOTH
        ]
        if not members:
            return None
        for state in members:
            if now < state.health.ejected_until < self._stale_at:
                self._stale_at = state.health.ejected_until
        willing = [state for state in members if not state.standing.cordoned]
        active = [state for state in willing if not state.draining]
        routable = self._routable(active or willing, now)
        draining = [
            state
            for state in willing
            if active and state.draining and state.health.verdict(now) is Verdict.HEALTHY
        ]
        moved = MovedKeys.resolve(self.overlay.models.get(model), routable)
        return Pool(model, members, routable, draining, self._version, moved)

    def _routable(self, states: list[EndpointState], now: Monotonic) -> list[EndpointState]:
        """Who may be asked: the healthy ones, topped up with soft-ejected ones to the floor.

        With no healthy and no soft-ejected endpoint left, those that are down are still tried: a
        refused connect costs little, and one of them may be back. What said itself that it is not
        ready stays out.
        """
        by_verdict: dict[Verdict, list[EndpointState]] = {verdict: [] for verdict in Verdict}
        for state in states:
            by_verdict[state.health.verdict(now)].append(state)
        healthy, ejected = by_verdict[Verdict.HEALTHY], by_verdict[Verdict.EJECTED]
        max_ejected = int(len(states) * self.config.health.max_ejected_ratio)
        # Those whose back-off ends first are the likeliest to be well again.
        ejected.sort(key=lambda state: (state.health.ejected_until, state.id))
        surplus = ejected[: max(0, len(ejected) - max_ejected)]
        chosen = [*healthy, *surplus] or ejected or by_verdict[Verdict.DOWN]
        return sorted(chosen, key=lambda state: state.id)
