"""A gateway that was told to go serves on for a while, as a process: who still comes is served, by
HTTP or gRPC, and told to go elsewhere, and the process ends when all have gone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import urllib.parse
from typing import TYPE_CHECKING

import grpc
import pytest
from cardan_router.pb.cardan.v1 import inference_pb2, inference_pb2_grpc, prompt_pb2

from tests.fakes.waiting import DEADLINE_S
from tests.system.processes import status_of, until

if TYPE_CHECKING:
    from tests.system.processes import Child, Processes

pytestmark = pytest.mark.slow
MODEL = "llama-3.1-8b"
# Longer than any test waits.
FOR_EVER_S = 600
SHORTLY_S = 0.3
BODY = json.dumps({"model": MODEL, "prompt": "x", "max_tokens": 2})


def started(procs: Processes, linger_s: float, *options: str) -> Child:
    """A gateway that lingers for so long, in front of one engine."""
    engines = procs.engines(1, "--model", MODEL, "--time-scale", "0.2")
    return procs.router(engines, "--set", f"shutdown.linger_s={linger_s}", *options)


def told_to_go(router: Child) -> None:
    """SIGTERM, heard by all workers: of ten connections each gets some."""
    router.process.send_signal(signal.SIGTERM)
    ready = f"{router.url}/readyz"
    until(lambda: all(status_of(ready) == 503 for _ in range(10)), "readiness to fall")


def connection(router: Child) -> http.client.HTTPConnection:
    """A connection that is kept between requests."""
    return http.client.HTTPConnection(urllib.parse.urlsplit(router.url).netloc, timeout=DEADLINE_S)


def ask(client: http.client.HTTPConnection) -> tuple[int, str | None]:
    """A request's status, and what its answer says about the connection."""
    client.request("POST", "/v1/completions", BODY, {"content-type": "application/json"})
    with client.getresponse() as answer:
        answer.read()
        return answer.status, answer.getheader("connection")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_after_sigterm_it_is_not_ready_and_serves_on(procs: Processes, workers: str) -> None:
    router = started(procs, FOR_EVER_S, "--workers", workers)
    with contextlib.closing(connection(router)) as kept:
        assert ask(kept) == (200, None)
        told_to_go(router)
        assert ask(kept) == (200, "close")
    with contextlib.closing(connection(router)) as fresh:
        assert ask(fresh) == (200, "close")
    router.process.send_signal(signal.SIGTERM)  # a second one has no patience
    assert router.process.wait(DEADLINE_S) == 128 + signal.SIGTERM


@pytest.mark.parametrize("workers", ["1", "2"])
def test_when_all_have_gone_it_ends_in_peace(procs: Processes, workers: str) -> None:
    router = started(procs, SHORTLY_S, "--workers", workers)
    with contextlib.closing(connection(router)) as kept:
        assert ask(kept) == (200, None)
        router.process.send_signal(signal.SIGTERM)
    assert router.process.wait(DEADLINE_S) == 0


def test_calls_by_grpc_are_served_too(procs: Processes) -> None:
    router = started(procs, FOR_EVER_S, "--grpc", "127.0.0.1:0")
    with grpc.insecure_channel(router.grpc_target) as channel:
        inference = inference_pb2_grpc.InferenceStub(channel)
        told_to_go(router)
        request = inference_pb2.GenerateRequest(model=MODEL, text="x")
        assert inference.GenerateUnary(request, timeout=DEADLINE_S).choices


def test_an_interrupt_does_not_linger(procs: Processes) -> None:
    router = started(procs, FOR_EVER_S)
    router.process.send_signal(signal.SIGINT)
    assert router.process.wait(DEADLINE_S) == 0


def outcomes(router: Child) -> list[str]:
    """What the access log says of all requests."""
    lines = [line for line in router.output().splitlines() if line.startswith('{"')]
    return [entry["outcome"] for entry in map(json.loads, lines)]


# Thirty seconds of an answer.
LONG = 20_000
SOON = ("--set", "shutdown.grace_s=0.7")


def test_a_stream_that_outlives_linger_and_grace_is_told_so_and_booked_as_cut(
    procs: Processes,
) -> None:
    router = started(procs, SHORTLY_S, *SOON)
    body = json.dumps({"model": MODEL, "prompt": "x", "max_tokens": LONG, "stream": True})
    with contextlib.closing(connection(router)) as client:
        client.request("POST", "/v1/completions", body, {"content-type": "application/json"})
        answer = client.getresponse()
        answer.readline()
        router.process.send_signal(signal.SIGTERM)
        told = answer.read()  # to the end of a whole answer, or it raises
    assert b"shutting_down" in told.splitlines()[-2]
    assert router.process.wait(DEADLINE_S) == 0
    assert outcomes(router) == ["cut"]
    assert "have been cut" in router.output()


def test_a_call_by_grpc_that_outlives_them_too(procs: Processes) -> None:
    router = started(procs, SHORTLY_S, *SOON, "--grpc", "127.0.0.1:0")
    with grpc.insecure_channel(router.grpc_target) as channel:
        inference = inference_pb2_grpc.InferenceStub(channel)
        sampling = prompt_pb2.Sampling(max_tokens=LONG)
        request = inference_pb2.GenerateRequest(model=MODEL, text="x", sampling=sampling)
        call = inference.Generate(request, timeout=DEADLINE_S)
        next(iter(call))
        router.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as raised:
            list(call)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "shutting down" in str(raised.value.details())
    assert router.process.wait(DEADLINE_S) == 0
    assert outcomes(router) == ["cut"]
    assert "have been cut" in router.output()
