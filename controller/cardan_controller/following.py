"""The decisions of whoever leads, as the statuses of the fleets tell them to all replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cardan_controller.cluster.listed import Listed
    from cardan_controller.cluster.view import Watched

_NOTHING: Final[Mapping[str, int]] = {}


class FollowedStatuses:
    """The statuses that are watched. `lease_age_s` tells how long no leader was heard."""

    def __init__(self, fleets: Watched[Listed], lease_age_s: Callable[[], float]) -> None:
        self._fleets = fleets
        self._lease_age_s = lease_age_s

    def desired(self, namespace: str, fleet: str) -> Mapping[str, int]:
        """See `Statuses`."""
        found = self._fleets.get(f"{namespace}/{fleet}")
        return found.desired if found is not None else _NOTHING

    def age_s(self) -> float:
        """See `Statuses`."""
        return max(self._lease_age_s(), self._fleets.silent_s())
