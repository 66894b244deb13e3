"""KEDA asks any replica of the operator: all answer alike, and go on when the leader does not."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import grpc
import pytest
from cardan_controller.keda import AGE, SOURCE
from cardan_controller.pb.keda import externalscaler_pb2 as pb
from cardan_controller.pb.keda import externalscaler_pb2_grpc as pb_grpc

from e2e.controller.world import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controller.world import Operator, World

pytestmark = pytest.mark.cluster


class Told(NamedTuple):
    """An answer of KEDA's service: how many replicas, by whom, how old."""

    desired: float
    source: str
    age_s: float


class Replica(NamedTuple):
    """An operator, and KEDA's connection to it."""

    operator: Operator
    channel: grpc.Channel
    world: World

    def ask(self) -> Told:
        """How many replicas the fleet is to have; raises what the call was refused with."""
        call = pb_grpc.ExternalScalerStub(self.channel).GetMetrics.with_call
        ref = pb.ScaledObjectRef(
            name="keda", namespace=self.world.namespace, scalerMetadata={"fleet": "llama"}
        )
        answer, context = call(pb.GetMetricsRequest(scaledObjectRef=ref), timeout=20)
        said = {key: str(word) for key, word in context.trailing_metadata() or ()}
        (value,) = answer.metricValues
        return Told(value.metricValueFloat, said[SOURCE], float(said[AGE]))

    def series(self) -> float:
        """What a metrics adapter reads of it."""
        labels = {
            "fleet": "llama",
            "fleet_namespace": self.world.namespace,
            "pool": "main",
            "which": "desired",
        }
        written = ",".join(f'{name}="{value}"' for name, value in labels.items())
        return self.operator.metric(f"cardan_fleet_replicas{{{written}}}")

    def tells(self, desired: float, source: str) -> bool:
        """Is that its answer?"""
        try:
            return self.ask()[:2] == (desired, source)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:  # nothing is decided yet
                raise
            return False


@contextlib.contextmanager
def replica(world: World, name: str) -> Iterator[Replica]:
    """An operator that serves KEDA."""
    socket = f"unix:{world.folder}/{name}"
    with world.operator(keda=socket) as operator, grpc.insecure_channel(socket) as channel:
        yield Replica(operator, channel, world)


def test_who_follows_answers_as_who_leads_and_goes_on_when_that_one_goes(world: World) -> None:
    world.deployment(1)
    world.fleet(mode="Recommend", pool={"minReplicas": 0}, scaleToZero={"idleSeconds": 600})
    world.page.load(requests=20, uncached=2500, output=1000)
    with replica(world, "a") as first:
        until(first.operator.leads, "the first to lead")
        until(lambda: first.tells(3.0, "leader"), "it to decide")
        with replica(world, "b") as second:
            until(lambda: second.tells(3.0, "status"), "the second to know")
            assert not second.operator.leads()
            assert second.ask().age_s < 10
            world.page.load(requests=40, uncached=6500, output=1000)
            until(lambda: first.tells(7.0, "leader"), "it to want more")
            assert first.series() == 7.0
            assert second.series() == 0.0  # who follows has none: an adapter would add them up
            until(lambda: second.tells(7.0, "status"), "the second to know of it")
            first.operator.kill()
            while not second.operator.leads():
                assert second.ask().desired == 7.0  # not one call is refused
            until(lambda: second.tells(7.0, "leader"), "its own decision")
    assert world.replicas() == 1
