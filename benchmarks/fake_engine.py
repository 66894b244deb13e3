"""A scriptable engine for the hostile scenarios: it dies, returns, stalls, resets, talks nonsense.

One asyncio protocol, no HTTP library between the scenario and the bytes: a scenario decides what
goes on the wire and sees what came, when each connection opened and when it closed. Its request
parser trusts its peer, since what comes from a gateway is well framed or the scenario has failed.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, cast

import msgspec
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

FACTS = {
    "/metrics": "# TYPE vllm:num_requests_running gauge\n"
    'vllm:num_requests_running{model_name="mock-model"} 0\n'
    "# TYPE vllm:num_requests_waiting gauge\n"
    'vllm:num_requests_waiting{model_name="mock-model"} 0\n',
    "/v1/models": '{"object":"list","data":[{"id":"mock-model","object":"model",'
    '"created":1700000000,"owned_by":"vllm","root":"mock-model","max_model_len":131072}]}',
    "/get_model_info": '{"model_path":"mock-model","tokenizer_path":"mock-model",'
    '"is_generation":true,"served_model_name":"mock-model"}',
    "/model_info": '{"model_path":"mock-model","is_generation":true}',
    "/get_server_info": '{"model_path":"mock-model","served_model_name":"mock-model","dp_size":1,'
    '"disaggregation_mode":"null","version":"0.5.0","internal_states":[{}]}',
    "/server_info": '{"model_path":"mock-model","served_model_name":"mock-model","dp_size":1}',
    "/get_load": '[{"dp_rank":0,"num_reqs":0,"num_waiting_reqs":0,"num_tokens":0}]',
    "/version": '{"version":"0.11.0"}',
    "/health": "",
    "/ready": "",
    "/ping": "",
}
COMPLETION = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"mock-model",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":8,"completion_tokens":1,"total_tokens":9}}'
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
PIECE = 65536


class Request(msgspec.Struct, frozen=True):
    """One request as it came off the wire; `nth` counts from 1 on its connection."""

    method: str
    target: str
    head: bytes
    body: bytes
    nth: int

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def is_completion(self) -> bool:
        """Whether it is a client's request: one peer also asks its engines to tokenize, by POST."""
        path = self.path
        return self.method == "POST" and path.startswith("/v1/") and not path.endswith("/render")


