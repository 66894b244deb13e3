"""Several processes behind one port: one face, one sum, and none missed for long."""

from __future__ import annotations

import json
import os
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from cardan.endpoint import Endpoint, EndpointId
from cardan.fleet import Fleet
from cardan.instants import Monotonic
from cardan.metrics import EngineMetrics
from cardan_router.config import Address
from cardan_router.flags import parse
from cardan_router.main import longest_end_s
from cardan_router.sockets import ListenError, bind, port_of, reserve
from cardan_router.telemetry.registry import Sample, Snapshot
from cardan_router.workers import Board, Published
from cardan_router.workers.sharing import Sharing

from tests.fakes.waiting import DEADLINE_S
from tests.router import supervised
from tests.router.asking import ask, metric
from tests.system.processes import get_json, status_of, until

if TYPE_CHECKING:
    from pathlib import Path

    from cardan_router.admin import Admin

    from tests.system.processes import Child, Processes

pytestmark = pytest.mark.slow
REQUESTS = r'cardan_requests_total\{api="chat",model="llama-3.1-8b",outcome="ok"\}'


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123 - procfs
        return [int(word) for word in file.read().split()]


def two_workers(router: Child) -> list[int]:
    """The processes of both, once both are there."""
    until(lambda: len(children(router.process.pid)) == 2, "two workers to run")
    return children(router.process.pid)


def test_workers_are_one_gateway(procs: Processes) -> None:
    engine = procs.engines(1, "--model", "llama-3.1-8b", "--time-scale", "0.1")
    router = procs.router(engine, "--workers", "2", "--grpc", "127.0.0.1:0")
    supervisor = router.process.pid
    two_workers(router)
    assert router.grpc_target
    assert router.output().count("listening on http://") == 1

    def ready_workers() -> float:
        return metric(router.url, r'cardan_ready\{worker="[01]"\}')

    until(lambda: ready_workers() == 2, "both workers to be ready")
    assert router.output().count("joined: vllm") == 1  # what all see alike, the first one says
    for _ in range(12):
        ask(router.url)

    def all_say_12() -> bool:
        """Twenty connections meet both workers, and each knows what the other has counted."""
        return all(metric(router.url, REQUESTS) == 12 for _ in range(20))

    until(all_say_12, "the sum of both workers")
    state: Any = get_json(f"{router.url}/ui/state.json")
    assert state["workers"] == 2
    assert len(state["receipts"]) == 12

    victim = children(supervisor)[0]  # the first one, which tells of endpoints
    assert os.getpgid(victim) != os.getpgid(supervisor)  # a Ctrl-C reaches it once, not twice
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(set(children(supervisor)) - {victim}) == 2, "the dead worker's successor")
    # What the dead one has published is believed for a while: only the log tells of its successor.
    until(lambda: router.output().count("joined: vllm") == 2, "it to have its endpoint")
    until(lambda: ready_workers() == 2, "it to be ready")
    assert all_say_12()  # nothing is forgotten, nothing counted twice

    router.process.send_signal(signal.SIGHUP)
    until(lambda: router.output().count("reload: done") == 2, "both to reload")
    for number in (0, 1):
        assert f"INFO worker {number}: reload: done" in router.output()
    router.process.send_signal(signal.SIGTERM)
    assert router.process.wait(DEADLINE_S) == 0
    assert status_of(router.url + "/livez") == 0


def test_workers_end_with_their_supervisor_however_it_ends(procs: Processes) -> None:
    engine = procs.engines(1, "--model", "llama-3.1-8b")
    router = procs.router(engine, "--workers", "2")
    pids = two_workers(router)
    router.kill()

    def running() -> list[int]:
        """A process without open files has ended, even if nobody has waited for it."""
        return [pid for pid in pids if os.path.exists(f"/proc/{pid}/fd/0")]  # noqa: PTH110

    until(lambda: not running(), "the workers to end")


def test_a_worker_that_cannot_start_ends_all_with_its_status() -> None:
    assert supervised.status_of_scene(supervised.one_cannot_start) == 1


def test_a_worker_that_hangs_is_killed_after_the_grace() -> None:
    assert supervised.status_of_scene(supervised.one_hangs) == 0


def test_a_reload_that_is_asked_for_while_a_worker_starts_waits_for_it() -> None:
    assert supervised.status_of_scene(supervised.one_is_reloaded_as_it_starts) == 0


