"""What a running operator has recorded is decided upon again, and comes to the same."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest
from cardan.scaling.recording import read_recording

from e2e.controller.world import until

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.controller.world import World

pytestmark = pytest.mark.cluster


def replayed(recording: Path, *more: str) -> str:
    """What `--replay` prints."""
    command = [sys.executable, "-m", "cardan_cli", "controller", "--dry-run", "--replay"]
    return subprocess.check_output([*command, str(recording), *more], text=True, timeout=60)


def test_a_live_run_is_replayed_to_what_its_status_says(world: World) -> None:
    folder = world.folder / "recordings"
    world.deployment(1)
    world.fleet()
    world.page.load(requests=20, uncached=2500, output=1000)
    with world.operator(record={"folder": str(folder)}) as operator:
        until(lambda: world.replicas() == 3, "it to grow")
        until(lambda: world.is_said("Ready", "True"), "pods to be ready")
        world.page.load(requests=0, uncached=0, output=0)
        until(lambda: world.status()["desired"] == 1, "it to be too much")
        operator.ticks(2)
    (recording,) = folder.iterdir()
    with recording.open("rb") as lines:
        header, ticks = read_recording(lines)
        assert header.fleet == f"{world.namespace}/llama"
        assert len(list(ticks)) > 5
    told = replayed(recording)
    decided = [f"{one['from']} -> {one['to']}" for one in world.status()["lastDecisions"]]
    assert decided
    assert all(f"main: {one}" in told for one in decided)
    other = world.folder / "fleet.yaml"
    other.write_bytes(msgspec.json.encode({"spec": {**world.found()["spec"], "paused": False}}))
    assert replayed(recording, "--fleet", str(other)) == told
