"""The images: small, nobody's root, and good first processes: no zombies, an end when told."""

from __future__ import annotations

import json
import re
import tarfile
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest

from e2e import images
from e2e.chart.conftest import SMALL
from tools.build_images import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.chart.conftest import Release
    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster
MAX_OVER_BASE_BYTES = 200_000_000
NOBODY = "65532:65532"

# Grandchildren whose parents are gone become children of process 1; they end at once.
ORPHANS = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.2)
        os._exit(0)
"""
# Process 1 never waits for whom it does not know: without care they would stay as zombies.
STATES = """
import os
for name in filter(str.isdigit, os.listdir("/proc")):
    try:
        fields = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()
        print(name, fields[0], fields[1], os.stat(f"/proc/{name}").st_uid)
    except OSError:
        pass
"""
WRITE = """
for folder in ("/", "/opt/cardan", "/etc/cardan/config"):
    try:
        open(folder + "/file", "w")
        print("wrote to", folder)
    except OSError:
        pass
"""


def read_archive(path: Path) -> tuple[Any, list[int]]:
    """An image's configuration, and the sizes of its layers."""
    with tarfile.open(path) as archive:
        file = archive.extractfile("manifest.json")
        assert file is not None
        manifest = json.load(file)[0]
        config = archive.extractfile(manifest["Config"])
        assert config is not None
        return json.load(config), [archive.getmember(name).size for name in manifest["Layers"]]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_small_and_nobodys_root(cluster: Cluster, tag: str, target: str) -> None:
    config, layers = read_archive(images.archive(target))
    ours = [step for step in config["history"] if "/opt/cardan" in step.get("created_by", "")]
    assert ours  # the layers over the base are those of COPY
    assert sum(layers[1:]) < MAX_OVER_BASE_BYTES
    assert config["config"]["User"] == NOBODY
    assert config["config"]["Entrypoint"] == ["/opt/cardan/bin/cardan"]
    labels = {key.rpartition(".")[2]: value for key, value in config["config"]["Labels"].items()}
    assert labels["title"] == f"cardan-{target}"
    assert labels["version"] == version("cardan")
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", labels["revision"])
    assert tag


@pytest.mark.parametrize("workers", [1, 2])
def test_the_gateway_is_a_good_first_process(release: Release, workers: int) -> None:
    release.upgrade(
        {
            "engines": {"simulated": {"enabled": True, "replicas": 1, "resources": SMALL}},
            "router": {"replicas": 1},
            "config": {"workers": workers},
        }
    )

    def python(script: str) -> str:
        return release.kubectl(
            "exec", "deploy/cardan-router", "--", "/opt/cardan/bin/python", "-c", script
        )

    assert "usage: cardan router" in release.kubectl(
        "exec", "deploy/cardan-router", "--", "cardan", "router", "--help"
    )
    assert python(WRITE) == ""
    python(ORPHANS)
    end = time.monotonic() + 10
    while True:
        states = [line.split() for line in python(STATES).splitlines()]
        # Itself, its workers, and the process that looks.
        if len(states) == 1 + (workers if workers > 1 else 0) + 1:
            break
        assert time.monotonic() < end, states
    assert {uid for *_, uid in states} == {"65532"}
    assert not any(state == "Z" for _, state, *_ in states)

    pod = release.get("pods", "-l", "app.kubernetes.io/component=router")["items"][0]
    name, grace_s = pod["metadata"]["name"], pod["spec"]["terminationGracePeriodSeconds"]
    begun = time.monotonic()
    release.kubectl("delete", "pod", name, "--wait", "--timeout=60s")
    assert time.monotonic() - begun < grace_s / 2  # told, and not killed when its time was up
