"""Every query of the dashboards and every alert, answered by a real Prometheus that scrapes a real
gateway under traffic in which something goes wrong, and the page of an operator.
"""

from __future__ import annotations

import asyncio
import html
import re
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import pytest
import yaml

from tests.dashboards.live import EVERYTHING, Answer, Prometheus, config, now_s, running
from tests.dashboards.operators import operator
from tests.system.load import Stream, chat, stream_chat
from tests.system.processes import Child, processes, until
from tools.dashboards.fleet import FLEET_DASHBOARD
from tools.dashboards.grafana import document
from tools.dashboards.preview import page
from tools.dashboards.serving import GLANCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

ENGINE = ("--model", "tiny", "--gpu", "cpu", "--time-scale", "0.2", "--served-model-name", "m")
# Three prefixes of several blocks, so that caches and the policy have something to hold on to.
PREFIXES = [f"{n} " + "lorem ipsum dolor " * 400 for n in range(3)]
PROMPT_TOKENS = re.compile(r"^vllm:prompt_tokens_total(?:\{.*?\})? (\S+)$", re.MULTILINE)
USAGE = {"stream_options": {"include_usage": True}}
# Prometheus extrapolates a rate to the beginning of its window, by 1.1 times the time between two
# samples, but not to where its counter was less than nothing: of two that began together one may
# be stretched and the other not. From two samples, where scrapes are late, that is 1.1 in one.
OVERSHOOT = 1.1
# Panels that are empty while all is well, but not after what happens here.
PROVOKED = {
    "Tokens",
    "Refused at the door, by code",
    "Retries, by reason",
    "Failed dispatches, by endpoint",
    "Probes and scrapes that failed",
    "Waiting in the engine",
    "KV cache in use",
    "Age of engines' metrics",
    "Prompt tokens found in the cache",
}


async def busiest(session: aiohttp.ClientSession, engines: list[Child]) -> Child:
    """The engine that has computed most: one that is left alone has nothing to fail at."""
    tokens = []
    for engine in engines:
        async with session.get(f"{engine.url}/metrics") as answer:
            counts = PROMPT_TOKENS.findall(await answer.text())
        tokens.append(sum(float(count) for count in counts))
    assert max(tokens) > 0
    return engines[tokens.index(max(tokens))]


async def traffic(url: str, rounds: int, engines: list[Child]) -> list[Stream]:
    """Waves of streams; one engine refuses after a while and is killed later; each time
    somebody asks for the wrong model, or for nothing that can be read.
    """
    seen: list[Stream] = []
    doomed = engines[0]
    async with aiohttp.ClientSession() as session:
        for number in range(rounds):
            if number == rounds // 4:  # sick, but its health probe does not know
                doomed = await busiest(session, engines)
                sick = {"error_rate": 1, "error_status": 503}
                (await session.put(f"{doomed.url}/faults", json=sick)).release()
            if number == rounds // 2:
                doomed.kill()
            wave = [
                stream_chat(session, url, chat("m", f"{prefix} {number}", 20) | USAGE)
                for prefix in PREFIXES
            ]
            wrong = stream_chat(session, url, chat("no-such-model", "hello", 3))
            seen += await asyncio.gather(*wave, wrong)
            async with session.post(f"{url}/v1/chat/completions", data=b"{") as refused:
                assert refused.status == 400
            await asyncio.sleep(0.5)
    return seen


class Scene(NamedTuple):
    """What is left to look at when the traffic is over."""

    prometheus: Prometheus
    start_s: float
    end_s: float

    def answers(self) -> list[Answer]:
        return self.prometheus.dashboards(self.start_s, self.end_s, EVERYTHING)


def watched(gateway: str, operator: str) -> str:
    """What to scrape: a gateway, and an operator that says of itself that it is another pod."""
    document = yaml.safe_load(config([gateway], namespace="prod", pod="gateway-0"))
    other = yaml.safe_load(config([operator], namespace="prod", pod="operator-0"))
    (job,), (more,) = document["scrape_configs"], other["scrape_configs"]
    job["static_configs"] += more["static_configs"]
    return yaml.safe_dump(document)


@pytest.fixture(scope="module")
def scene(prometheus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Three engines, a gateway of two workers, traffic for ten seconds, all of it scraped."""
    folder = tmp_path_factory.mktemp("live")
    with processes(folder) as procs:
        engines = procs.engines(3, *ENGINE)
        gateway = procs.router(engines, "--workers", "2", "--set", "scrape.when=always")
        with (
            operator() as page,
            running(prometheus, folder, watched(gateway.url, page)) as server,
        ):
            until(lambda: len(server.healthy_targets()) == 2, "both to be scraped")
            start_s = now_s()
            seen = asyncio.run(traffic(gateway.url, 20, engines))
            assert sum(stream.complete for stream in seen) >= 40, seen[:5]
            yield Scene(server, start_s, now_s())


def test_every_panel_has_something_to_show(scene: Scene) -> None:
    answers = scene.answers()
    assert len(answers) > 40
    empty = [answer.where for answer in answers if not answer.drawn and not answer.quiet]
    assert not empty


def test_what_went_wrong_can_be_seen(scene: Scene) -> None:
    drawn = {answer.where.partition(": ")[2][:-2] for answer in scene.answers() if answer.drawn}
    assert drawn >= PROVOKED


def test_shares_are_shares(scene: Scene) -> None:
    shares = {
        answer.where: [value for one in answer.series for value in one.values]
        for answer in scene.answers()
        # What is predicted is an estimate, and may be more than there is.
        if any(word in answer.where for word in ("in time", "Not served", "found in the cache B"))
    }
    assert len(shares) == 4
    for where, values in shares.items():
        assert 0 <= min(values) <= max(values) <= 1 + OVERSHOOT, (where, values)


def test_variables_offer_what_there_is(scene: Scene) -> None:
    offered = scene.prometheus.choices(EVERYTHING)
    assert offered["namespace"] == ["prod"]
    assert offered["job"] == ["cardan"]
    assert set(offered["model"]) == {"m", "other"}
    assert offered["fleet"] == ["llama"]


def test_the_preview_draws_every_panel(scene: Scene) -> None:
    drawn = page(document(FLEET_DASHBOARD), scene.prometheus.raw(scene.start_s, scene.end_s), "4s")
    panels = [panel for row in FLEET_DASHBOARD.rows for panel in row.panels]
    assert all(f"<h3>{html.escape(panel.title)}</h3>" in drawn for panel in panels)
    assert drawn.count("<section") == len(panels)
    assert drawn.count("<svg") >= len(panels) - len(GLANCE.panels) - 5  # where no Kubernetes is


def test_alerts_are_evaluated_without_error(scene: Scene) -> None:
    def evaluated() -> bool:
        groups = scene.prometheus.ask("rules")["groups"]
        return all(rule["health"] == "ok" for group in groups for rule in group["rules"])

    until(evaluated, "every rule to be evaluated well")
    groups = scene.prometheus.ask("rules")["groups"]
    assert sum(len(group["rules"]) for group in groups) >= 15
