"""What the handlers share: one server's engine, manners, faults and memory; and one call."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from cardan_sim.serve.errors import InvalidError, NotObjectError, WrongTypeError
from cardan_sim.serve.faults import Faults
from cardan_sim.serve.records import Record, Records

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cardan_sim.engine import Engine
    from cardan_sim.serve.makes.base import Make
    from cardan_sim.serve.pump import Pump
    from cardan_sim.serve.settings import Settings

    Handler = Callable[["Context", "Call"], Awaitable[web.StreamResponse]]

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream; charset=utf-8"


@dataclass(slots=True)
class Context:
    """One server.

    ready: start-up is over. draining: a signal has come. crash: makes the whole engine fall
    silent and die, as a poisonous prompt does. rids: live answers by their public id.
    quiet: set while no request is being answered.
    """

    settings: Settings
    engine: Engine
    pump: Pump
    make: Make
    crash: Callable[[], None]
    exit: Callable[[], None]
    faults: Faults = field(default_factory=Faults)
    records: Records = field(default_factory=Records)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    responses: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    active: Counter[tuple[str, str]] = field(default_factory=Counter)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    rids: dict[str, list[str]] = field(default_factory=dict)
    serial: int = 0
    ready: bool = False
    draining: bool = False
    paused: bool = False
    sleeping: bool = False
    stale_metrics: bytes | None = None

    def next_id(self) -> str:
        """An id that no other sequence of this engine has."""
        self.serial += 1
        return f"seq-{self.serial}"

    def scaled(self, seconds: float) -> float:
        """A duration of the engine on this server's clock."""
        return seconds * self.settings.spec.time_scale


class Call:
    """One HTTP exchange."""

    def __init__(self, context: Context, request: web.BaseRequest, record: Record | None) -> None:
        """`record` is set for requests for work."""
        self.context: Final = context
        self.request: Final = request
        self.record: Final = record
        self.path: Final = request.path
        self.tail = ""
        self.kind = ""
        # Lower-case names once: the checks ask for a handful.
        self.headers: Final = {name.lower(): value for name, value in request.headers.items()}

    async def raw_body(self) -> bytes:
        """The whole body, whatever its size: real engines have no limit either."""
        raw = await self.request.content.read()
        if self.record is not None:
            self.record.body(raw)
        return raw

    async def json_body(self) -> dict[str, Any]:
        """The body as a JSON object; InvalidError says what is wrong with it."""
        raw = await self.raw_body()
        kind = self.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if kind != JSON and not kind.endswith("+json"):
            raise WrongTypeError
        if not raw:
            raise InvalidError((), "missing", "Field required", "None")
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            fault = "JSON decode error"
            raise InvalidError((error.pos,), "json_invalid", fault, "{}") from error
        if not isinstance(body, dict):
            raise NotObjectError(type(body).__name__)
        return body

    def base_headers(self, *, guarded: bool = False) -> dict[str, str]:
        """What every answer carries; one that never reached a route has less."""
        headers = {"Server": "uvicorn"}
        if not guarded:
            headers["Vary"] = "Origin"
        settings = self.context.settings
        if settings.echo_request_id and settings.spec.make == "vllm":
            own = self.headers.get("x-request-id") or f"{id(self):032x}"
            headers["X-Request-Id"] = own
        return headers

    def raw(
        self,
        body: bytes = b"",
        content_type: str | None = None,
        status: int = 200,
        *,
        guarded: bool = False,
        headers: dict[str, str] | None = None,
    ) -> web.Response:
        """An answer in one piece."""
        head = self.base_headers(guarded=guarded) | (headers or {})
        if content_type is not None:
            head["Content-Type"] = content_type
        reason = HTTPStatus(status).phrase
        return web.Response(body=body, status=status, reason=reason, headers=head)

    def json(
        self, document: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> web.Response:
        """A JSON answer."""
        return self.raw(orjson.dumps(document), JSON, status, headers=headers)

    async def event_stream(self) -> web.StreamResponse:
        """Send the head of an event stream."""
        head = self.base_headers() | {"Content-Type": EVENT_STREAM}
        response = web.StreamResponse(headers=head)
        if self.request.version >= (1, 1):
            response.enable_chunked_encoding()
        await response.prepare(self.request)
        return response
