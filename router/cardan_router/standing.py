"""How an endpoint is doing, in a word that does not flicker, and a line in the log when it changes.

A verdict (`cardan.health`) says who may be asked now: an ejected endpoint whose back-off has run
out is tried again, so its verdict swings between `ejected` and `healthy` while it is broken. What
is shown and logged is its *standing*: it is healthy again when a request or a probe has said so, or
when it has been tried for as long as a back-off can be and nothing more was held against it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from cardan.health import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.fleet import EndpointState, Fleet
    from cardan.instants import Monotonic

log = logging.getLogger(__name__)

_WORDS: Final = {
    Verdict.EJECTED: "is ejected: its probes or its requests keep failing",
    Verdict.DOWN: "is down: no connection can be made",
    Verdict.NOT_READY: "is not ready: the engine, or its pod, says so itself",
}


def standing(state: EndpointState, now: Monotonic) -> Verdict:
    """The verdict, kept until there is evidence or time enough for a better one."""
    health = state.health
    verdict = health.verdict(now)
    if verdict is not Verdict.HEALTHY:
        return verdict
    if not health.reachable:
        return Verdict.DOWN
    patience_s = state.config.health.max_backoff_s
    in_doubt = health.ejected_until > 0.0 and now < health.ejected_until + patience_s
    return Verdict.EJECTED if in_doubt else Verdict.HEALTHY


class Herald:
    """Says each change of standing once, and when nobody is left or somebody is back.

    `joined` tells who has ever been a member; others have no standing to lose.
    """

    def __init__(self, fleet: Fleet, joined: Callable[[EndpointState], bool]) -> None:
        self._fleet = fleet
        self._joined = joined
        self._said: dict[EndpointState, tuple[Verdict, Monotonic]] = {}
        self._nobody = False

    def look(self, now: Monotonic) -> None:
        """Compare everybody's standing with what was said last."""
        members = [state for state in self._fleet.endpoints.values() if self._joined(state)]
        said, self._said = self._said, {}
        for state in members:
            self._said[state] = self._tell(state, now, said.get(state))
        healthy = sum(verdict is Verdict.HEALTHY for verdict, _ in self._said.values())
        if self._nobody != (bool(members) and not healthy):
            self._nobody = not self._nobody
            if self._nobody:
                log.error("no endpoint is healthy: requests wait, or are answered 503")
            elif members:
                log.info("%d of %d endpoints are healthy", healthy, len(members))

    @staticmethod
    def _tell(
        state: EndpointState, now: Monotonic, before: tuple[Verdict, Monotonic] | None
    ) -> tuple[Verdict, Monotonic]:
        verdict = standing(state, now)
        if before is None:
            before = (Verdict.HEALTHY, now)  # it has joined, and that has been said
        if verdict is before[0]:
            return before
        if verdict is Verdict.HEALTHY:
            log.info("%s is healthy again after %.1f s", state.id, now - before[1])
        else:
            log.warning("%s %s", state.id, _WORDS[verdict])
        return verdict, (before[1] if before[0] is not Verdict.HEALTHY else now)
