"""A gateway as a process: how it starts, refuses to start, and ends."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.fakes.waiting import DEADLINE_S
from tests.router.asking import KEY, MODEL, metric
from tests.system.processes import status_of, until

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.processes import Child, Processes

pytestmark = pytest.mark.slow


def run(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """`cardan router ARGV…` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "cardan_cli", "router", *argv],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_taken_port_is_one_clear_sentence_and_status_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        for options in (["--listen", where], ["--listen", where, "--workers", "2"]):
            ended = run("--endpoint", "http://127.0.0.1:1", *options)
            assert ended.returncode == 1
            assert ended.stderr.splitlines()[-1] == (
                f"cardan router: {where} is taken by another process"
            )


def test_a_missing_extra_is_a_sentence_that_can_be_followed() -> None:
    for command, extra, module in (("router", "router", "yaml"), ("replay", "sim", "aiohttp")):
        script = (
            f"import sys; sys.modules[{module!r}] = None; import cardan_cli;"
            f" sys.exit(cardan_cli.main([{command!r}, '--help']))"
        )
        ended = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 2
        assert ended.stderr == (
            f"cardan {command}: {module} is not installed; in the checkout: pip install"
            f" '.[{extra}]'\n"
        )


def test_mistakes_are_told_before_anything_starts(tmp_path: Path) -> None:
    none = str(tmp_path / "none")
    for argv, words in (
        ([], "no endpoints"),
        (["--endpoint", "http://h:1", "--api-keys", none], "No such file"),
        (["--endpoint", "http://h:1", "--tls-cert", none, "--tls-key", none], "tls.cert: "),
        (["--discovery-file", none], "No such file"),
        (["--endpoint", "http://h:1", "--policy", "dualmp"], "dualmp"),
    ):
        ended = run(*argv)
        assert ended.returncode == 2
        assert words in ended.stderr
        assert ended.stderr.startswith("cardan router: ")
        assert "Traceback" not in ended.stderr


def test_two_listeners_on_one_port_are_a_mistake_that_names_both() -> None:
    for other in ("--admin", "--grpc"):
        ended = run("--endpoint", "http://h:1", "--listen", "127.0.0.1:9", other, "127.0.0.1:9")
        assert ended.returncode == 2
        assert f"listen (127.0.0.1:9) and {other[2:]} (127.0.0.1:9)" in ended.stderr


def test_a_taken_grpc_port_is_the_same_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        argv = ("--endpoint", "http://h:1", "--listen", "127.0.0.1:0", "--grpc", where)
        for options in ((), ("--workers", "2")):
            ended = run(*argv, *options)
            assert ended.returncode == 1
            *before, last = ended.stderr.splitlines()
            assert last == f"cardan router: {where} is taken by another process"
            assert all(" INFO " in line for line in before)  # nothing of gRPC's own


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_json_log_is_json_from_the_first_line_to_the_last(
    procs: Processes, engines: list[str], workers: str
) -> None:
    options = ("--log-format", "json", "--access-log", "off", "--workers", workers)
    router = procs.router(engines, "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", *options)
    found = re.search(r"page at (http://\S+)/ui", router.output())
    assert found
    ready = r'cardan_ready(?:\{worker="[01]"\})?'
    until(lambda: metric(found[1], ready) == int(workers), "all workers to be ready")
    assert router.terminate() == 0
    lines = [json.loads(line) for line in router.output().splitlines()]
    told = [line["message"] for line in lines]
    assert f"listening on {router.url}" in told
    assert sum("joined: vllm" in message for message in told) == 2
    stopping = [line for line in lines if line["message"].startswith("stopping")]
    assert [line.get("worker") for line in sorted(stopping, key=lambda line: line.get("worker", 0))
            ] == ([None] if workers == "1" else [0, 1])  # fmt: skip
    ended = run("--endpoint", "http://h:1", "--log-format", "json", "--api-keys", "/none")
    assert json.loads(ended.stderr)["message"] == "cardan router: /none: No such file or directory"


def test_a_key_is_hashed_from_standard_input() -> None:
    assert run("--hash-key", stdin=KEY + "\n").stdout.strip() == (
        hashlib.sha256(KEY.encode()).hexdigest()
    )
    assert run("--hash-key", stdin="short\n").returncode == 2


@contextlib.contextmanager
def stream(url: str, tokens: int) -> Iterator[http.client.HTTPResponse]:
    """A stream that has begun."""
    body = {"model": MODEL, "prompt": "x", "max_tokens": tokens, "stream": True}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        answer.readline()
        yield answer


@contextlib.contextmanager
def standing_still(children: list[Child]) -> Iterator[None]:
    """Engines that do nothing for a while: what they stream cannot end meanwhile."""
    for child in children:
        child.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for child in children:
            child.process.send_signal(signal.SIGCONT)


def test_a_running_stream_ends_and_readiness_falls_at_once_on_sigterm(
    procs: Processes, engines: list[str], children: list[Child]
) -> None:
    router = procs.router(engines)
    with stream(router.url, 2000) as answer:
        with standing_still(children):
            router.process.send_signal(signal.SIGTERM)
            until(lambda: status_of(f"{router.url}/readyz") == 503, "readiness to fall")
        assert answer.read().endswith(b"data: [DONE]\n\n")
    assert router.process.wait(DEADLINE_S) == 0


def test_a_second_signal_ends_it_at_once(
    procs: Processes, engines: list[str], children: list[Child]
) -> None:
    router = procs.router(engines)
    with stream(router.url, 4000), standing_still(children):
        router.process.send_signal(signal.SIGTERM)
        until(lambda: "stopping" in router.output(), "the first signal to be heard")
        router.process.send_signal(signal.SIGTERM)
        assert router.process.wait(DEADLINE_S) == 128 + signal.SIGTERM
