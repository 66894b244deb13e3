"""A fleet's series: as its status, no longer than it, and in a form that others can scale by."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml
from cardan.scaling.observation import Freshness
from cardan_controller.crds.status import Condition, FleetStatus, InputHealth, PoolStatus, Truth
from cardan_controller.telemetry import Telemetry
from prometheus_client.exposition import generate_latest

from tests.controller.scene import Scene
from tests.dashboards import live
from tests.dashboards.conftest import program

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/how-to/operate-fleets.md"
MAIN = PoolStatus(name="main", current=2, desired=5, ready=1, pending=1)
SPARE = PoolStatus(name="spare", current=1, desired=3, ready=1)


def condition(type_: str, truth: Truth, reason: str = "Told") -> Condition:
    """One of a status."""
    return Condition(
        type=type_, status=truth, reason=reason, last_transition_time="2026-01-01T00:00:00Z"
    )


def status(*pools: PoolStatus, **more: Any) -> FleetStatus:
    """A fleet's."""
    return FleetStatus(pools=pools or (MAIN, SPARE), **more)


def series(telemetry: Telemetry) -> dict[str, float]:
    """Those of fleets, by their names and labels as they are served."""
    page = generate_latest(telemetry.registry).decode()
    rows = [row.rpartition(" ") for row in page.splitlines() if row.startswith("cardan_fleet_")]
    return {name: float(value) for name, _, value in rows}


def replicas(pool: str, which: str, fleet: str = "llama") -> str:
    """The name of one series."""
    labels = f'fleet="{fleet}",fleet_namespace="llm",pool="{pool}",which="{which}"'
    return f"cardan_fleet_replicas{{{labels}}}"


def test_every_pool_has_its_counts() -> None:
    telemetry = Telemetry()
    telemetry.told("llm", "llama", status())
    found = series(telemetry)
    counts = {"current": 2, "desired": 5, "ready": 1, "pending": 1, "draining": 0}
    assert {which: found[replicas("main", which)] for which in counts} == counts


@pytest.mark.parametrize(
    ("pools", "conditions", "left"),
    [
        ((MAIN, msgspec.structs.replace(SPARE, reason="TargetError")), (), ["main"]),
        (
            (MAIN, msgspec.structs.replace(SPARE, reason="Paused")),
            (condition("AbleToScale", Truth.FALSE, "TargetError"),),
            ["main"],
        ),
        ((MAIN, SPARE), (condition("SpecValid", Truth.FALSE, "Invalid"),), []),
        ((MAIN, SPARE), (condition("AbleToScale", Truth.TRUE),), ["main", "spare"]),
    ],
    ids=["no target", "no target, and paused", "no specification", "all is well"],
)
def test_what_nobody_can_decide_is_not_told_as_a_decision(
    pools: tuple[PoolStatus, ...], conditions: tuple[Condition, ...], left: list[str]
) -> None:
    telemetry = Telemetry()
    telemetry.told("llm", "llama", status())
    telemetry.told("llm", "llama", status(*pools, conditions=conditions))
    found = series(telemetry)
    assert [pool for pool in ("main", "spare") if replicas(pool, "desired") in found] == left
    assert found[replicas("spare", "current")] == 1


def test_what_a_fleet_has_no_more_has_no_series_and_other_fleets_keep_theirs() -> None:
    telemetry = Telemetry()
    inputs = tuple(InputHealth(input=name, freshness=Freshness.FRESH) for name in ("held", "jobs"))
    telemetry.told("llm", "phi", status(MAIN))
    telemetry.told("llm", "llama", status(metrics=inputs))
    telemetry.told("llm", "llama", status(MAIN, metrics=inputs[:1]))
    text = "\n".join(series(telemetry))
    assert "spare" not in text
    assert "jobs" not in text
    assert 'input="held"' in text
    telemetry.gone("llm", "llama")
    assert all('fleet="phi"' in name for name in series(telemetry))
    telemetry.gone("llm", "llama")


async def test_a_specification_that_cannot_be_decided_by_is_seen_in_its_series() -> None:
    scene = Scene()
    scene.fleet()
    scene.load(5, 900)
    await scene.tick()
    valid = 'cardan_fleet_condition{fleet="llama",fleet_namespace="n",type="SpecValid"}'
    desired = replicas("main", "desired").replace("llm", "n")
    assert series(scene.telemetry)[valid] == 1
    assert desired in series(scene.telemetry)
    scene.fleet(model=3)
    await scene.tick()
    assert series(scene.telemetry)[valid] == 0
    assert desired not in series(scene.telemetry)


def rule() -> dict[str, Any]:
    """The adapter's rule, as the guide gives it."""
    text = GUIDE.read_text()
    (block,) = re.findall(r"```yaml\n# prometheus-adapter.*?\n(.*?)```", text, re.DOTALL)
    (found,) = yaml.safe_load(block)
    assert isinstance(found, dict)
    return found


def expanded(namespace: str, **labels: str) -> str:
    """What the adapter asks for an autoscaler of that namespace that selects these labels."""
    found = rule()
    ((label, resource),) = found["resources"]["overrides"].items()
    assert resource == {"resource": "namespace"}
    matchers = ",".join(f'{name}="{value}"' for name, value in {label: namespace, **labels}.items())
    name = found["seriesQuery"].partition("{")[0]
    query: str = found["metricsQuery"]
    return query.replace("<<.Series>>", name).replace("<<.LabelMatchers>>", matchers)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Prometheus]:
    """One that has scraped the operators of two fleets."""
    telemetry = Telemetry()
    telemetry.told("llm", "llama", status())
    telemetry.told("other", "llama", status(msgspec.structs.replace(MAIN, desired=9)))
    rows = generate_latest(telemetry.registry).decode().splitlines()
    folder = tmp_path_factory.mktemp("prometheus")
    lines = [f"{row} 1800000000" for row in rows if row.startswith("cardan_fleet_replicas{")]
    (folder / "page").write_text("\n".join([*lines, "# EOF", ""]))
    make = ["tsdb", "create-blocks-from", "openmetrics"]
    subprocess.run([program("promtool"), *make, folder / "page", folder / "data"], check=True)
    with live.running(program("prometheus"), folder, live.config([])) as running:
        yield running


def test_an_adapter_by_the_guides_rule_serves_what_was_decided(
    prometheus: live.Prometheus,
) -> None:
    def asked(query: str) -> list[float]:
        found = prometheus.ask("query", query=query, time="1800000010")["result"]
        return [float(one["value"][1]) for one in found]

    assert asked(expanded("llm", fleet="llama", pool="main")) == [5.0]
    assert asked(expanded("llm", fleet="llama", pool="spare")) == [3.0]
    assert asked(expanded("other", fleet="llama", pool="main")) == [9.0]
    assert asked(expanded("llm", fleet="phi", pool="main")) == []
    discovered = prometheus.ask(
        "series", **{"match[]": rule()["seriesQuery"]}, start="1799999000", end="1800000100"
    )
    assert len(discovered) == 3
