"""Two real vLLM or two real SGLang servers behind a gateway.

The engines are installed and started by recipes that are not part of this project: a folder with
`vllm/install`, `vllm/serve`, `sglang/install` and `sglang/serve`, named by CARDAN_ENGINE_RECIPES or
found beside the checkout as `../shared`. Without it these tests are skipped with that reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.processes import Child, Processes, processes, status_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

ROOT = Path(__file__).parents[2]
MODEL = "tiny-llama"
# Measured 17 to 57 s for vLLM and 20 to 83 s for SGLang on two cores.
START_DEADLINE_S = 240.0


def recipes() -> Path:
    """The folder of recipes, or a skip."""
    folder = Path(os.environ.get("CARDAN_ENGINE_RECIPES", ROOT / "../shared")).resolve()
    if not (folder / "vllm/serve").exists():
        pytest.skip(f"no engine recipes at {folder}: set CARDAN_ENGINE_RECIPES")
    return folder


def cache() -> Path:
    """Where the engines' virtualenvs live: gigabytes that must outlast a checkout."""
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "cardan" / "engines"


@dataclass
class RealEngine:
    """One real engine process."""

    kind: str
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def ready_path(self) -> str:
        """The path that tells readiness in this dialect."""
        return "/ready" if self.kind == "sglang" else "/health"

    def stop(self) -> None:
        """SIGKILL the engine and all its children, which share its session."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
        self.process.wait()


def start(kind: str, port: int, folder: Path, *options: str) -> RealEngine:
    """Start one engine; it is its own process group."""
    recipe = recipes() / kind
    home = cache() / kind
    subprocess.run([str(recipe / "install"), str(home)], check=True)
    log = folder / f"{kind}-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(recipe / "serve"), str(home), str(port), *options],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return RealEngine(kind, f"http://127.0.0.1:{port}", process, log)


def await_ready(engine: RealEngine) -> None:
    """Wait for readiness and warm up: a fresh vLLM on CPU needs one longer prompt first."""

    def ready() -> bool:
        if engine.process.poll() is not None:
            raise AssertionError(engine.log.read_text(errors="replace")[-3000:])
        return status_of(engine.url + engine.ready_path) == 200

    until(ready, f"{engine.kind} at {engine.url}", START_DEADLINE_S)
    post(engine.url + "/v1/completions", {"model": MODEL, "prompt": "warm " * 100, "max_tokens": 2})


def post(
    url: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> tuple[dict[str, Any], Message]:
    """POST JSON, return (parsed answer, headers)."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json", **(headers or {})}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer), answer.headers


@dataclass
class RealFleet:
    """Two engines of a kind and the gateway in front of them."""

    engines: list[RealEngine]
    router: Child
    procs: Processes


@pytest.fixture(scope="module", params=["vllm", "sglang"])
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealFleet]:
    """A fleet of each kind in turn: four engines at once would not fit a small machine."""
    kind = str(request.param)
    folder = tmp_path_factory.mktemp(kind)
    # A small queue, so that a full one can be provoked.
    full = {
        "vllm": ("--max-num-queued-reqs", "4"),
        "sglang": ("--max-queued-requests", "4"),
    }[kind]
    engines = [start(kind, port, folder, *full) for port in (18101, 18102)]
    try:
        for engine in engines:
            await_ready(engine)
        with processes(folder) as procs:
            router = procs.router([e.url for e in engines], "--grpc", "127.0.0.1:0")
            yield RealFleet(engines, router, procs)
    finally:
        for engine in engines:
            engine.stop()
