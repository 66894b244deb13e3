"""Whose part of a model's traffic is whose, where several fleets serve it: pure.

Gateways count what is asked of a model, whichever fleet answers: two fleets of one model at the
same gateways (a canary, another kind of GPU with promises of its own) would each be sized for all
of it. So each is given the part that its own endpoints get, by prompt tokens; of fleets that mean
the same pods (one of them only recommends) each has all that these get. Where nothing flows, and of
a fleet that has nobody ready, replicas tell instead: whom an outage has taken the traffic from is
not to become smaller for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan_controller.carrying import home_of
from cardan_controller.cluster.pods import endpoint_of
from cardan_controller.gathering import pods_in, target_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cardan_controller.cluster.pods import PodFacts
    from cardan_controller.cluster.targets import TargetRef
    from cardan_controller.crds.documents import Fleet
    from cardan_controller.crds.fleet import FleetSpec
    from cardan_controller.gathering import Cluster
    from cardan_controller.metrics.answers import Answers
    from cardan_controller.planning import Home

Pods = dict[tuple[str, str], "PodFacts"]
"""By namespace and name."""


class Sharing:
    """Who shares what, at one tick."""

    def __init__(self, fleets: Iterable[Fleet], cluster: Cluster, answers: Answers) -> None:
        self._cluster = cluster
        self._answers = answers
        self._groups: dict[tuple[str, str], list[tuple[Home, FleetSpec]]] = {}
        for fleet in fleets:
            if fleet.spec is not None:
                home = home_of(fleet)
                group = self._groups.setdefault((home.gateways, fleet.spec.model), [])
                group.append((home, fleet.spec))

    def others(self, fleet: Home, spec: FleetSpec) -> tuple[str, ...]:
        """Who shares the traffic with a fleet; not who means the same targets and no more."""
        group = self._groups.get((fleet.gateways, spec.model), ())
        own = _targets(fleet, spec)
        return tuple(
            f"{home.namespace}/{home.name}"
            for home, other in group
            if home != fleet and not _targets(home, other) <= own
        )

    def part(self, fleet: Home, spec: FleetSpec) -> float:
        """The part (0..1) of its model's traffic that is this fleet's."""
        group = self._groups.get((fleet.gateways, spec.model), ())
        if len(group) < 2:
            return 1.0
        own = self._pods(fleet, spec)
        every = dict(own)
        for other in group:
            every |= self._pods(*other)
        tokens, all_tokens = self._tokens(fleet, own), self._tokens(fleet, every)
        if all_tokens > 0 and _anybody_ready(own):
            return tokens / all_tokens
        return len(own) / len(every) if every else 1.0

    def _pods(self, fleet: Home, spec: FleetSpec) -> Pods:
        return {(pod.namespace, pod.name): pod for pod in pods_in(self._cluster, fleet, spec)}

    def _tokens(self, fleet: Home, pods: Pods) -> float:
        """Prompt tokens a second that these get."""
        named = self._cluster.with_namespace
        ids = {endpoint_of(pod, with_namespace=named) for pod in pods.values()}
        known = (self._answers.value("endpoint_tokens", (fleet.gateways, id_)) for id_ in ids)
        return sum(one for one in known if one is not None)


def _targets(fleet: Home, spec: FleetSpec) -> set[TargetRef]:
    return {target_of(fleet.namespace, pool) for pool in spec.pools}


def _anybody_ready(pods: Pods) -> bool:
    return any(pod.ready_at is not None and not pod.leaving for pod in pods.values())
