"""Helm as the tests use it: render, lint, or be refused."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import find
from e2e.cluster.errors import UnavailableError
from e2e.missing import give_up

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/cardan"
NAMESPACE = "llm"
RELEASE = "cardan"

Object = dict[str, Any]
Values = dict[str, Any]


@functools.cache
def binary() -> str:
    """The helm of PATH or of the built cluster; skips, or fails where one is required."""
    try:
        return str(find.tool("helm"))
    except UnavailableError as missing:
        give_up(str(missing))


def run(*argv: str, values: Values | None = None) -> subprocess.CompletedProcess[str]:
    """`helm ARGV… --values -`."""
    return subprocess.run(
        [binary(), *argv, "--values", "-"],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def manifest(
    values: Values | None = None, *, release: str = RELEASE, namespace: str = NAMESPACE
) -> str:
    """What would be installed, as YAML, the test's pod included."""
    ended = run("template", release, str(CHART), "--namespace", namespace, values=values)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def render(
    values: Values | None = None, *, release: str = RELEASE, namespace: str = NAMESPACE
) -> list[Object]:
    """What would be installed, object by object."""
    text = manifest(values, release=release, namespace=namespace)
    return [found for found in yaml.load_all(text, yaml.CSafeLoader) if found]


def notes(values: Values | None = None) -> str:
    """What Helm says after an installation."""
    ended = run(
        *("install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client"),
        values=values,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.partition("NOTES:")[2]


def refusal(values: Values) -> str:
    """Why it would not be installed."""
    ended = run("template", RELEASE, str(CHART), values=values)
    assert ended.returncode != 0, f"{values} was taken"
    return ended.stderr


def of_kind(objects: list[Object], kind: str, component: str = "") -> list[Object]:
    """The objects of a kind, and of a component if one is named."""
    label = "app.kubernetes.io/component"
    return [
        found
        for found in objects
        if found["kind"] == kind
        and (not component or found["metadata"].get("labels", {}).get(label) == component)
    ]


def the(objects: list[Object], kind: str, component: str = "") -> Object:
    """The only one of its kind."""
    found = of_kind(objects, kind, component)
    assert len(found) == 1, f"{len(found)} of kind {kind}"
    return found[0]


def pods(objects: list[Object]) -> list[Object]:
    """Every pod and pod template, as `{metadata, spec}`."""
    templates = [found["spec"]["template"] for found in of_kind(objects, "Deployment")]
    return [*templates, *of_kind(objects, "Pod")]


def gateway_file(objects: list[Object]) -> str:
    """The configuration file that gateways are given."""
    text = the(objects, "ConfigMap", "router")["data"]["cardan.yaml"]
    assert isinstance(text, str)
    return text


def nested(path: str, value: object) -> Values:
    """`{a: {b: value}}` of `a.b`."""
    result: Any = value
    for name in reversed(path.split(".")):
        result = {name: result}
    assert isinstance(result, dict)
    return result