class Connection(asyncio.Protocol):
    """One connection from the gateway."""

    transport: asyncio.Transport

    def __init__(self, engine: FakeEngine) -> None:
        """A connection of `engine`."""
        self.engine = engine
        self.closed = asyncio.Event()
        self.sent_bytes = 0  # of a large answer
        self.completions = 0
        self._in = bytearray()
        self._nth = 0
        self._large_left = 0
        self._paused = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        self.engine.connections.add(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.engine.connections.discard(self)
        self.closed.set()

    @override
    def data_received(self, data: bytes) -> None:
        self._in += data
        while request := self._take_request():
            self.engine.take(self, request)

    @override
    def pause_writing(self) -> None:
        self._paused = True

    @override
    def resume_writing(self) -> None:
        self._paused = False
        self._send_large()

    def answer(self, status: str, body: bytes, *more: str) -> None:
        """Send a whole sized JSON answer, with more head lines if given."""
        lines = ["content-type: application/json", f"content-length: {len(body)}", *more]
        head = "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""])
        self.transport.write(head.encode() + body)

    def chunk(self, text: bytes) -> None:
        """Send one chunk of a chunked answer."""
        self.transport.write(b"%x\r\n%s\r\n" % (len(text), text))

    def send_large(self, head: bytes, size_bytes: int) -> None:
        """Send `head`, then `size_bytes` of body as fast as the reader takes them."""
        self.transport.write(head)
        self._large_left = size_bytes
        self._send_large()

    def _send_large(self) -> None:
        while self._large_left and not self._paused and not self.transport.is_closing():
            piece = min(PIECE, self._large_left)
            self._large_left -= piece
            self.sent_bytes += piece
            self.transport.write(b"x" * piece)

    def _take_request(self) -> Request | None:
        head_end = self._in.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        head = bytes(self._in[: head_end + 4])
        body, end = _body(self._in, head_end + 4, head.lower())
        if end is None:
            return None
        del self._in[:end]
        self._nth += 1
        words = head.split(b" ", 2)
        if len(words) != 3 or words[0] == b"PRI":
            self.transport.abort()  # some gateways try HTTP/2 first
            return None
        method, target = words[0].decode(), words[1].decode(errors="replace")
        return Request(method, target, head, body, self._nth)


class FakeEngine:
    """An engine whose answers to POSTs are a script; it keeps every request it has seen."""

    def __init__(self, script: Callable[[Connection, Request], None]) -> None:
        """Not yet listening."""
        self.script = script
        self.port = 0
        self.connections: set[Connection] = set()
        self.requests: list[Request] = []
        self._server: asyncio.Server | None = None

    @property
    def posts(self) -> list[Request]:
        """The completions asked for so far."""
        return [request for request in self.requests if request.is_completion]

    async def start(self) -> None:
        """Listen: the first time on a port of the kernel's choosing, then on the same again."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", self.port, reuse_address=True, backlog=4096
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def die(self) -> None:
        """Stop listening and reset every connection, as a killed process does."""
        if self._server:
            self._server.close()
            self._server = None
        for connection in tuple(self.connections):
            connection.transport.abort()

    def take(self, connection: Connection, request: Request) -> None:
        """One request has arrived."""
        self.requests.append(request)
        if request.method == "POST" and not request.path.endswith("/render"):
            connection.completions += request.is_completion
            self.script(connection, request)
        elif request.path in FACTS:
            connection.answer("200 OK", FACTS[request.path].encode())
        else:
            connection.answer("404 Not Found", b'{"detail":"Not Found"}')


def complete(connection: Connection, request: Request) -> None:
    """A script: answer at once, as a stream if one is wanted."""
    if not json.loads(request.body or b"{}").get("stream"):
        connection.answer("200 OK", COMPLETION)
        return
    connection.transport.write(STREAM_HEAD)
    connection.chunk(event("hi"))
    connection.chunk(b"data: [DONE]\n\n")
    connection.transport.write(b"0\r\n\r\n")


def refuse(connection: Connection, _request: Request) -> None:
    """A script: 503, try another."""
    connection.answer("503 Service Unavailable", b'{"error":{"message":"busy","code":503}}')


def fail(connection: Connection, _request: Request) -> None:
    """A script: 500, an answer like any other."""
    connection.answer("500 Internal Server Error", b'{"error":{"message":"bad","code":500}}')


def reset(connection: Connection, _request: Request) -> None:
    """A script: the connection is reset without an answer."""
    connection.transport.abort()


def break_head(connection: Connection, _request: Request) -> None:
    """A script: what comes back is not HTTP."""
    connection.transport.write(b"HTTP/9.x \x00 nonsense\r\n\x01: :\r\n\r\n")
    connection.transport.close()


def say_nothing(_connection: Connection, _request: Request) -> None:
    """A script: the request is taken and nothing is ever said."""


def fall_silent(connection: Connection, _request: Request) -> None:
    """A script: a stream's head and first event, then nothing."""
    connection.transport.write(STREAM_HEAD)
    connection.chunk(event("hi"))


def event(text: str) -> bytes:
    """One server-sent event of a chat stream."""
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [delta]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _body(buffer: bytearray, at: int, head: bytes) -> tuple[bytes, int | None]:
    """The body that starts at `at` and where it ends; None while it is still arriving."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            end = at + int(value)
            return (bytes(buffer[at:end]), end) if len(buffer) >= end else (b"", None)
        if name == b"transfer-encoding":
            return _chunked_body(buffer, at)
    return b"", at


def _chunked_body(buffer: bytearray, at: int) -> tuple[bytes, int | None]:
    body = bytearray()
    while (eol := buffer.find(b"\r\n", at)) >= 0:
        size = int(buffer[at:eol].partition(b";")[0], 16)
        at = eol + 2 + size + 2
        if len(buffer) < at:
            break
        if not size:
            return bytes(body), at
        body += buffer[eol + 2 : at - 2]
    return b"", None
