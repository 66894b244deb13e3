"""Engines that are up but wrong: ready, asked, and of no use.

Two faults are told, each by what must last for `after_s`:

- *no tokens*: it has work and makes none, while another of its role makes some. The comparison is
  what makes it a fault: where nobody makes tokens, nobody counts them (embeddings), or nobody can.
  Engines that only prefill are not judged so, they make no tokens.
- *errors*: more than `error_share` of what it is asked fails.

Such an engine is cordoned (no request at all), and after another `after_s`, in which what runs may
end and it may come to itself, its pod is deleted, if `max_restarts` in `interval_s` allow. One that
makes tokens again is let in; so is a new pod under an old name. Without a restart to be had it
stays out for `interval_s`, then it is tried again, unless it still shows its fault.

What many engines show at once is not theirs: a client, a prompt, a model. When those in question
are more than half of a role, nobody is cordoned or restarted any more, and it is said. Nor is ever
the last one that serves.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.endpoint import EndpointId, Role
from cardan.instants import WallTime
from cardan.scaling.decision import ReasonCode, ScalingReason
from cardan.scaling.replicas import by_pod, moment, pod_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cardan.scaling.observation import EndpointLoad, Observation
    from cardan.scaling.spec import FailureSpec

# Three failures within the 30 s over which rates are taken: fewer are chance.
LEAST_FAILURES_PER_S: Final = 0.1
# A deletion that has shown nothing for so long is done again. Pods of engines have up to some
# minutes to end, but they are terminating then, and not looked at.
RETRY_S: Final = 120.0
# Memory lives in an object of the API: not more engines than this are kept in mind.
MAX_TRACKED: Final = 32


class Fault(enum.StrEnum):
    """What is wrong with an engine that says it is well."""

    SILENT = "no-tokens"  # it has work, and makes no tokens
    ERRORS = "errors"  # too many of its answers are errors


class Failing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An engine under suspicion, then cordoned, then restarted."""

    pod: str
    fault: Fault
    since: WallTime
    cordoned_at: WallTime | None = None
    restarted_at: WallTime | None = None


class FailingMemory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What outlives a tick: who is under suspicion, and when engines were restarted."""

    engines: tuple[Failing, ...] = ()
    restarts: tuple[WallTime, ...] = ()

    def kept(self) -> FailingMemory:
        """What is persisted of it. Suspicions are one process's: they come and go by chance."""
        out = (engine for engine in self.engines if engine.cordoned_at is not None)
        return FailingMemory(tuple(out), self.restarts)

    def cordoned(self) -> frozenset[str]:
        """The pods that are asked nothing."""
        return frozenset(e.pod for e in self.engines if e.cordoned_at is not None)


class FailingActions(msgspec.Struct, frozen=True):
    """Endpoints that get no request, for as long as they are named; pods to delete now."""

    cordoned: tuple[EndpointId, ...] = ()
    restart: tuple[str, ...] = ()


def step(
    spec: FailureSpec,
    observation: Observation,
    memory: FailingMemory,
    now: WallTime,
    *,
    roles: Mapping[str, Role] | None = None,
) -> tuple[FailingActions, FailingMemory, tuple[ScalingReason, ...]]:
    """What is to be done about engines that are up but wrong.

    `roles` are those of the pools, by name; a pool that is not in it serves both. Pods that
    terminate are none of this module's business.
    """
    if not spec.enabled:
        return FailingActions(), FailingMemory(), ()
    ward = _Ward(spec, memory, now)
    for role, pods in _groups(observation, roles or {}).items():
        ward.visit(role, pods)
    engines = sorted(ward.engines, key=lambda e: (e.cordoned_at is None, e.since, e.pod))
    kept = FailingMemory(tuple(engines[:MAX_TRACKED]), ward.restarts)
    out = kept.cordoned()
    cordoned = sorted(e.id for e in observation.endpoints if pod_of(e.id) in out)
    return FailingActions(tuple(cordoned), tuple(ward.deleted)), kept, tuple(ward.notes)


class _Pod:
    """A replica of one role, as this tick sees it."""

    __slots__ = ("age_s", "endpoints", "name", "ready")

    def __init__(self, name: str, endpoints: Sequence[EndpointLoad]) -> None:
        self.name = name
        self.endpoints = endpoints
        self.ready = all(endpoint.ready for endpoint in endpoints)
        self.age_s = min(endpoint.age_s for endpoint in endpoints)

    def speaks(self, after: float = 0.0) -> bool:
        """It is known to make tokens, by a sample not older than `after`."""
        told = [endpoint.output_tokens_per_s for endpoint in self.endpoints]
        return any((datum.known or 0.0) > 0 and (datum.at or 0.0) >= after for datum in told)

    def fault(self, role: Role, error_share: float) -> Fault | None:
        """What is wrong with it now, as far as is known."""
        if any(_errs(endpoint, error_share) for endpoint in self.endpoints):
            return Fault.ERRORS
        silent = any(_is_silent(endpoint) for endpoint in self.endpoints)
        return Fault.SILENT if silent and role is not Role.PREFILL else None


def _errs(endpoint: EndpointLoad, share: float) -> bool:
    failures, requests = endpoint.failures_per_s.known, endpoint.requests_per_s.known
    if failures is None or requests is None or failures < LEAST_FAILURES_PER_S:
        return False
    return failures > share * max(requests, failures)


def _is_silent(endpoint: EndpointLoad) -> bool:
    work = (endpoint.in_flight.known, endpoint.running.known, endpoint.waiting.known)
    return endpoint.output_tokens_per_s.known == 0 and any(work)


