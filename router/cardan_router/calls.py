"""From a client's request to a `Call`: what routing must know of it, and what an engine is sent.

The body is parsed once, to look at it; the engine gets the client's own bytes. Only fields that
would steer an engine's insides are cut out (`CONTROL_FIELDS`), and headers that would do so, or
that belong to one connection, or carry credentials, are not passed on.

Request headers that mean something here (gRPC metadata has the same names):

    x-request-id           kept if it is printable and at most 128 characters, else a new one
    x-slo-ttft-ms          time to first token this request is promised
    x-request-timeout-ms   after that the answer is worth nothing: the request's deadline
    x-session-id           what session policies hash; else `session_id`, `prompt_cache_key`, `user`
    x-cardan-priority      -100..100, larger is sooner
    x-cardan-explain       1: the answer carries the route receipt
"""

from __future__ import annotations

import itertools
import os
import re
from typing import TYPE_CHECKING

import orjson
from cardan.errors import RequestError
from cardan.instants import Monotonic
from cardan.prompt import EMPTY, read_prompt
from cardan.request import Api, RequestView
from cardan.value import Value

from cardan_router.passing import TO_ENGINES
from cardan_router.splice import without_fields
from cardan_router.wire.fields import HeadError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cardan.prompt import KeyConfig

Body = bytes | bytearray | memoryview
"""A request's body; a view of what was read where copying it would cost more."""

# Fields an operator's own components put into bodies, never a client: they make an engine dial a
# host of the caller's choice, read another request's cache, or crash (a room without a host kills
# an SGLang decode server, and the same room twice stops its scheduler).
CONTROL_FIELDS = frozenset(
    {
        "kv_transfer_params",  # vLLM P/D: which peer's cache blocks to pull
        "ec_transfer_params",  # vLLM encoder disaggregation, likewise
        "kv_hints",  # where to fetch cached blocks from
        "bootstrap_host",  # SGLang P/D: host to dial
        "bootstrap_port",
        "bootstrap_room",  # SGLang P/D: a duplicate or lone room stops the scheduler
        "bootstrap_pair_key",
        "routed_dp_rank",  # which data-parallel rank computes it: the router's choice
        "disagg_prefill_dp_rank",
        "data_parallel_rank",
        "data_parallel_rank_decode",
    }
)

# Request headers with a meaning here; without any of them nothing need be looked at.
_OURS = frozenset(
    {
        "x-slo-ttft-ms",
        "x-request-timeout-ms",
        "x-session-id",
        "x-cardan-priority",
        "x-cardan-explain",
    }
)
# What `Connection` usually says: nothing about other headers.
_PLAIN_CONNECTIONS = frozenset({"keep-alive", "close", "Keep-Alive", "Close"})

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_MAX_NUMBER_CHARS = 12


class Call(Value):
    """One request as a front door hands it over.

    `path` is where the engine is asked, `head` the header lines it is sent (all but the request
    line, host, credentials and content-length), `body` what it is sent.
    """

    view: RequestView
    path: str
    head: str
    body: Body
    explain: bool


class RequestIds:
    """Ids for requests that bring none: random for the process, counted within it."""

    def __init__(self) -> None:
        self._prefix = f"req-{os.urandom(8).hex()}-"
        self._count = itertools.count(1)

    def of(self, headers: Mapping[str, str]) -> str:
        """The client's id if it is fit for logs and headers, else a new one."""
        if "x-request-id" in headers and _REQUEST_ID.fullmatch(headers["x-request-id"]):
            return headers["x-request-id"]
        return f"{self._prefix}{next(self._count)}"


class Reading:
    """How bodies are read: the key's configuration and the promises by model."""

    __slots__ = ("key", "pass_authorization", "slo_ttft_s", "wants_prompt")

    def __init__(
        self,
        key: KeyConfig,
        slo_ttft_s: Callable[[str], float],
        *,
        wants_prompt: bool = True,
        pass_authorization: bool = False,
    ) -> None:
        self.key = key
        self.slo_ttft_s = slo_ttft_s
        self.wants_prompt = wants_prompt
        self.pass_authorization = pass_authorization


