"""Recommendations for KEDA: the operator as an external scaler.

With `mode: Recommend` somebody else writes the scale. A ScaledObject whose trigger is `external`
(or `external-push`) with `fleet` and `pool` in its metadata gets the number that the operator would
have set, as a metric whose target is 1: the autoscaler that KEDA makes then wants just as many. A
fleet that nothing has been decided for yet is *unavailable*, not zero, so that KEDA's own fallback
holds the replicas there are; and so is one whose decision is older than a limit.

Every replica answers, whether or not it leads: KEDA keeps its connection to whichever it met. How
old the answer is, and who gives it, is in the call's trailing metadata.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NoReturn

import grpc

from cardan_controller.pb.keda import externalscaler_pb2 as pb
from cardan_controller.pb.keda import externalscaler_pb2_grpc as pb_grpc
from cardan_controller.recommending import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cardan_controller.recommending import Recommendations

METRIC: Final = "cardan-desired-replicas"
# Trailing metadata: the answer's age, and `leader` or `status`, where it comes from.
AGE: Final = "cardan-age-seconds"
SOURCE: Final = "cardan-source"
# How long calls that are under way may take when the replica ends.
LEAVE_S: Final = 5.0
# A stream is looked at so often for an answer that has become stale.
LOOK_S: Final = 10.0


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
                await asyncio.wait({change}, timeout=LOOK_S)
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
        found = self._recommendations.get(named[0]) if named else None
        if found is None:
            words = f"nothing is decided for {ref.namespace}/{fleet} {pool}".rstrip()
            await _abort(context, grpc.StatusCode.UNAVAILABLE, words)
        if found.age_s > self._recommendations.stale_after_s:
            words = f"what is known of {ref.namespace}/{fleet} is {found.age_s:.0f} s old"
            await _abort(context, grpc.StatusCode.UNAVAILABLE, words)
        source = "leader" if found.here else "status"
        context.set_trailing_metadata(((AGE, f"{found.age_s:.1f}"), (SOURCE, source)))
        return found.desired


async def _abort(context: Context, code: grpc.StatusCode, words: str) -> NoReturn:
    await context.abort(code, words)
    raise AssertionError("abort raises")


@contextlib.asynccontextmanager
async def served(recommendations: Recommendations, address: str) -> AsyncIterator[None]:
    """KEDA's service at an address, while the block runs; without an address there is none."""
    if not address:
        yield
        return
    server = grpc.aio.server()
    pb_grpc.add_ExternalScalerServicer_to_server(ExternalScaler(recommendations), server)
    server.add_insecure_port(address)
    await server.start()
    try:
        yield
    finally:
        await server.stop(LEAVE_S)
