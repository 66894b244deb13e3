"""May traffic be sent here? What `/readyz` and gRPC health answer.

Ready once every endpoint that was known at the start has joined, or, when some do not answer, once
one has and a moment has passed: a gateway that takes traffic with one engine of eight would bury
it. A source that has to be asked (an API server) must have told its list once; until then the start
has not begun. From then on ready until it shuts down, even if all engines fail: then clients get a
503 that says so and may retry, where an unready gateway would only be a refused connection. A
fleet whose models sleep can serve: requests for them wait here, and nowhere else. Whoever is awake
beside them still has that moment to join.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.fleet import EndpointState, Fleet

# Probes of engines that run take milliseconds; one that has not answered by then is not coming up
# together with this gateway.
PATIENCE_S = 3.0


class Answer(NamedTuple):
    """The verdict, and in words what is missing."""

    ready: bool
    reason: str


class Readiness:
    """Latches at the first time the fleet can serve."""

    def __init__(
        self,
        fleet: Fleet,
        joined: Callable[[EndpointState], bool],
        draining: Callable[[], bool],
        clock: Callable[[], float],
        waits_for: Callable[[], str] = lambda: "",
    ) -> None:
        self._fleet = fleet
        self._joined = joined
        self._draining = draining
        self._clock = clock
        self._waits_for = waits_for
        self._since = clock()
        self._latched = False

    def look(self) -> Answer:
        """As of now."""
        if self._draining():
            return Answer(False, "shutting down")
        if self._latched:
            return Answer(True, "")
        waits_for = self._waits_for()
        if waits_for:
            self._since = self._clock()
            return Answer(False, waits_for)
        states = list(self._fleet.endpoints.values())
        missing = [state for state in states if not self._joined(state)]
        reason = self._why_not(len(missing), len(states))
        self._latched = not reason
        return Answer(self._latched, reason)

    def _why_not(self, missing: int, known: int) -> str:
        """What keeps a fleet from serving of which `missing` have not joined."""
        some_sleep = bool(self._fleet.overlay.sleepers())
        in_time = self._clock() - self._since < PATIENCE_S
        if not known:
            return "" if some_sleep else "no endpoint is known"
        if missing == known and (in_time or not some_sleep):
            return "no endpoint has answered yet"
        if missing and in_time:
            return f"{missing} of {known} endpoints have not answered yet"
        return ""
