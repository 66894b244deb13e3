"""Real processes for tests: simulated engines and gateways, started by the command a user types.

Output goes to a file, so a chatty child never blocks on a full pipe, and a child that dies shows
its last lines in the failure.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.fakes.waiting import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LISTENING = re.compile(r"listening on (http://[0-9.]+:\d+)")
GRPC_LISTENING = re.compile(r"listening on grpc://([0-9.]+:\d+)")
# Starting a Python process with its imports takes 0.5 s alone and several seconds beside seven
# others on two cores.
START_DEADLINE_S = 45.0


def until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition, looking twenty times a second; fails the test at the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s} s in vain: {what}")
        time.sleep(0.05)


class Child:
    """One process of ours and the URL it listens on."""

    def __init__(self, name: str, argv: list[str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cardan_cli", *argv], stdout=out, stderr=subprocess.STDOUT
            )
        self._url: str | None = None

    def output(self) -> str:
        """Everything it has printed."""
        return self.log.read_text(errors="replace")

    def _find(self, pattern: re.Pattern[str]) -> str:
        found: list[str] = []

        def look() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(
                    f"{self.name} ended with {self.process.returncode}: {self.tail()}"
                )
            match = pattern.search(self.output())
            if match:
                found.append(match.group(1))
            return bool(found)

        until(look, f"{self.name} to listen; it printed: {self.tail()}", START_DEADLINE_S)
        return found[0]

    @property
    def url(self) -> str:
        """Its HTTP origin; waits until it has said so."""
        if self._url is None:
            self._url = self._find(LISTENING)
        return self._url

    @property
    def grpc_target(self) -> str:
        """HOST:PORT of its gRPC listener."""
        return self._find(GRPC_LISTENING)

    def tail(self) -> str:
        """Its last lines, for a failure message."""
        return "\n".join(self.output().splitlines()[-15:])

    def kill(self) -> None:
        """SIGKILL, at once."""
        self.process.kill()
        self.process.wait()

    def terminate(self, deadline_s: float = DEADLINE_S) -> int:
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(deadline_s)


def get_json(url: str, timeout_s: float = DEADLINE_S) -> Any:
    """GET a JSON document."""
    with urllib.request.urlopen(url, timeout=timeout_s) as answer:
        return json.load(answer)


def status_of(url: str) -> int:
    """The status of a GET; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


class Processes:
    """Starts engines and gateways, and ends all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: list[Child] = []

    def start(self, name: str, *argv: str) -> Child:
        """Run `cardan ARGV…`."""
        child = Child(name, list(argv), self.folder / f"{name}-{len(self.children)}.log")
        self.children.append(child)
        return child

    def engines(self, count: int, *options: str) -> list[Child]:
        """`count` simulated engines, started side by side and all listening."""
        children = [
            self.start(f"engine{i}", "engine", "--listen", "127.0.0.1:0", *options)
            for i in range(count)
        ]
        for child in children:
            child.url  # noqa: B018 - waits for it
        return children

    def router(
        self, engines: list[Child] | list[str], *options: str, joined: int | None = None
    ) -> Child:
        """A gateway in front of `engines`, ready to serve all of them, or at least `joined`.

        Of several workers at least one is ready, and the first has told of those that joined.
        """
        urls = [engine if isinstance(engine, str) else engine.url for engine in engines]
        endpoints = [word for url in urls for word in ("--endpoint", url)]
        child = self.start("router", "router", "--listen", "127.0.0.1:0", *endpoints, *options)
        wanted = len(urls) if joined is None else joined
        # Ready comes after seconds even if not all have answered; then whoever has not is told of.
        until(
            lambda: (
                status_of(child.url + "/readyz") == 200
                and child.output().count(" joined: ") >= wanted
            ),
            f"the gateway to be ready: {child.tail()}",
            START_DEADLINE_S,
        )
        return child

    def stop(self) -> None:
        """End every child that still runs."""
        for child in self.children:
            if child.process.poll() is None:
                child.process.kill()
        for child in self.children:
            child.process.wait()


@contextlib.contextmanager
def processes(folder: Path) -> Iterator[Processes]:
    """A scope after which no child of the test is left."""
    group = Processes(folder)
    try:
        yield group
    finally:
        group.stop()