def parse_body(body: Body) -> dict[str, object]:
    """The body as an object. Raises `RequestError`."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not valid JSON: {error}", code="invalid_json") from None
    if type(fields) is not dict:
        raise RequestError("the body must be a JSON object", code="invalid_json")
    return fields


def read_call(
    reading: Reading,
    api: Api,
    path: str,
    headers: Mapping[str, str],
    body: Body,
    fields: dict[str, object],
    model: str,
    passed: str | None,
    request_id: str,
    tenant: str,
    priority: int,
    now: Monotonic,
) -> Call:
    """Everything routing and the engine need. Raises `RequestError` naming the wrong field."""
    if not CONTROL_FIELDS.isdisjoint(fields):
        body = without_fields(body, fields, CONTROL_FIELDS)
    prompt = EMPTY
    if reading.wants_prompt:
        prompt = read_prompt(api, fields, reading.key, tenant, model)
    max_tokens = fields.get("max_completion_tokens") or fields.get("max_tokens")
    session = fields.get("session_id") or fields.get("prompt_cache_key") or fields.get("user")
    view = RequestView(
        request_id,
        api,
        model,
        prompt,
        fields.get("stream") is True,
        now,
        reading.slo_ttft_s(model),
        len(body),
        max_tokens if type(max_tokens) is int else None,
        priority,
        session if type(session) is str else "",
        tenant,
    )
    explain = not _OURS.isdisjoint(headers) and _heed(view, headers)
    if passed is None:
        passed = _passed(headers)
    head = f"x-request-id: {request_id}\r\n{passed}"
    if "content-type" not in headers:
        head += "content-type: application/json\r\n"
    if reading.pass_authorization and "authorization" in headers:
        head += f"authorization: {headers['authorization']}\r\n"
    if "connection" in headers and headers["connection"] not in _PLAIN_CONNECTIONS:
        head = _without_nominated(head, headers["connection"])
    return Call(view, path, head, body, explain)


def _heed(view: RequestView, headers: Mapping[str, str]) -> bool:
    """Take what the client asks for in headers; True if it wants the receipt."""
    if "x-slo-ttft-ms" in headers:
        view.slo_ttft_s = _milliseconds(headers, "x-slo-ttft-ms") / 1000.0
    if "x-request-timeout-ms" in headers:
        timeout_s = _milliseconds(headers, "x-request-timeout-ms") / 1000.0
        view.deadline_at = Monotonic(view.arrived_at + timeout_s)
    if "x-cardan-priority" in headers:
        view.priority = _priority(headers["x-cardan-priority"])
    view.session = headers.get("x-session-id") or view.session
    return headers.get("x-cardan-explain") == "1"


def _passed(headers: Mapping[str, str]) -> str:
    """The header lines an engine may see, of headers that came without HTTP."""
    try:
        return "".join([TO_ENGINES.passed(name, value) for name, value in headers.items()])
    except HeadError as error:
        raise RequestError(error.message, code="bad_request") from None


def _without_nominated(head: str, connection: str) -> str:
    """Drop the headers that `Connection` says are of this connection only."""
    nominated = tuple(f"{token.strip().lower()}: " for token in connection.split(","))
    kept = ("x-request-id: ", "content-type: ")  # ours, and needed: not the client's to nominate
    lines = head.split("\r\n")  # and not by what else Unicode takes for a line's end
    return "\r\n".join(
        [line for line in lines if line.startswith(kept) or not line.startswith(nominated)]
    )


def _milliseconds(headers: Mapping[str, str], name: str) -> int:
    text = headers[name]
    if text.isascii() and text.isdecimal() and len(text) <= _MAX_NUMBER_CHARS and int(text) > 0:
        return int(text)
    raise RequestError(f"{name} must be a whole number of milliseconds above 0", param=name)


def _priority(text: str) -> int:
    if re.fullmatch(r"-?[0-9]{1,3}", text, re.ASCII) and -100 <= int(text) <= 100:
        return int(text)
    raise RequestError(
        "x-cardan-priority must be a whole number from -100 to 100", param="x-cardan-priority"
    )
