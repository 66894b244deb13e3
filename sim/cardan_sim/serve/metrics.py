"""/metrics of both makes, and the ways in which it can be wrong on demand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from cardan_sim.serve.errors import ApiError, NotFoundError
from cardan_sim.serve.exposition import page
from cardan_sim.serve.makes import sglang_metrics, vllm_metrics

if TYPE_CHECKING:
    from aiohttp import web

    from cardan_sim.serve.context import Call, Context

_TYPES: Final = {
    "vllm": "text/plain; version=1.0.0; charset=utf-8",
    "sglang": "text/plain; version=0.0.4; charset=utf-8",
}
_GARBAGE: Final = b"<html><body>It works!</body></html>\n{{{ 12 \xff\xfe nan\n"


def render(context: Context, *, lying: bool = False) -> bytes:
    """The page as it is now."""
    families = vllm_metrics.families if context.make.name == "vllm" else sglang_metrics.families
    return page(families(context, lying=lying))


async def metrics(context: Context, call: Call) -> web.StreamResponse:
    """The page, or what a fault makes of it."""
    if not context.settings.metrics:
        raise NotFoundError
    kind = _TYPES[context.make.name]
    match context.faults.metrics:
        case None:
            return call.raw(render(context), kind)
        case "wrong":
            return call.raw(render(context, lying=True), kind)
        case "stale":
            if context.stale_metrics is None:
                context.stale_metrics = render(context)
            return call.raw(context.stale_metrics, kind)
        case "garbage":
            return call.raw(_GARBAGE, kind)
        case "missing":
            raise NotFoundError
        case "error":
            raise ApiError(500, "a fault was asked for", "InternalServerError")
        case "hang":
            await asyncio.get_running_loop().create_future()
    raise NotFoundError
