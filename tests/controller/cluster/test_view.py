"""A watch that is broken makes what it has told too old to act on, once it has been so for long."""

from __future__ import annotations

import logging
from random import Random

from cardan_controller.cluster.view import FLEETS, Watched
from cardan_kube.api import KubernetesApi
from cardan_kube.reflector import Fault


class Meter:
    """A clock that the test sets."""

    news = logging.getLogger(__name__)

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        """See `Meter`."""
        return self.now

    def event(self, kind: str) -> None:
        """See `Meter`."""

    def relist(self, reason: str) -> None:
        """See `Meter`."""

    def error(self, reason: str) -> None:
        """See `Meter`."""


def test_what_has_not_been_heard_for_long_is_stale_and_says_why() -> None:
    meter = Meter()
    watched = Watched(FLEETS, ("a", "b"), lambda: KubernetesApi(""), meter, Random(1))
    link = watched._watchers[1].link
    assert watched.stale(0.0) == ""
    link.lost(Fault.FORBIDDEN, "may not list fleets", watching=False)
    meter.now += 44.0
    assert watched.stale(45.0) == ""
    meter.now += 1.0
    assert watched.stale(45.0) == "inferencefleets of b: may not list fleets"
    link.heard(watching=False)
    assert watched.stale(0.0) == ""
