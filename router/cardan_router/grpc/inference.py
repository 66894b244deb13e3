"""The service `cardan.v1.Inference`: requests to models.

A call is translated, admitted and launched as an HTTP request is, and its answer translated back.
When the call ends before its answer, whatever the reason (cancelled, deadline, connection lost,
translation failed), the flight is told that the client left and closes the engine's connection.
A client that has stopped reading counts as one that left: it may answer pings for ever.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
import orjson
from cardan.errors import RequestError
from cardan.request import Api

from cardan_router.grpc import requests, responses
from cardan_router.grpc.answers import Answer, event_error
from cardan_router.grpc.boundary import guarded
from cardan_router.grpc.errors import CallError
from cardan_router.grpc.sse import EventReader
from cardan_router.pb.cardan.v1 import inference_pb2, inference_pb2_grpc
from cardan_router.receipts import explained, receipt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cardan.instants import Monotonic

    from cardan_router.calls import Call
    from cardan_router.flight import Flight
    from cardan_router.gateway import Caller, Gateway
    from cardan_router.grpc.boundary import Context, Rpc

PATHS = {
    Api.CHAT: "/v1/chat/completions",
    Api.COMPLETION: "/v1/completions",
    Api.EMBEDDING: "/v1/embeddings",
}
EXPLAIN = "x-cardan-explain"
_METHOD = "/cardan.v1.Inference/"
_DONE = b"[DONE]"


class InferenceService(inference_pb2_grpc.InferenceServicer):
    """Answers the calls of `cardan.v1.Inference`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._launches: dict[_Launch, None] = {}

    def start(self) -> None:
        """Look for clients that have stopped reading whenever the gateway looks at deadlines."""
        self._gateway.sweepers.append(self._cut_stalled)

    def stop(self) -> None:
        """No call runs any more."""
        if self._cut_stalled in self._gateway.sweepers:
            self._gateway.sweepers.remove(self._cut_stalled)

    async def Generate(  # type: ignore[override]  # noqa: N802 - grpc.aio takes coroutines too
        self, request: inference_pb2.GenerateRequest, context: Context
    ) -> None:
        """Stream an answer."""
        await guarded(self._gateway, context, _METHOD + "Generate", self._generate, request)

    async def GenerateUnary(  # noqa: N802 - the proto's name
        self, request: inference_pb2.GenerateRequest, context: Context
    ) -> inference_pb2.GenerateResponse:
        """Answer when the answer is complete."""
        method = _METHOD + "GenerateUnary"
        return await guarded(self._gateway, context, method, self._generate_unary, request)

    async def Embed(  # noqa: N802 - the proto's name
        self, request: inference_pb2.EmbedRequest, context: Context
    ) -> inference_pb2.EmbedResponse:
        """Turn texts into vectors."""
        return await guarded(self._gateway, context, _METHOD + "Embed", self._embed, request)

    async def ListModels(  # noqa: N802 - the proto's name
        self, request: inference_pb2.ListModelsRequest, context: Context
    ) -> inference_pb2.ListModelsResponse:
        """Name every model that some endpoint serves."""
        method = _METHOD + "ListModels"
        return await guarded(self._gateway, context, method, self._list_models, request)

    async def _generate(self, rpc: Rpc, request: inference_pb2.GenerateRequest) -> None:
        caller = rpc.identify(self._gateway)
        api, body = requests.generate(request, stream=True)
        with self._launched(rpc, api, body, caller) as (answer, flight):
            await answer.begun()
            await _send_initial_metadata(rpc, flight, stream=True)
            pieces = Pieces()
            explain = request.explain
            while payload := await answer.read():
                response = pieces.feed(payload)
                if response is not None:
                    if explain:
                        response.receipt.CopyFrom(responses.receipt(receipt(flight)))
                        explain = False
                    await rpc.context.write(response)
                if pieces.error is not None:
                    raise pieces.error

    async def _generate_unary(
        self, rpc: Rpc, request: inference_pb2.GenerateRequest
    ) -> inference_pb2.GenerateResponse:
        caller = rpc.identify(self._gateway)
        api, body = requests.generate(request, stream=False)
        with self._launched(rpc, api, body, caller) as (answer, flight):
            await answer.begun()
            await _send_initial_metadata(rpc, flight)
            response = responses.generated(responses.parse(await answer.whole()))
            if request.explain:
                response.receipt.CopyFrom(responses.receipt(receipt(flight)))
            return response

    async def _embed(
        self, rpc: Rpc, request: inference_pb2.EmbedRequest
    ) -> inference_pb2.EmbedResponse:
        caller = rpc.identify(self._gateway)
        api, body = requests.embed(request)
        with self._launched(rpc, api, body, caller) as (answer, flight):
            await answer.begun()
            await _send_initial_metadata(rpc, flight)
            response = responses.embedded(responses.parse(await answer.whole()))
            if request.explain:
                response.receipt.CopyFrom(responses.receipt(receipt(flight)))
            return response

    async def _list_models(
        self, rpc: Rpc, _: inference_pb2.ListModelsRequest
    ) -> inference_pb2.ListModelsResponse:
        rpc.identify(self._gateway)
        entries = responses.parse(self._gateway.models_body())["data"]
        return inference_pb2.ListModelsResponse(models=[responses.model(e) for e in entries])

    @contextmanager
    def _launched(
        self, rpc: Rpc, api: Api, body: requests.Body, caller: Caller
    ) -> Iterator[tuple[Answer, Flight]]:
        """The flight of a call; when the call is over, so is the flight."""
        rpc.adopt_deadline()
        call = admit(self._gateway, rpc, api, body, caller)
        answer = Answer()
        flight = self._gateway.flight(call, answer)
        answer.attach(flight)
        launch = _Launch(answer, flight)
        self._launches[launch] = None
        try:
            flight.start()
            yield answer, flight
        except asyncio.CancelledError:
            launch.raise_if_cut()
            raise
        finally:
            del self._launches[launch]
            flight.client_left()

    def _cut_stalled(self, now: Monotonic) -> None:
        limit_s = self._gateway.timeouts.stalled_reader_s
        for launch in list(self._launches):
            if launch.answer.stalled_s(now) > limit_s:
                launch.cut()


