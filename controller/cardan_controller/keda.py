"""Recommendations for KEDA: the operator as an external scaler.

With `mode: Recommend` somebody else writes the scale. A ScaledObject whose trigger is `external`
(or `external-push`) with `fleet` and `pool` in its metadata gets the number that the operator would
have set, as a metric whose target is 1: the autoscaler that KEDA makes then wants just as many. A
fleet that nothing has been decided for yet is *unavailable*, not zero, so that KEDA's own fallback
holds the replicas there are.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

import grpc

from cardan_controller.pb.keda import externalscaler_pb2 as pb
from cardan_controller.pb.keda import externalscaler_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

METRIC: Final = "cardan-desired-replicas"


class Pool(NamedTuple):
    """A pool by its full name."""

    namespace: str
    fleet: str
    pool: str


class Recommendations:
    """The numbers that were decided last, and a way to wait for the next ones."""

    def __init__(self) -> None:
        self._desired: dict[Pool, int] = {}
        self._changed = asyncio.Event()

    def set(self, desired: dict[Pool, int]) -> None:
        """All of them, after a tick."""
        if desired != self._desired:
            self._desired = desired
            self._changed.set()
            self._changed = asyncio.Event()

    def get(self, pool: Pool) -> int | None:
        """What a pool is to have; None if nothing was decided."""
        return self._desired.get(pool)

    def pools_of(self, namespace: str, fleet: str) -> list[Pool]:
        """The pools of a fleet that something was decided for."""
        return [pool for pool in self._desired if pool[:2] == (namespace, fleet)]

    async def change(self) -> None:
        """Until something is decided differently."""
        await self._changed.wait()


Context = grpc.aio.ServicerContext[object, object]


class ExternalScaler(pb_grpc.ExternalScalerServicer):
    """KEDA's service."""

    def __init__(self, recommendations: Recommendations) -> None:
        self._recommendations = recommendations

    async def IsActive(  # noqa: N802 - the protocol's name
        self, request: pb.ScaledObjectRef, context: Context
    ) -> pb.IsActiveResponse:
        """Whether there is to be any replica at all."""
        return pb.IsActiveResponse(result=await self._desired(request, context) > 0)

    async def StreamIsActive(  # noqa: N802 - the protocol's name
        self, request: pb.ScaledObjectRef, context: Context
    ) -> AsyncIterator[pb.IsActiveResponse]:
        """The same, told anew whenever it changes: a fleet wakes without KEDA's next poll."""
        told: bool | None = None
        while True:
            change = asyncio.ensure_future(self._recommendations.change())
            try:
                active = await self._desired(request, context) > 0
                if active is not told:
                    told = active
                    yield pb.IsActiveResponse(result=active)
                await change
            finally:
                change.cancel()

    async def GetMetricSpec(  # noqa: N802 - the protocol's name
        self, request: pb.ScaledObjectRef, context: Context
    ) -> pb.GetMetricSpecResponse:
        """One metric, of which each replica is worth 1."""
        del request, context
        spec = pb.MetricSpec(metricName=METRIC, targetSize=1, targetSizeFloat=1.0)
        return pb.GetMetricSpecResponse(metricSpecs=[spec])

    async def GetMetrics(  # noqa: N802 - the protocol's name
        self, request: pb.GetMetricsRequest, context: Context
    ) -> pb.GetMetricsResponse:
        """How many replicas there are to be."""
        desired = await self._desired(request.scaledObjectRef, context)
        value = pb.MetricValue(
            metricName=METRIC, metricValue=desired, metricValueFloat=float(desired)
        )
        return pb.GetMetricsResponse(metricValues=[value])

    async def _desired(self, ref: pb.ScaledObjectRef, context: Context) -> int:
        fleet, pool = ref.scalerMetadata.get("fleet", ""), ref.scalerMetadata.get("pool", "")
        if not fleet:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, "metadata lacks `fleet`")
        named = [Pool(ref.namespace, fleet, pool)]
        if not pool:
            named = self._recommendations.pools_of(ref.namespace, fleet)
            if len(named) > 1:
                names = ", ".join(sorted(one.pool for one in named))
                words = f"fleet {fleet!r} has several pools: set `pool` to one of {names}"
                await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, words)
        desired = self._recommendations.get(named[0]) if named else None
        if desired is None:
            words = f"nothing is decided for {ref.namespace}/{fleet} {pool}".rstrip()
            await _abort(context, grpc.StatusCode.UNAVAILABLE, words)
        return desired


async def _abort(context: Context, code: grpc.StatusCode, words: str) -> NoReturn:
    await context.abort(code, words)
    raise AssertionError("abort raises")