def _groups(observation: Observation, roles: Mapping[str, Role]) -> dict[Role, list[_Pod]]:
    """The pods of each role; those that terminate are left out."""
    ending = {pod_of(id_) for pool in observation.pools.values() for id_ in pool.draining}
    groups: dict[Role, list[_Pod]] = {}
    for name, endpoints in by_pod(observation.endpoints).items():
        if name not in ending:
            role = roles.get(endpoints[0].pool, Role.BOTH)
            groups.setdefault(role, []).append(_Pod(name, endpoints))
    return groups


class _Ward:
    """One round over the engines: who is kept in mind, deleted, spoken of."""

    def __init__(self, spec: FailureSpec, memory: FailingMemory, now: WallTime) -> None:
        self._spec = spec
        self._now = now
        self._known = {engine.pod: engine for engine in memory.engines}
        self.engines: list[Failing] = []
        self.restarts = tuple(at for at in memory.restarts if now - at < spec.interval_s)
        self.deleted: list[str] = []
        self.notes: list[ScalingReason] = []

    def visit(self, role: Role, pods: Sequence[_Pod]) -> None:
        """Look at all of one role."""
        faults = {
            pod.name: fault
            for pod in pods
            if pod.ready and pod.age_s >= self._spec.after_s
            if (fault := pod.fault(role, self._spec.error_share)) is not None
        }
        out = [engine for pod in pods if (engine := self._still_out(pod)) is not None]
        out_pods = {engine.pod for engine in out}
        speaking = any(pod.ready and pod.speaks() for pod in pods)
        suspects = [
            self._known.get(pod) or Failing(pod=pod, fault=fault, since=moment(self._now))
            for pod, fault in faults.items()
            if pod not in out_pods
            if pod in self._known or fault is Fault.ERRORS or speaking
        ]
        standing = sum(pod.ready or pod.name in out_pods for pod in pods)
        if 2 * (len(out) + len(suspects)) > standing:
            self._leave_alone(out + suspects, standing)
            return
        for engine in suspects:
            told = engine.fault is Fault.ERRORS or speaking
            self.engines.append(self._cordon(engine) if told else engine)
        for engine in out:
            self._treat(engine, still_wrong=engine.pod in faults)

    def _still_out(self, pod: _Pod) -> Failing | None:
        """The engine if it is cordoned and is to stay so."""
        engine = self._known.get(pod.name)
        if engine is None or engine.cordoned_at is None:
            return None
        if self._now - pod.age_s > engine.cordoned_at:
            self._say(ReasonCode.HEALED, f"{pod.name} is a new pod: it is asked again")
            del self._known[pod.name]
            return None
        is_well = engine.fault is Fault.SILENT and pod.speaks(engine.cordoned_at)
        if is_well and engine.restarted_at is None:
            self._say(ReasonCode.HEALED, f"{pod.name} makes tokens again: it is asked again")
            del self._known[pod.name]
            return None
        return engine

    def _leave_alone(self, engines: list[Failing], standing: int) -> None:
        """Too many at once, or the only one: what is cordoned stays so, nothing else is done."""
        self.engines += engines
        if not any(self._now - engine.since >= self._spec.after_s for engine in engines):
            return
        names = ", ".join(sorted(engine.pod for engine in engines)[:5])
        if standing == 1:
            self._say(ReasonCode.LAST_SERVING, f"{names} is wrong, and the only one that serves")
        else:
            self._say(
                ReasonCode.ALL_FAILING,
                f"{len(engines)} of {standing} are wrong at once ({names}): likely not the engines'"
                " fault, so none of them is cordoned or restarted",
            )

    def _cordon(self, engine: Failing) -> Failing:
        lasted_s = self._now - engine.since
        if lasted_s < self._spec.after_s:
            return engine
        what = {
            Fault.SILENT: "it has work and makes no tokens",
            Fault.ERRORS: f"over {self._spec.error_share:.0%} of what it is asked fails",
        }
        self._say(
            ReasonCode.CORDONED,
            f"{engine.pod} is asked no more: for {lasted_s:.0f} s {what[engine.fault]}",
        )
        return msgspec.structs.replace(engine, cordoned_at=moment(self._now))

    def _treat(self, engine: Failing, *, still_wrong: bool) -> None:
        """Restart a cordoned engine when its time has come; let one in for which there is none."""
        since = engine.restarted_at or engine.cordoned_at or engine.since
        patience_s = RETRY_S if engine.restarted_at else self._spec.after_s
        if self._now - since < patience_s:
            self.engines.append(engine)
        elif len(self.restarts) < self._spec.max_restarts:
            self._restart(engine)
        elif self._now - since >= self._spec.interval_s and not still_wrong:
            self._say(ReasonCode.HEALED, f"{engine.pod} is asked again to see whether it is well")
        else:
            self._say(
                ReasonCode.RESTARTS_LIMITED,
                f"{engine.pod} stays out: {len(self.restarts)} engines were restarted in"
                f" {self._spec.interval_s:.0f} s, {self._spec.max_restarts} may be",
            )
            self.engines.append(engine)

    def _restart(self, engine: Failing) -> None:
        at = moment(self._now)
        self.restarts += (at,)
        self.deleted.append(engine.pod)
        self.engines.append(msgspec.structs.replace(engine, restarted_at=at))
        self._say(
            ReasonCode.RESTARTED,
            f"{engine.pod} is deleted for a new one ({engine.fault}): restart"
            f" {len(self.restarts)} of {self._spec.max_restarts} in {self._spec.interval_s:.0f} s",
        )

    def _say(self, code: ReasonCode, message: str) -> None:
        self.notes.append(ScalingReason(code, message))
