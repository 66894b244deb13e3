"""Is an endpoint fit to be asked? Evidence in, verdict out.

Three kinds of evidence, of different strength:

- *Hard*: nobody listens there (a refused or failed connect). The endpoint is DOWN until a probe or
  a connect succeeds.
- *Soft*: requests keep failing: the endpoint is EJECTED for a back-off, then tried again. Or probes
  time out or answer badly: then until a probe or a request succeeds, since an engine that is frozen
  would only take another request down with it. Soft evidence may be wrong for the whole fleet at
  once (a probe path that does not exist, one poisonous prompt going round), so `cardan.fleet` never
  lets it remove more than a share of the fleet.
- *The engine's own word*: it starts or drains (`/ready` says 503). It is left alone at once.

A 503 for lack of room is none of these: it says "not now", not "not well"; see
`cardan.ledger.Load.refused_until`.

The back-off starts at 0.5 s and doubles to 3 s, so that an engine that returns gets traffic within
five seconds even if only requests, and no probe, would find it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from cardan.instants import Monotonic


class Verdict(enum.StrEnum):
    """What the evidence amounts to."""

    HEALTHY = "healthy"
    EJECTED = "ejected"
    DOWN = "down"
    NOT_READY = "not-ready"


class HealthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Thresholds of health. Times in seconds.

    `consecutive_failures` requests that break in a row eject (SGLang's router and Envoy use 5 and
    more; three suffices here because a refusal is not a failure). `consecutive_probes` failed
    probes in a row eject. At most `max_ejected_ratio` of the fleet is ejected on soft evidence.
    """

    probe_interval_s: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    probe_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    consecutive_failures: Annotated[int, msgspec.Meta(ge=1)] = 3
    consecutive_probes: Annotated[int, msgspec.Meta(ge=1)] = 3
    backoff_s: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    max_backoff_s: Annotated[float, msgspec.Meta(gt=0)] = 3.0
    max_ejected_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5


class Health:
    """The evidence about one endpoint."""

    __slots__ = (
        "_backoff_s",
        "_config",
        "ejected_until",
        "failures",
        "not_ready",
        "probe_failures",
        "reachable",
    )

    def __init__(self, config: HealthConfig) -> None:
        self._config = config
        self._backoff_s = config.backoff_s
        self.failures = 0
        self.probe_failures = 0
        self.reachable = True
        self.not_ready = False
        self.ejected_until = 0.0

    def verdict(self, now: Monotonic) -> Verdict:
        """The evidence weighed."""
        if self.not_ready:
            return Verdict.NOT_READY
        if now < self.ejected_until:
            return Verdict.EJECTED if self.reachable else Verdict.DOWN
        if self.reachable and self.probe_failures >= self._config.consecutive_probes:
            return Verdict.EJECTED
        return Verdict.HEALTHY

    def request_succeeded(self) -> bool:
        """An answer came. True if this changed the verdict's inputs."""
        changed = self.failures > 0 or not self.reachable or self.ejected_until > 0.0
        if changed:
            self._recover()
        return changed

    def request_failed(self, now: Monotonic) -> bool:
        """A connection broke, or no byte came in time. True if the endpoint is now ejected."""
        self.failures += 1
        if self.failures < self._config.consecutive_failures:
            return False
        self._eject(now)
        return True

    def unreachable(self, now: Monotonic) -> bool:
        """No connection could be made. Always changes the verdict."""
        self.reachable = False
        self._eject(now)
        return True

    def trial_begins(self, now: Monotonic) -> None:
        """One request is let through to see whether it is back; the others wait for its word."""
        self.ejected_until = now + self._backoff_s

    def probe_succeeded(self) -> bool:
        """The engine's health path answered 200. True if this changed anything."""
        changed = (
            self.not_ready
            or not self.reachable
            or self.probe_failures >= self._config.consecutive_probes
        )
        self.not_ready = False
        self.probe_failures = 0
        if changed:
            self._recover()
        return changed

    def probe_failed(self, now: Monotonic) -> bool:
        """The health path timed out or answered badly. True if the endpoint is now ejected."""
        self.probe_failures += 1
        if self.probe_failures < self._config.consecutive_probes:
            return False
        self._eject(now)
        return True

    def engine_not_ready(self) -> bool:
        """The engine itself said that it starts or drains. True if that is news."""
        changed = not self.not_ready
        self.not_ready = True
        return changed

    def _eject(self, now: Monotonic) -> None:
        self.ejected_until = now + self._backoff_s
        self._backoff_s = min(self._backoff_s * 2, self._config.max_backoff_s)

    def _recover(self) -> None:
        self.failures = 0
        self.probe_failures = 0
        self.reachable = True
        self.ejected_until = 0.0
        self._backoff_s = self._config.backoff_s
