"""A prefix moves to an engine that was made warm for it, from the outside: a gateway's process, an
API server with an overlay, and two simulated engines. Its first request there finds the prefix in
the cache.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.kube import fake_kube
from tests.router.asking import MODEL, metric, post, status
from tests.router.discovery.test_overlays import PATH, overlay
from tests.router.test_sleeping import becomes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.processes import Processes

pytestmark = pytest.mark.slow

SHARED = "what everybody is told before they ask " * 400  # 15,600 bytes: seven blocks and a half
ROUTABLE = rf'cardan_fleet_endpoints\{{model="{MODEL}",which="routable"\}}'
OK = r'cardan_prewarms_total\{result="ok"\}'


def ask(url: str, text: str) -> Any:
    """One chat under the shared prefix: the answer and its receipt."""
    messages = [{"role": "system", "content": SHARED}, {"role": "user", "content": text}]
    body = {"model": MODEL, "messages": messages, "max_tokens": 2}
    return post(f"{url}/v1/chat/completions", body)


async def test_the_first_request_after_the_move_finds_its_prefix_cached(
    procs: Processes, tmp_path: Path
) -> None:
    engines = procs.engines(2, "--model", MODEL, "--time-scale", "0.1")
    names = {child.url: f"e{number}" for number, child in enumerate(engines)}
    document = tmp_path / "cardan.yaml"
    document.write_text(
        "prewarm: {enabled: true}\npolicy: {type: dualmap, d: 1}\nendpoints:\n"
        + "".join(f"- {{url: '{url}', name: {name}}}\n" for url, name in names.items())
    )
    async with fake_kube() as kube:
        gateway = procs.start(
            "router",
            *("router", "--config", str(document), "--listen", "127.0.0.1:0"),
            *("--discovery-kubernetes-kind", "pods"),
            *("--discovery-kubernetes-selector", "app=vllm"),
            *("--discovery-kubernetes-kubeconfig", str(kube.kubeconfig(tmp_path))),
        )
        url = await asyncio.to_thread(lambda: gateway.url)
        await becomes(lambda: status(f"{url}/readyz") == 200, "it to be ready")
        await becomes(lambda: metric(url, ROUTABLE) == 2, "both engines")
        _, receipt = await asyncio.to_thread(ask, url, "first")
        key, old = receipt["key"], receipt["endpoint"]
        new = next(name for name in names.values() if name != old)
        kube.state(PATH).put(overlay("fleet", {MODEL: {"warm": {key: [new]}}}))
        kube.flush()
        numbers = itertools.count()

        def warms() -> bool:
            """Traffic goes on where it went."""
            _, receipt = ask(url, f"meanwhile {next(numbers)}")
            assert receipt["endpoint"] == old, "nothing goes there before the operator says so"
            return metric(url, OK) == 1

        await becomes(warms, "it to be warm")
        warmed = rf'cardan_key_warmed\{{model="{MODEL}",key="{key}",endpoint="{new}"\}}'
        assert await asyncio.to_thread(metric, url, warmed) == 1
        computed = await asyncio.to_thread(metric, url, "cardan_prewarm_tokens_total")
        kube.state(PATH).put(overlay("fleet", {MODEL: {"owners": {key: [new]}}}, 2))
        kube.flush()
        await becomes(lambda: metric(url, "cardan_overlay_generation") == 2, "the move")
        answer, receipt = await asyncio.to_thread(ask, url, "the first one there")
        assert receipt["endpoint"] == new, receipt
        usage = answer["usage"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        assert cached > 0.8 * usage["prompt_tokens"], usage
        assert computed == pytest.approx(cached, rel=0.1)
        await becomes(lambda: metric(url, warmed) == 0, "it to be over")
