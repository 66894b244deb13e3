"""What is recorded is decided upon again as it was, in files that stay below a bound."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import signal
from typing import TYPE_CHECKING

import msgspec
from cardan.instants import WallTime
from cardan.scaling.memory import Memory
from cardan.scaling.observation import Observation
from cardan.scaling.recording import read_recording
from cardan_controller.main import main
from cardan_controller.recorder import RecordConfig, Recorder
from cardan_controller.replay import decisions

from tests.controller.scene import START, Scene

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from cardan.scaling.decision import ScalingDecision

KEY = ("n", "llama")
THROUGHPUT = [
    {"type": "throughput", "throughput": {"tokensPerSecond": 1000}},
    {"type": "concurrency", "concurrency": {"target": 8}},
]
IMPATIENT = {"stabilizationWindowSeconds": 30, "limits": [{"replicas": 2, "periodSeconds": 15}]}


def recording(folder: Path, most: int = 50_000_000) -> Scene:
    """A scene whose operator records."""
    return Scene(record=RecordConfig(folder=str(folder), max_bytes=most))


def files(folder: Path) -> list[Path]:
    """The recordings, the oldest of a fleet first."""
    return sorted(folder.iterdir())


async def lives(scene: Scene, ticks: int) -> list[ScalingDecision]:
    """A fleet's decisions while its load comes and goes."""
    noise, decided = random.Random(7), []
    for number in range(ticks):
        load = 1 + 6 * (number // 8 % 2)
        scene.load(5 * load, 900 * load, noise=noise)
        if number % 5 == 4:
            scene.values["sample_age_s"] = {("n",): 100.0}
        await scene.tick()
        decided.append(scene.ticker.decisions[KEY])
    scene.recorder.flush()
    return decided


def again(path: Path) -> list[ScalingDecision]:
    """What a replay of one file decides."""
    with path.open("rb") as lines:
        header, ticks = read_recording(lines)
        assert header.spec is not None
        return list(decisions(header.spec, ticks, header.memory or Memory()))


async def test_a_replay_comes_to_the_same_decisions(tmp_path: Path) -> None:
    scene = recording(tmp_path)
    scene.fleet(policies=THROUGHPUT, behavior={"scaleUp": IMPATIENT, "scaleDown": IMPATIENT})
    decided = await lives(scene, 40)
    assert len({one.pools[0].desired for one in decided}) > 2
    (path,) = files(tmp_path)
    assert path.name == "n.llama.20270115T080015.000Z.jsonl"
    assert again(path) == decided


async def test_files_that_begin_later_are_decided_upon_by_themselves(tmp_path: Path) -> None:
    scene = recording(tmp_path)
    scene.fleet(policies=THROUGHPUT)
    decided = await lives(scene, 12)
    scene.ticker = scene.operator()  # its successor begins a file of its own
    scene.fleet(policies=THROUGHPUT, paused=True)
    decided += await lives(scene, 12)
    first, second = files(tmp_path)
    assert again(first) == decided[:12]
    assert again(second) == decided[12:]
    assert all(pool.reasons[0].message == "spec.paused" for pool in decided[-1].pools)


async def test_what_another_operator_decided_meanwhile_is_in_no_file_of_ours(
    tmp_path: Path,
) -> None:
    scene = recording(tmp_path)
    fleet = scene.fleet(policies=THROUGHPUT)
    decided = await lives(scene, 12)
    scene.others = {"there/cardan-controller"}
    kept = msgspec.structs.replace(fleet.status, operator="there/cardan-controller")
    scene.fleets.changed(fleet._replace(status=kept))
    await scene.tick()
    scene.others.clear()
    decided += await lives(scene, 12)
    first, second = files(tmp_path)
    assert again(first) == decided[:12]
    assert again(second) == decided[12:]


async def test_another_specification_begins_another_file(tmp_path: Path) -> None:
    scene = recording(tmp_path)
    fleet = scene.fleet(policies=THROUGHPUT)
    await lives(scene, 2)
    meta = msgspec.structs.replace(fleet.meta, generation=2)
    scene.fleets.changed(fleet._replace(meta=meta))
    await lives(scene, 2)
    assert len(files(tmp_path)) == 2


async def test_all_files_together_stay_below_the_bound_and_the_oldest_go(tmp_path: Path) -> None:
    most = 400_000
    (tmp_path / "n.gone.20200101T000000.000Z.jsonl").write_bytes(b"x" * 200_000)
    scene = recording(tmp_path, most)
    for name in ("llama", "phi"):
        scene.replicas[name], scene.writers[name] = 2, ("kubectl",)
        target = {"scaleTargetRef": {"kind": "Deployment", "name": name}}
        scene.fleet(name, policies=THROUGHPUT, pool=target)
    decided = await lives(scene, 40)
    found = files(tmp_path)
    assert sum(path.stat().st_size for path in found) <= most
    assert {path.name.split(".")[1] for path in found} == {"llama", "phi"}
    kept = [one for path in found if ".llama." in path.name for one in again(path)]
    assert 5 < len(kept) < 40
    assert kept == decided[-len(kept) :]


async def test_a_disk_that_fails_costs_the_recording_and_no_tick(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "recordings"
    scene = recording(folder)
    scene.fleet(policies=THROUGHPUT)
    await lives(scene, 2)
    shutil.rmtree(folder)
    assert len(await lives(scene, 3)) == 3
    warnings = [one for one in caplog.messages if "not recorded" in one]
    assert len(warnings) == 1
    folder.mkdir()
    await lives(scene, 2)
    (path,) = files(folder)
    assert len(again(path)) == 2


async def test_a_full_disk_leaves_no_files_that_no_bound_counts(tmp_path: Path) -> None:
    scene = recording(tmp_path)
    scene.fleet(policies=THROUGHPUT)
    await lives(scene, 2)
    (begun,) = files(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write fails instead
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (begun.stat().st_size + 10, limits[1]))
        await lives(scene, 1)
        cut = begun.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        await lives(scene, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert files(tmp_path) == [begun]
    kept = scene.recorder._files
    assert kept is not None
    assert kept._bytes == {begun: cut}
    assert kept._total == cut
    await lives(scene, 2)
    assert len(files(tmp_path)) == 2


async def test_a_disk_that_hangs_holds_up_no_tick(tmp_path: Path) -> None:
    scene = recording(tmp_path)
    scene.fleet(policies=THROUGHPUT)
    pipe = tmp_path / "n.llama.20270115T080015.000Z.jsonl"
    os.mkfifo(pipe)  # whoever opens it to write waits for a reader
    scene.load(5.0, 1500.0)
    for _ in range(3):
        await scene.tick()
    assert len(scene.api.written("status")) > 0
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    await asyncio.to_thread(scene.recorder.flush)
    assert os.read(reader, 65536).count(b"\n") == 4  # its header is one
    os.close(reader)


def test_what_finds_no_room_is_counted_told_once_and_begins_another_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Scene().fleet(policies=THROUGHPUT)
    dropped: list[None] = []
    recorder = Recorder(RecordConfig(folder=str(tmp_path)), lambda: dropped.append(None), 3)
    pipe = tmp_path / "n.llama.20270115T080000.000Z.jsonl"
    os.mkfifo(pipe)
    recorder.start()

    def take(at: int) -> None:
        seen = Observation(at=WallTime(START + at))
        recorder.took(fleet, seen, Memory(), held="", stale="")

    for at in range(6):
        take(at)
    assert len(dropped) == 3
    assert len([line for line in caplog.messages if "too slow" in line]) == 1
    with pipe.open("rb"):
        recorder.flush()
    take(6)
    take(7)
    recorder.close()
    path = tmp_path / "n.llama.20270115T080006.000Z.jsonl"
    with path.open("rb") as lines:
        header, ticks = read_recording(lines)
        assert header.memory is not None
        assert [tick.at - START for tick in ticks] == [6, 7]


def test_a_disk_that_has_caught_up_and_is_too_slow_again_is_told_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    stays, gone = scene.fleet(), scene.fleet("gone")
    recorder = Recorder(RecordConfig(folder=str(tmp_path)), most_waiting=1)
    pipe = tmp_path / "n.llama.20270115T080000.000Z.jsonl"
    os.mkfifo(pipe)  # all lines of the one that stays go there, and wait for a reader
    recorder.start()
    for at in range(2):
        seen = Observation(at=WallTime(START + at))
        for fleet in (stays, gone, gone):
            recorder.took(fleet, seen, Memory(), held="", stale="")
        assert len([line for line in caplog.messages if "too slow" in line]) == at + 1
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        recorder.flush()
        os.close(reader)
    recorder.close()


async def test_of_a_fleet_that_is_gone_no_gap_is_remembered(tmp_path: Path) -> None:
    scene = recording(tmp_path)
    fleet = scene.fleet(policies=THROUGHPUT)
    await scene.tick()
    scene.recorder._gaps.add(KEY)
    scene.fleets.changed(fleet, deleted=True)
    await scene.tick()
    assert scene.recorder._gaps == set()


async def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    scene = Scene()
    scene.fleet(policies=THROUGHPUT)
    await lives(scene, 2)
    assert files(tmp_path) == []


async def test_the_command_says_what_was_decided_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = recording(tmp_path)
    scene.fleet(policies=THROUGHPUT)
    decided = await lives(scene, 12)
    (path,) = files(tmp_path)
    assert main(["--dry-run", "--replay", str(path)]) == 0
    told = capsys.readouterr().out
    changes = [one.pools[0] for one in decided]
    assert f"main: {changes[0].current} -> {changes[0].desired}" in told
    assert changes[0].reasons[0].message in told
    assert "\n12 ticks, " in told