def test_a_grace_that_a_reload_has_raised_is_given(tmp_path: Path) -> None:
    file = tmp_path / "cardan.yaml"
    file.write_text("endpoints: [http://e:1]")
    invocation = parse(["--config", str(file)])
    first = invocation.load()
    assert longest_end_s(invocation, first) == 30
    for shutdown, expected in (("{grace_s: 300, linger_s: 15}", 315), ("{grace_s: 1}", 30)):
        file.write_text(f"endpoints: [http://e:1]\nshutdown: {shutdown}")
        assert longest_end_s(invocation, first) == expected
    file.write_text("nonsense")
    assert longest_end_s(invocation, first) == 30


def published(worker: str, count: int) -> Published:
    """What a worker says."""
    return Published(worker, 1.0, Snapshot({"m": [Sample(("a",), count)]}), [{"id": 1}])


def test_the_board_shows_others_and_a_predecessor(tmp_path: Path) -> None:
    zero, one = Board(tmp_path, "0"), Board(tmp_path, "1")
    assert zero.predecessor() is None
    zero.publish(published("0", 3))
    one.publish(published("1", 4))
    assert [found.worker for found in zero.others()] == ["1"]
    before = Board(tmp_path, "0").predecessor()
    assert before is not None
    assert before.snapshot.samples["m"][0].value == 3
    (tmp_path / "2.msgpack").write_bytes(b"\xc1 broken")
    assert len(zero.others()) == 1


def test_engine_metrics_of_another_worker_are_those_of_the_same_engine(tmp_path: Path) -> None:
    def fleet_at(url: str) -> Fleet:
        fleet = Fleet()
        fleet.update([Endpoint(url=url, name="vllm-0")], Monotonic(0.0))
        return fleet

    def sharing(fleet: Fleet, worker: str) -> Sharing:
        admin = SimpleNamespace(snapshot=lambda: Snapshot({}), receipts=list)
        board = Board(tmp_path, worker)
        return Sharing(board, fleet, cast("Admin", admin), lambda: 9.0, learns=True)

    told = fleet_at("http://10.0.0.1:8000")
    told.endpoints[EndpointId("vllm-0")].observe(EngineMetrics(at=Monotonic(8.0), running=3.0))
    sharing(told, "0").publish()
    same, successor = fleet_at("http://10.0.0.1:8000"), fleet_at("http://10.0.0.2:8000")
    for fleet in (same, successor):
        (published,) = Board(tmp_path, "1").others()
        sharing(fleet, "1").learn(published)
    learned = same.endpoints[EndpointId("vllm-0")].metrics
    assert learned is not None
    assert learned.running == 3.0
    assert successor.endpoints[EndpointId("vllm-0")].metrics is None


def test_an_address_can_be_shared_by_us_and_by_nobody_else() -> None:
    held = reserve(Address("127.0.0.1", 0))
    where = Address("127.0.0.1", port_of(held))
    ours = bind(where, share=True)
    ours.listen()
    with pytest.raises(ListenError, match="taken by another process"):
        reserve(where)
    ours.close()
    held.close()


def test_an_address_that_is_not_ours_is_a_sentence() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:80"):
        bind(Address("192.0.2.1", 80))


def test_a_worker_that_starts_late_starts_with_what_was_reloaded(
    procs: Processes, tmp_path: Path
) -> None:
    engine = procs.engines(1, "--model", "llama-3.1-8b", "--time-scale", "0.1")[0]
    config = tmp_path / "cardan.yaml"
    config.write_text(json.dumps({"policy": "round-robin", "endpoints": [engine.url]}))
    router = procs.router([], "--config", str(config), "--workers", "2")
    until(lambda: router.output().count("joined") == 1, "worker 0, which tells of it, to join")
    config.write_text(json.dumps({"policy": "random", "endpoints": [engine.url]}))
    router.process.send_signal(signal.SIGHUP)
    until(lambda: router.output().count("reload: done") == 2, "both to reload")
    for pid in two_workers(router):
        os.kill(pid, signal.SIGKILL)
    until(lambda: router.output().count("joined") == 2, "worker 0 and its successor to have joined")
    until(lambda: status_of(router.url + "/readyz") == 200, "one of them to be ready")
    state: Any = get_json(f"{router.url}/ui/state.json")
    assert state["policy"] == "random"
