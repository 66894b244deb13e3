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

from cardan_router.splice import without_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cardan.prompt import KeyConfig

Body = bytes | bytearray

# Fields an operator's own components put into bodies, never a client: they make an engine dial a
# host of the caller's choice, read another request's cache, or crash (a room without a host kills
# an SGLang decode server; `dataplane-peers.md` §2.1, `sglang.md` §2.7).
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

# Headers that are not passed on to an engine.
_DROPPED = frozenset(
    {
        # of one connection (RFC 9110 §7.6.1), or written anew
        "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade", "http2-settings", "host", "content-length", "expect", "x-request-id",
        "content-encoding",
        # the answer is read for errors and usage, so it must come uncompressed
        "accept-encoding",
        # credentials of the client, meant for this gateway
        "authorization", "proxy-authorization", "x-api-key", "api-key", "cookie",
        # what would steer an engine: rank, priority, extra load reports, another method
        "x-data-parallel-rank", "x-vllm-priority", "endpoint-load-metrics-format",
        "x-http-method-override", "x-method-override", "x-http-method",
        # meant for this gateway
        "x-slo-ttft-ms", "x-request-timeout-ms",
    }
)  # fmt: skip
_DROPPED_PREFIXES = ("x-override-", "x-smg-", "x-cardan-", "x-kv-cache-", "x-gateway-", "sec-")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_MAX_NUMBER_CHARS = 12


class Passing(dict[str, str]):
    """How a header is written when it is passed on (`name: `), or "" if it is not.

    Filled as names come, up to a bound, since names are the clients' to choose.
    """

    def __init__(self, dropped: frozenset[str], prefixes: tuple[str, ...]) -> None:
        super().__init__()
        self._dropped = dropped
        self._prefixes = prefixes

    def __missing__(self, name: str) -> str:
        drop = name in self._dropped or name.startswith(self._prefixes)
        written = "" if drop else f"{name}: "
        if len(self) < 1024 and len(name) <= 64:
            self[name] = written
        return written


_PASSING = Passing(_DROPPED, _DROPPED_PREFIXES)


class Call:
    """One request as a front door hands it over.

    `path` is where the engine is asked, `head` the header lines it is sent (all but the request
    line, host, credentials and content-length), `body` what it is sent.
    """

    __slots__ = ("body", "explain", "head", "path", "view")

    def __init__(
        self, view: RequestView, path: str, head: str, body: Body, *, explain: bool
    ) -> None:
        self.view = view
        self.path = path
        self.head = head
        self.body = body
        self.explain = explain


class RequestIds:
    """Ids for requests that bring none: random for the process, counted within it."""

    def __init__(self) -> None:
        self._prefix = f"req-{os.urandom(8).hex()}-"
        self._count = itertools.count(1)

    def of(self, headers: Mapping[str, str]) -> str:
        """The client's id if it is fit for logs and headers, else a new one."""
        given = headers.get("x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return f"{self._prefix}{next(self._count):x}"


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
    *,
    fields: dict[str, object],
    model: str,
    request_id: str,
    tenant: str,
    priority: int,
    now: Monotonic,
) -> Call:
    """Everything routing and the engine need. Raises `RequestError` naming the wrong field."""
    if not CONTROL_FIELDS.isdisjoint(fields):
        body = without_fields(body, fields, CONTROL_FIELDS)
    max_tokens = fields.get("max_completion_tokens") or fields.get("max_tokens")
    prompt = EMPTY
    if reading.wants_prompt:
        prompt = read_prompt(api, fields, reading.key, tenant=tenant, model=model)
    slo_ms = _milliseconds(headers, "x-slo-ttft-ms")
    timeout_ms = _milliseconds(headers, "x-request-timeout-ms")
    view = RequestView(
        request_id=request_id,
        api=api,
        model=model,
        prompt=prompt,
        stream=fields.get("stream") is True,
        arrived_at=now,
        slo_ttft_s=reading.slo_ttft_s(model) if slo_ms is None else slo_ms / 1000.0,
        body_bytes=len(body),
        max_tokens=max_tokens if type(max_tokens) is int else None,
        priority=_priority(headers, priority),
        session=_session(headers, fields),
        tenant=tenant,
        deadline_at=None if timeout_ms is None else Monotonic(now + timeout_ms / 1000.0),
    )
    head = forwarded_head(headers, request_id, pass_authorization=reading.pass_authorization)
    return Call(view, path, head, body, explain=headers.get("x-cardan-explain") == "1")


def forwarded_head(
    headers: Mapping[str, str], request_id: str, *, pass_authorization: bool = False
) -> str:
    """The header lines an engine is sent."""
    passing = _PASSING
    lines = [f"x-request-id: {request_id}\r\n"]
    for name, value in headers.items():
        written = passing[name]
        if written:
            lines.append(f"{written}{value}\r\n")
    if "connection" in headers:
        lines = _without_nominated(lines, headers["connection"])
    if pass_authorization and "authorization" in headers:
        lines.append(f"authorization: {headers['authorization']}\r\n")
    if "content-type" not in headers:
        lines.append("content-type: application/json\r\n")
    return "".join(lines)


def _without_nominated(lines: list[str], connection: str) -> list[str]:
    """Drop the headers that `Connection` says are of this connection only."""
    nominated = tuple(f"{token.strip().lower()}: " for token in connection.split(","))
    kept = ("x-request-id: ", "content-type: ")  # ours, and needed: not the client's to nominate
    return [line for line in lines if line.startswith(kept) or not line.startswith(nominated)]


def _milliseconds(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and len(text) <= _MAX_NUMBER_CHARS and int(text) > 0:
        return int(text)
    raise RequestError(f"{name} must be a whole number of milliseconds above 0", param=name)


def _priority(headers: Mapping[str, str], of_key: int) -> int:
    text = headers.get("x-cardan-priority")
    if text is None:
        return of_key
    if re.fullmatch(r"-?[0-9]{1,3}", text, re.ASCII) and -100 <= int(text) <= 100:
        return int(text)
    raise RequestError(
        "x-cardan-priority must be a whole number from -100 to 100", param="x-cardan-priority"
    )


def _session(headers: Mapping[str, str], fields: Mapping[str, object]) -> str:
    session = headers.get("x-session-id")
    if session:
        return session
    for name in ("session_id", "prompt_cache_key", "user"):
        value = fields.get(name)
        if type(value) is str and value:
            return value
    return ""
