"""`cardan explain` tells why, waits while there is hope, and else says what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
from cardan_cli.explain import main

from tests.fakes.ports import held_port
from tests.system.processes import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.processes import Processes

pytestmark = pytest.mark.slow
KEY = "sk-tenant-0123456789"


def explain(*argv: str) -> subprocess.CompletedProcess[str]:
    """The command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "cardan_cli", "explain", *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_names_the_endpoint_the_reason_and_both_predictions(procs: Processes) -> None:
    engines = procs.engines(2, "--time-scale", "0.1")
    router = procs.router(engines)
    ended = explain(router.url)
    assert ended.returncode == 0, ended.stderr
    lines = dict(line.split(maxsplit=1) for line in ended.stdout.splitlines() if "by" not in line)
    assert ended.stdout.startswith("answered by  endpoint-")
    assert ended.stdout.count("\ncandidate ") == 2
    assert lines["prompt"].endswith("0 believed cached, 0 cached")
    receipt = json.loads(explain(router.url, "--json", "--prompt", "another").stdout)
    assert receipt["endpoint"].startswith("endpoint-")
    wrong = explain(router.url, "--model", "no-such")
    assert wrong.returncode == 1
    assert "404 Not Found: the model 'no-such' does not exist" in wrong.stderr


def test_it_waits_for_a_gateway_that_is_not_there_yet(procs: Processes) -> None:
    engine = procs.engines(1, "--time-scale", "0.1")[0]
    with held_port() as port:
        where = f"127.0.0.1:{port}"
        waiting = subprocess.Popen(
            [sys.executable, "-m", "cardan_cli", "explain", f"http://{where}", "--wait", "600"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert waiting.stderr is not None
            assert waiting.stderr.readline().startswith("cardan explain: waiting: ")
            child = procs.start("router", "router", "--listen", where, "--endpoint", engine.url)
            until(lambda: waiting.poll() is not None, f"an answer: {child.tail()}")
            assert waiting.returncode == 0
        finally:
            waiting.kill()
            waiting.communicate()


def test_a_key_comes_from_a_file_and_without_one_the_refusal_is_told_at_once(
    procs: Processes, tmp_path: Path
) -> None:
    engine = procs.engines(1, "--time-scale", "0.1")[0]
    hashed = subprocess.run(
        [sys.executable, "-m", "cardan_cli", "router", "--hash-key"],
        input=KEY,
        capture_output=True,
        text=True,
        check=True,
    )
    keys, key = tmp_path / "keys", tmp_path / "key"
    keys.write_text(f"alice:{hashed.stdout}")
    key.write_text(KEY + "\n")
    router = procs.router([engine], "--api-keys", str(keys))
    assert explain(router.url, "--api-key-file", str(key)).returncode == 0
    refused = explain(router.url, "--wait", "30")
    assert refused.returncode == 1
    assert "401" in refused.stderr


@pytest.mark.parametrize("words", [f"{KEY}\n{KEY}\n", f"{KEY} x", "schlüssel", ""])
def test_a_file_that_holds_no_key_is_said_so_and_not_repeated(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    key.write_text(words)
    assert main(["http://127.0.0.1:1", "--api-key-file", str(key)]) == 1
    told = capsys.readouterr().err
    assert told == f"cardan explain: {key}: one line of printable ASCII is expected\n"


CHAT = b'{"choices":[{"message":{"content":"hi"}}]}'


@pytest.mark.parametrize(
    ("models", "chat", "receipt"),
    [
        (b"[]", b"", ""),
        (b'{"data":null}', b"", ""),
        (b'{"data":[{}]}', b"", ""),
        (b'{"data":[{"id":"m"}]}', b'{"choices":[]}', "{}"),
        (b'{"data":[{"id":"m"}]}', CHAT, "not JSON"),
        (b'{"data":[{"id":"m"}]}', CHAT, '{"endpoint":"a"}'),
        (b'{"data":[{"id":"m"}]}', CHAT, "[1]"),
    ],
)
def test_what_is_no_gateway_is_said_so(
    models: bytes, chat: bytes, receipt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(models)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.answer(chat)

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("x-cardan-explain", receipt)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests are silent."""

    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        status = main([f"http://127.0.0.1:{server.server_port}"])
        server.shutdown()
    assert status == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host", "http://", "http://host:x"])
def test_what_is_no_url_is_said_so(url: str) -> None:
    ended = explain(url)
    assert ended.returncode == 1
    assert "is not http://HOST:PORT" in ended.stderr


def test_waiting_ends_in_time_and_tells_the_reason_not_the_timeout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It refuses once, then takes connections and says no word."""

    class Reluctant(BaseHTTPRequestHandler):
        asked = 0

        def do_GET(self) -> None:
            Reluctant.asked += 1
            if Reluctant.asked == 1:
                self.send_error(503, "no endpoint is known")
            else:
                done.wait(20)

        def log_message(self, *_: object) -> None:
            """Tests are silent."""

    done = threading.Event()
    with HTTPServer(("127.0.0.1", 0), Reluctant) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        status = main([f"http://127.0.0.1:{server.server_port}", "--wait", "1.5"])
        done.set()
        server.shutdown()
    assert status == 1
    why = "/v1/models: 503 no endpoint is known: a page of HTML; is that a gateway?"
    assert capsys.readouterr().err == (
        f"cardan explain: waiting: {why}\ncardan explain: gave up after 1.5 s: {why}\n"
    )


def test_who_serves_no_model_yet_is_said_to_have_a_log_and_a_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"data":[]}')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        status = main([f"http://127.0.0.1:{server.server_port}"])
        server.shutdown()
    assert status == 1
    told = capsys.readouterr().err
    assert "serves no model yet" in told
    assert "/ui" in told


def test_nobody_there_is_told_with_the_port(capsys: pytest.CaptureFixture[str]) -> None:
    with held_port() as port:
        assert main([f"http://127.0.0.1:{port}"]) == 1
    assert capsys.readouterr().err.startswith(f"cardan explain: 127.0.0.1:{port}: [Errno 111]")
