"""Who is an engine, what does it serve, and is it well?

An endpoint joins when it has told its models and said that it is ready, never before: engines open
their port seconds before they can answer, and peers that introspect once at that moment keep the
endpoint under a wrong name for ever. So introspection is retried until it succeeds, with back-off,
and repeated now and then and after every recovery, since adapters come and go.

How each engine is asked whether it is well:

    vLLM     /health      200; 503 when its engine has died
    SGLang   /ready       200; 503 while it starts, drains or is paused. Never /health, which
                          generates a token and takes a second
    others   /v1/models   200

A gateway is no engine: what answers as one of ours does not join, or a selector that matches the
gateways too would send requests round in circles. (Whoever wants one gateway before another says
`engine: openai` of it.)

A health path that does not exist (404, 405, 501) or wants a key (401, 403) says nothing bad:
someone answers there. What an engine tells of itself is not kept beyond its models and its kind:
SGLang's `/server_info` carries its API keys in clear.

Whom discovery holds (`held`: a pod that is not ready) is not asked, and no probe that was in the
air makes it well.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.endpoint import EngineKind
from cardan.health import Verdict
from cardan.instants import Monotonic

from cardan_router.fetch import Answer, FetchError, FetchFault
from cardan_router.gateway import OWNER
from cardan_router.logs import NEWS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cardan.fleet import EndpointState, Fleet

    from cardan_router.config import ProbeConfig
    from cardan_router.fetch import Fetcher

news = logging.getLogger(NEWS)

HEALTH_PATH: Final = {EngineKind.VLLM: "/health", EngineKind.SGLANG: "/ready"}
MODELS_PATH: Final = "/v1/models"
NO_SUCH_PATH: Final = frozenset({404, 405, 501})
WANTS_KEY: Final = frozenset({401, 403})

# Introspection of an engine that does not answer yet: an engine takes 20 s to minutes to start, and
# asking costs it nothing, so the back-off ends where an operator would not notice it.
FIRST_RETRY_S = 0.2
MAX_RETRY_S = 2.0
# Asking for the models is a little work for the engine's HTTP process, never a wait for its GPU.
INTROSPECT_TIMEOUT_S = 5.0


class _Model(msgspec.Struct):
    id: str
    owned_by: str = ""


class _Models(msgspec.Struct):
    data: list[_Model]


class Known:
    """What the prober remembers of one endpoint."""

    __slots__ = ("complaint", "introspect_at", "joined", "retry_s")

    def __init__(self) -> None:
        self.joined = False
        self.introspect_at = 0.0
        self.retry_s = FIRST_RETRY_S
        self.complaint = ""


class Prober:
    """Introspects and probes endpoints; `visit` is for `cardan_router.rounds.Rounds`."""

    def __init__(
        self,
        fleet: Fleet,
        fetcher: Fetcher,
        config: ProbeConfig,
        clock: Callable[[], float],
        on_probe: Callable[[str], None],
    ) -> None:
        self.config = config
        self._fleet = fleet
        self._fetcher = fetcher
        self._clock = clock
        self._on_probe = on_probe
        self.held: Callable[[EndpointState], bool] = lambda _: False
        self._known: dict[EndpointState, Known] = {}

    def reconfigure(self, config: ProbeConfig, fetcher: Fetcher) -> None:
        """Take a new configuration."""
        self.config = config
        self._fetcher = fetcher

    def joined(self, state: EndpointState) -> bool:
        """Has this endpoint ever told what it serves?"""
        known = self._known.get(state)
        return known is not None and known.joined

    def eager(self, state: EndpointState) -> bool:
        """Is this endpoint about to join?"""
        return not self.joined(state) and not self.held(state)

    def forget(self, states: list[EndpointState]) -> None:
        """These endpoints have left."""
        for state in states:
            self._known.pop(state, None)

    async def visit(self, state: EndpointState) -> float:
        """Ask one endpoint; returns seconds until it wants to be asked again."""
        if self._fleet.endpoints.get(state.id) is not state:  # it left before its turn came
            return self._fleet.config.health.probe_interval_s
        known = self._known.setdefault(state, Known())
        if self.held(state):
            return self._fleet.config.health.probe_interval_s
        well = await (self._probe(state) if known.joined else self._join(state, known))
        if not known.joined:
            wait_s = known.retry_s
            known.retry_s = min(wait_s * 2, MAX_RETRY_S)
            return wait_s
        if well and self._clock() >= known.introspect_at:
            found = await self._introspect(state, known)
            if found is not None:
                self._fleet.introspected(state, *found)
        return self._fleet.config.health.probe_interval_s

    async def _join(self, state: EndpointState, known: Known) -> bool:
        """Introspect, then probe; only both together make an endpoint a member."""
        found = await self._introspect(state, known)
        if found is None:
            return False
        names, state.engine = found
        if not await self._probe(state):
            return False
        known.joined = True
        self._fleet.introspected(state, names, state.engine)
        news.info("%s joined: %s serving %s", state.id, state.engine, ", ".join(names))
        return True

    async def _introspect(
        self, state: EndpointState, known: Known
    ) -> tuple[Sequence[str], EngineKind] | None:
        """Models and kind; None, with a complaint in the log, if the engine does not tell."""
        try:
            answer = await self._get(state, MODELS_PATH, INTROSPECT_TIMEOUT_S)
            models = _read_models(answer)
            kind = state.endpoint.engine
            if kind is not EngineKind.OPENAI and any(m.owned_by == OWNER for m in models):
                raise ValueError("a gateway answers there, not an engine")
            if kind is EngineKind.AUTO:
                kind = await self._kind(state, models)
        except (FetchError, ValueError) as error:
            self._on_probe("introspection-failed")
            self._complain(state, known, str(error))
            return None
        known.complaint = ""
        known.introspect_at = self._clock() + self.config.reintrospect_s
        return state.endpoint.models or [model.id for model in models], kind

    async def _kind(self, state: EndpointState, models: list[_Model]) -> EngineKind:
        """Tell engines apart, gently: what `/v1/models` says first."""
        owners = {model.owned_by for model in models}
        for kind in (EngineKind.VLLM, EngineKind.SGLANG):
            if kind.value in owners:
                return kind
        answer = await self._get(state, "/version", INTROSPECT_TIMEOUT_S)
        if answer.status == 200 and b'"version"' in answer.body:
            return EngineKind.VLLM
        for path in ("/server_info", "/get_server_info"):
            if (await self._get(state, path, INTROSPECT_TIMEOUT_S)).status == 200:
                return EngineKind.SGLANG
        return EngineKind.OPENAI

    async def _probe(self, state: EndpointState) -> bool:
        """One health probe, weighed; True if the engine is well."""
        health = state.health
        before = health.verdict(Monotonic(self._clock()))
        path = HEALTH_PATH.get(state.engine, MODELS_PATH)
        try:
            answer = await self._get(state, path, self._fleet.config.health.probe_timeout_s)
        except FetchError as error:
            now = Monotonic(self._clock())
            if error.fault is FetchFault.UNREACHABLE:
                health.unreachable(now)
            else:
                health.probe_failed(now)
            self._on_probe(error.fault.value)
            well = False
        else:
            if self.held(state):  # since it was asked
                return False
            well = self._weigh(state, answer.status)
        after = health.verdict(Monotonic(self._clock()))
        if before is not after:
            self._fleet.touch()
            if after is Verdict.HEALTHY and state in self._known:
                self._known[state].introspect_at = 0.0  # a restarted engine may serve other models
        return well

    def _weigh(self, state: EndpointState, status: int) -> bool:
        """What a status on the health path says."""
        if status < 400 or status in NO_SUCH_PATH or status in WANTS_KEY:
            state.health.probe_succeeded()
            self._on_probe("ok")
            return True
        if status == 503 and state.engine in HEALTH_PATH:
            state.health.engine_not_ready()
            self._on_probe("not-ready")
        else:
            state.health.probe_failed(Monotonic(self._clock()))
            self._on_probe("bad-status")
        return False

    async def _get(self, state: EndpointState, path: str, timeout_s: float) -> Answer:
        return await self._fetcher.get(state.endpoint.url, path, timeout_s)

    @staticmethod
    def _complain(state: EndpointState, known: Known, complaint: str) -> None:
        """Say why an endpoint does not join: once for each reason, not at every try."""
        if complaint != known.complaint:
            known.complaint = complaint
            news.warning("%s does not tell its models: %s", state.id, complaint)


def _read_models(answer: Answer) -> list[_Model]:
    """The models in an answer of `/v1/models`; `ValueError` saying what is wrong with it."""
    if answer.status in WANTS_KEY:
        raise ValueError(f"{MODELS_PATH} wants a key ({answer.status})")
    if answer.status != 200:
        raise ValueError(f"{MODELS_PATH} answered {answer.status}")
    try:
        models = msgspec.json.decode(answer.body, type=_Models).data
    except msgspec.DecodeError as error:
        raise ValueError(f"{MODELS_PATH}: {error}") from error
    if not models:
        raise ValueError(f"{MODELS_PATH} names no model")
    return models
