"""RoutingOverlays: what an operator says of routing, as the API tells it.

Not every cluster has the operator, its definitions, or a gateway that may read them. That is no
fault: it is said once, nothing is different, and it is asked again now and then, for an operator
may be installed later. Once overlays have been read, losing them is news like any other loss, and
the last ones stay in force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from cardan.overlay import RoutingOverlay
from cardan_kube.link import Link
from cardan_kube.objects import Meta
from cardan_kube.reflector import Fault
from cardan_kube.watcher import Resource

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from cardan_kube.link import Meter

# Who installs an operator sees its first overlay followed within this; a list that is refused costs
# the API server nothing worth counting at that pace.
ABSENT_S: Final = 15.0
# So is an API answered that does not know the kind, or does not let us read it.
ABSENT: Final = frozenset({Fault.NOT_FOUND, Fault.FORBIDDEN})


class _Object(msgspec.Struct):
    metadata: Meta
    spec: RoutingOverlay = msgspec.field(default_factory=RoutingOverlay)


_decode = msgspec.json.Decoder(_Object).decode


def read_overlay(raw: msgspec.Raw) -> RoutingOverlay | None:
    """What an object says; None if it is being deleted, `ValueError` if it is wrong."""
    found = _decode(raw)
    return None if found.metadata.deletion_timestamp else found.spec


def overlays_resource(namespace: str) -> Resource[RoutingOverlay]:
    """The overlays of a namespace."""
    return Resource(
        f"/apis/cardan.dev/v1alpha1/namespaces/{namespace}/routingoverlays",
        {},
        read_overlay,
        if_unknown="is the CRD RoutingOverlay installed?",
        patience_s=dict.fromkeys(ABSENT, ABSENT_S),
    )


class OverlayMeter:
    """Counts nothing: what may rightly be missing is no error of discovery."""

    def __init__(self, news: logging.Logger, clock: Callable[[], float]) -> None:
        self.news = news
        self.clock = clock

    def event(self, kind: str) -> None:
        """See `cardan_kube.link.Meter`."""

    def relist(self, reason: str) -> None:
        """See `cardan_kube.link.Meter`."""

    def error(self, reason: str) -> None:
        """See `cardan_kube.link.Meter`."""


class OverlayLink(Link):
    """A connection that may find nothing to read; `on_absent` is told when it never has."""

    def __init__(self, what: str, meter: Meter, on_absent: Callable[[], None]) -> None:
        super().__init__(what, meter)
        self.absent = False
        self._on_absent = on_absent

    def heard(self, *, watching: bool) -> None:
        """See `Link`; whoever installed an operator is told that it is followed."""
        super().heard(watching=watching)
        if self.absent:
            self.absent, self.fault = False, ""
            self.meter.news.info("%s: they are followed from now on", self.what)

    def lost(self, fault: Fault, trouble: str, *, watching: bool) -> None:
        """See `Link`; that there never was anything is said once, as a matter of course."""
        if fault not in ABSENT or self.last_word_at is not None:
            self.absent = False
            super().lost(fault, trouble, watching=watching)
            return
        self.fault = fault.value
        if not self.absent:
            self.absent = True
            self.meter.news.info("%s: none are followed (%s)", self.what, trouble)
            self._on_absent()
