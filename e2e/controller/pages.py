"""What an operator measures by: a gateway's page, or a Prometheus, as a test says they are."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from cardan_controller.metrics.asks import ASKS
from cardan_controller.metrics.promql import Windows, query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MODEL = "org/llama"
# Of the operators of these tests, in seconds.
SHORT_S = 2.0
LONG_S = 6.0
Answer = Mapping[tuple[str, ...], float | str]


class Page:
    """A gateway's page: counters that rise with the time, at rates that a test sets."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self.gauges: dict[str, float] = {"cardan_ready": 1.0}
        self._values: dict[str, float] = {}
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def text(self) -> bytes:
        """As it is now."""
        with self._lock:
            now = time.monotonic()
            for series, rate in self.rates.items():
                value = self._values.get(series, 0.0)
                self._values[series] = value + rate * (now - self._at)
            self._at = now
            rows = {**self._values, **self.gauges}
        return "".join(f"{series} {value}\n" for series, value in rows.items()).encode()

    def load(self, requests: float, uncached: float, output: float) -> None:
        """Demand, per second: requests, prompt tokens (none of them cached), generated tokens."""
        model = f'model="{MODEL}"'
        self.rates = {
            f'cardan_requests_total{{api="chat",{model},outcome="ok"}}': requests,
            f"cardan_prompt_tokens_total{{{model}}}": uncached,
            f"cardan_completion_tokens_total{{{model}}}": output,
        }

    def in_flight(self, **requests: float) -> None:
        """What runs on engines, by pod."""
        for pod, count in requests.items():
            self.gauges[f'cardan_endpoint_in_flight{{endpoint="{pod}"}}'] = count

    def held(self, requests: float) -> None:
        """Requests that wait for an endpoint."""
        self.gauges[f'cardan_held_requests{{model="{MODEL}"}}'] = requests


class Prometheus:
    """Answers queries by the name of their ask; an ask without an answer has no series."""

    def __init__(self, short_s: float = SHORT_S, long_s: float = LONG_S) -> None:
        self.answers: dict[str, Answer] = {}
        windows = Windows(short_s, long_s)
        self._names = {query(ask, windows): name for name, ask in ASKS.items()}
        self.external: dict[str, list[tuple[dict[str, str], float]]] = {}

    def reply(self, body: bytes) -> bytes:
        """To one query."""
        asked = parse_qs(body.decode())["query"][0]
        if asked in self.external:
            return self._vector(self.external[asked])
        return self.rendered(self.name_of(body))

    def name_of(self, body: bytes) -> str:
        """Of the ask that a query is."""
        return self._names[parse_qs(body.decode())["query"][0]]

    def rendered(self, name: str) -> bytes:
        """The answer to an ask."""
        labels = ("namespace", *ASKS[name].by)
        return self._vector(
            (dict(zip(labels, key, strict=True)), value)
            for key, value in self.answers.get(name, {}).items()
        )

    @staticmethod
    def _vector(series: Iterable[tuple[dict[str, str], float | str]]) -> bytes:
        result = [
            {"metric": labels, "value": [time.time(), str(value)]} for labels, value in series
        ]
        vector = {"resultType": "vector", "result": result}
        return json.dumps({"status": "success", "data": vector}).encode()


@contextlib.contextmanager
def served(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """Serve what `answer` makes of each request's body; the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answer(self.rfile.read(int(self.headers.get("content-length", 0))))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the base class's names

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