class _Launch:
    """A call that runs: its flight, and the task that hands the answer on."""

    __slots__ = ("_is_cut", "_task", "answer", "flight")

    def __init__(self, answer: Answer, flight: Flight) -> None:
        self.answer = answer
        self.flight = flight
        self._task = asyncio.current_task()
        self._is_cut = False

    def cut(self) -> None:
        """End the flight now, and wake the task out of a write that the client does not take."""
        if not self._is_cut and self._task is not None:
            self._is_cut = True
            self.flight.client_left()
            self._task.cancel()

    def raise_if_cut(self) -> None:
        """Turn the cancellation that `cut` asked for into the call's error."""
        if self._is_cut and self._task is not None and self._task.uncancel() == 0:
            raise CallError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "STALLED_READER",
                "the client took nothing of the answer for too long",
            )


def admit(gateway: Gateway, rpc: Rpc, api: Api, fields: requests.Body, caller: Caller) -> Call:
    """Admit a translated request as HTTP admits its own. Raises `RequestError`."""
    body = orjson.dumps(fields)
    if len(body) > gateway.limits.max_body_bytes:
        raise RequestError(
            f"the request has more than {gateway.limits.max_body_bytes} bytes",
            code="request_too_large",
        )
    return gateway.admit(
        api, PATHS[api], rpc.headers, body, caller, request_id=rpc.request_id, fields=fields
    )


async def _send_initial_metadata(rpc: Rpc, flight: Flight, *, stream: bool = False) -> None:
    """What is known before the answer; a unary call without a receipt saves the packet (60 µs)."""
    if not stream and not flight.call.explain:
        return
    metadata = [("x-request-id", rpc.request_id)]
    if flight.call.explain:
        metadata.append((EXPLAIN, explained(flight)))
    await rpc.context.send_initial_metadata(tuple(metadata))


class Pieces:
    """Events into responses: one for each read, which is one for each token unless they queue up.

    A message costs the server some 40 µs and a merged event 8, so a client that falls behind is
    served more cheaply. Deltas of one response stand in the order in which they were made.
    """

    def __init__(self) -> None:
        self.error: CallError | None = None
        self._events = EventReader()

    def feed(self, payload: bytes) -> inference_pb2.GenerateResponse | None:
        """What `payload` completes, if anything. An error inside the stream is left in `error`."""
        merged: inference_pb2.GenerateResponse | None = None
        for event in self._events.feed(payload):
            if event == _DONE:
                continue
            members = responses.parse(event)
            self.error = event_error(members)
            if self.error is not None:
                break
            response = responses.generated(members)
            if merged is None:
                merged = response
            else:
                merged.MergeFrom(response)
        return merged
