"""KEDA's contract, by a client of KEDA's proto over a real connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import grpc
import pytest
from cardan.instants import WallTime
from cardan_controller.keda import AGE, METRIC, SOURCE, ExternalScaler
from cardan_controller.pb.keda import externalscaler_pb2 as pb
from cardan_controller.pb.keda import externalscaler_pb2_grpc as pb_grpc
from cardan_controller.recommending import Decided, Pool, Recommendations

from tests.fakes.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

POOL = Pool("serving", "llama", "h100")
NOW = WallTime(1_800_000_000.0)
STALE_S = 60.0


class Statuses:
    """What the leader has written, as the test wants it."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, str], dict[str, int]] = {}
        self.old_s = 1.5

    def desired(self, namespace: str, fleet: str) -> Mapping[str, int]:
        return self.told.get((namespace, fleet), {})

    def age_s(self) -> float:
        return self.old_s


class Scaler(NamedTuple):
    """A client, and what the server recommends."""

    stub: pb_grpc.ExternalScalerAsyncStub
    recommendations: Recommendations
    statuses: Statuses

    def decided(self, *counts: int, age_s: float = 2.0) -> None:
        """The leader has decided on so many, for pools of the names below."""
        at = WallTime(NOW - age_s)
        pools = [POOL, POOL._replace(pool="a100")]
        self.recommendations.set(
            {pool: Decided(count, at) for pool, count in zip(pools, counts, strict=False)}
        )

    def told(self, **counts: int) -> None:
        """The status says so."""
        self.statuses.told["serving", "llama"] = counts
        self.recommendations.changed()


@pytest.fixture
async def scaler() -> AsyncIterator[Scaler]:
    """A server on a port of the kernel's choice."""
    statuses = Statuses()
    recommendations = Recommendations(statuses, lambda: NOW, stale_after_s=STALE_S)
    server = grpc.aio.server()
    pb_grpc.add_ExternalScalerServicer_to_server(ExternalScaler(recommendations), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: pb_grpc.ExternalScalerAsyncStub = pb_grpc.ExternalScalerStub(channel)
        yield Scaler(stub, recommendations, statuses)
    await server.stop(None)


def ref(**metadata: str) -> pb.ScaledObjectRef:
    """A ScaledObject with this in its trigger's metadata."""
    return pb.ScaledObjectRef(name="object", namespace="serving", scalerMetadata=metadata)


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """How a call was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def asked(scaler: Scaler) -> tuple[float, dict[str, str]]:
    """The metric of the fleet's one pool, and what is said of it."""
    call = scaler.stub.GetMetrics(pb.GetMetricsRequest(scaledObjectRef=ref(fleet="llama")))
    (value,) = (await call).metricValues
    said = {str(key): str(word) for key, word in await call.trailing_metadata()}
    return value.metricValueFloat, said


async def test_the_metric_asks_for_as_many_replicas_as_were_decided(scaler: Scaler) -> None:
    scaler.decided(7)
    spec = await scaler.stub.GetMetricSpec(ref(fleet="llama"))
    assert [(one.metricName, one.targetSizeFloat) for one in spec.metricSpecs] == [(METRIC, 1.0)]
    assert await asked(scaler) == (7.0, {AGE: "2.0", SOURCE: "leader"})


async def test_a_replica_that_follows_answers_by_the_status(scaler: Scaler) -> None:
    scaler.told(h100=4)
    assert await asked(scaler) == (4.0, {AGE: "1.5", SOURCE: "status"})
    scaler.decided(5)  # it leads now
    assert await asked(scaler) == (5.0, {AGE: "2.0", SOURCE: "leader"})


async def test_what_is_too_old_is_unavailable(scaler: Scaler) -> None:
    scaler.told(h100=4)
    scaler.statuses.old_s = STALE_S + 1
    code, words = await refusal(scaler.stub.IsActive(ref(fleet="llama")))
    assert (code, words) == (
        grpc.StatusCode.UNAVAILABLE,
        "what is known of serving/llama is 61 s old",
    )
    scaler.decided(5, age_s=STALE_S + 2)
    code, words = await refusal(scaler.stub.IsActive(ref(fleet="llama")))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "62 s old" in words


@pytest.mark.parametrize(("desired", "active"), [(0, False), (1, True)])
async def test_a_fleet_at_zero_is_not_active(scaler: Scaler, desired: int, active: bool) -> None:
    scaler.decided(desired)
    assert (await scaler.stub.IsActive(ref(fleet="llama"))).result is active


async def test_waking_is_pushed_by_who_leads_and_by_who_follows(scaler: Scaler) -> None:
    scaler.told(h100=0)
    stream = scaler.stub.StreamIsActive(ref(fleet="llama"))
    answers = aiter(stream)
    assert (await anext(answers)).result is False
    scaler.told(h100=1)
    assert (await soon(anext(answers))).result is True
    scaler.decided(0)
    assert (await soon(anext(answers))).result is False
    stream.cancel()


async def test_before_a_decision_the_answer_is_unavailable_and_not_zero(scaler: Scaler) -> None:
    code, words = await refusal(scaler.stub.IsActive(ref(fleet="llama", pool="h100")))
    assert (code, words) == (
        grpc.StatusCode.UNAVAILABLE,
        "nothing is decided for serving/llama h100",
    )


@pytest.mark.parametrize("leads", [True, False])
async def test_metadata_that_names_no_pool_is_refused(scaler: Scaler, leads: bool) -> None:
    if leads:
        scaler.decided(1, 2)
    else:
        scaler.told(h100=1, a100=2)
    code, words = await refusal(scaler.stub.IsActive(ref()))
    assert (code, words) == (grpc.StatusCode.INVALID_ARGUMENT, "metadata lacks `fleet`")
    code, words = await refusal(scaler.stub.IsActive(ref(fleet="llama")))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert words == "fleet 'llama' has several pools: set `pool` to one of a100, h100"
