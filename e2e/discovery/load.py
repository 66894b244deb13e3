"""Requests, one after the other for each client, and where each went."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request

MODEL = "llama-3.1-8b"
# Without it a client takes a whole core from what it tests: four make some 200 requests a second.
PAUSE_S = 0.01


class Load:
    """Requests until it is stopped; which endpoint had each, and failures.

    Each client sends its next one a moment after it has its answer.
    """

    def __init__(self, origin: str, clients: int = 1) -> None:
        self.url = f"{origin}/v1/chat/completions"
        self.answers: list[tuple[float, str]] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: int) -> None:
        number = 0
        while not self._stop.wait(PAUSE_S):
            number += 1
            self._ask(f"question {number} of {client}")

    def _ask(self, text: str) -> None:
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 1,
        }
        headers = {"content-type": "application/json", "x-cardan-explain": "1"}
        sent_at = time.monotonic()
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                receipt = json.loads(answer.headers["x-cardan-explain"])
                self.answers.append((sent_at, receipt["endpoint"]))
        except (urllib.error.URLError, OSError) as error:
            self.failures.append(str(error))

    def since(self, at: float) -> set[str]:
        """Who had the requests that were sent after a moment."""
        return {endpoint for sent_at, endpoint in self.answers if sent_at > at}
