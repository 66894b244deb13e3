"""Gateways that share nothing choose the same candidates for the same requests."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.load import chat

if TYPE_CHECKING:
    from tests.system.processes import Processes

MODEL = "llama-3.1-8b"
pytestmark = pytest.mark.slow


def receipt(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a chat and return its route receipt."""
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "x-cardan-explain": "1"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()
        found: dict[str, Any] = json.loads(answer.headers["x-cardan-explain"])
    return found


def test_two_gateways_name_the_same_candidates_for_every_prompt(procs: Processes) -> None:
    engines = procs.engines(5, "--engine", "vllm", "--model", MODEL, "--time-scale", "0.1")
    left = procs.router(engines)
    right = procs.router(list(reversed(engines)))
    spread = set()
    for i in range(24):
        body = chat(MODEL, f"document {i % 12}: " + f"word{i % 12} " * 900, 2)
        pair = [
            sorted(candidate["endpoint"] for candidate in receipt(url, body)["candidates"])
            for url in (left.url, right.url)
        ]
        assert pair[0] == pair[1]
        assert len(pair[0]) == 2
        spread.add(tuple(pair[0]))
    assert len(spread) >= 4  # the prompts are spread over several pairs
