"""The watch over a real connection: lists in pages, watches, and every way in which they fail."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import random
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from cardan_kube import api as kube_api
from cardan_kube import reflector as machine
from cardan_kube.api import KubernetesApi
from cardan_kube.link import Link
from cardan_kube.objects import Bare
from cardan_kube.watcher import Resource, Watcher

from tests.fakes.kube import Answer, line, pod
from tests.fakes.waiting import settle, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.kube import FakeKube, KubeState

PODS = "/api/v1/namespaces/ns/pods"


def read_name(raw: msgspec.Raw) -> str:
    """A pod's name; a role that is none is refused."""
    meta = msgspec.json.decode(raw, type=Bare).metadata
    if meta.labels.get("role", "both") != "both":
        raise ValueError(f"role: {meta.labels['role']!r} is none of both")
    return meta.name


class Counts:
    """What a process lends its watchers."""

    def __init__(self) -> None:
        self.news = logging.getLogger(__name__)
        self.errors: collections.Counter[str] = collections.Counter()

    def clock(self) -> float:
        return time.monotonic()

    def event(self, kind: str) -> None:
        assert kind in {"put", "gone", "bookmark"}

    def relist(self, reason: str) -> None:
        assert reason

    def error(self, reason: str) -> None:
        self.errors[reason] += 1


class Bench:
    """A watcher of pods and what it has told."""

    def __init__(self, kube: FakeKube, kubeconfig: Path) -> None:
        self.kube = kube
        self.meter = Counts()
        self.link = Link("pods", self.meter)
        self.told = 0
        self.watcher: Watcher[str] = Watcher(
            KubernetesApi(str(kubeconfig), "cardan/test"),
            Resource(PODS, {"labelSelector": "app=vllm"}, read_name),
            self.link,
            self._tell,
            random.Random(1),
        )

    def _tell(self) -> None:
        self.told += 1

    @property
    def state(self) -> KubeState:
        return self.kube.state(PODS)

    def names(self) -> set[str]:
        """The pods that are known."""
        return {name for name in self.watcher.reflector.objects.values() if name}

    def put(self, *names: str) -> None:
        """Pods come or change, and watches hear of it."""
        for name in names:
            self.state.put(pod(name))
        self.kube.flush()

    def delete(self, name: str) -> None:
        """A pod is gone."""
        self.state.delete(name)
        self.kube.flush()

    def errors(self) -> dict[str, int]:
        """Counted errors by reason."""
        return dict(self.meter.errors)

    async def watching(self) -> None:
        """Wait for an open watch."""
        await until(lambda: self.kube.watches and self.link.connected, "a watch")

    async def knows(self, *names: str) -> None:
        """Wait until exactly these are known."""
        await until(lambda: self.names() == set(names), f"{names}, not {self.names()}")


@pytest.fixture
async def bench(
    kube: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """A watcher that runs, with short back-offs."""
    monkeypatch.setattr(machine, "FIRST_BACKOFF_S", 0.02)
    monkeypatch.setattr(machine, "MAX_BACKOFF_S", 0.05)
    one = Bench(kube, kube.kubeconfig(tmp_path))
    task = asyncio.ensure_future(one.watcher.run())
    yield one
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_what_is_there_and_what_comes_and_goes_is_known(bench: Bench) -> None:
    bench.put("a")
    await bench.knows("a")
    await bench.watching()
    bench.put("b")
    await bench.knows("a", "b")
    bench.delete("a")
    await bench.knows("b")
    path, query, headers = bench.kube.requests[0]
    assert path == PODS
    assert query["labelSelector"] == "app=vllm"
    assert headers["authorization"] == "Bearer secret"
    assert headers["user-agent"].startswith("cardan/")


async def test_a_long_list_comes_in_pages(bench: Bench) -> None:
    bench.kube.page_size = 2
    bench.put(*"abcde")
    await bench.knows(*"abcde")
    assert [("continue" in query) for query in bench.kube.lists()] == [False, True, True]
    assert bench.told == 1


async def test_a_token_that_expires_between_pages_begins_the_list_anew(bench: Bench) -> None:
    bench.kube.page_size = 1
    bench.put("a", "b")
    bench.kube.say()
    await until(lambda: bench.kube.requests, "a first page")
    bench.state.compact()
    await bench.knows("a", "b")


async def test_a_watch_that_breaks_or_ends_goes_on_where_it_was(bench: Bench) -> None:
    bench.put("a")
    await bench.watching()
    bench.put("b")
    await bench.knows("a", "b")
    bench.kube.cut()
    bench.put("c")
    await bench.knows("a", "b", "c")
    await bench.watching()
    bench.kube.end_watches()
    bench.delete("a")
    await bench.knows("b", "c")
    assert len(bench.kube.lists()) == 1
    assert bench.link.connected


async def test_an_expired_version_is_listed_again(bench: Bench) -> None:
    bench.put("a")
    await bench.watching()
    bench.kube.cut()
    bench.delete("a")
    bench.put("b")
    bench.state.compact()
    await bench.knows("b")
    assert len(bench.kube.lists()) == 2
    assert bench.errors()["expired"] == 1


async def test_a_lost_server_keeps_what_is_known_and_is_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.put("a", "b")
    await bench.watching()
    await bench.kube.stop()
    await until(lambda: bench.errors().get("unreachable", 0) >= 5, "several tries")
    assert bench.names() == {"a", "b"}
    assert not bench.link.connected
    bench.state.delete("a")
    await bench.kube.start()
    await bench.knows("b")
    await bench.watching()
    said = [record.getMessage() for record in caplog.records if "pods:" in record.getMessage()]
    assert len(said) == 2
    assert "Connection refused; what is known stays in force" in said[0]
    assert "the API answers again after" in said[1]


async def test_lines_may_be_cut_anywhere(bench: Bench) -> None:
    await bench.watching()
    bench.state.put(pod("a"))
    (change,) = bench.state.since(100) or []
    data = line(change.type, change.object)
    for cut in (1, 7, 20, len(data) - 1):
        bench.kube.tell(data[: cut - len(data)])
        await settle()
        assert bench.names() == set()
        bench.kube.tell(data[cut - len(data) :])
        await bench.knows("a")
        bench.kube.tell(line("DELETED", change.object))
        await bench.knows()


@pytest.mark.parametrize("garbage", [b"<html>\n", b'{"type": "ADDED", "object"\n', b"[1]\n"])
async def test_garbage_is_no_reason_to_believe_anything(bench: Bench, garbage: bytes) -> None:
    bench.put("a")
    await bench.watching()
    good = pod("b")
    bench.kube.tell(line("ADDED", good) + garbage)
    await until(lambda: bench.errors().get("garbage"), "garbage to be noticed")
    await bench.knows("a")
    assert len(bench.kube.lists()) == 2


async def test_a_watch_on_which_nothing_comes_is_begun_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_api, "SILENCE_S", 0.05)
    bench.put("a")
    await until(lambda: bench.errors().get("stalled", 0) >= 2, "silence to be noticed")
    assert bench.names() == {"a"}
    assert len(bench.kube.lists()) == 1
    assert "timeout" not in bench.errors()


async def test_a_server_that_takes_requests_and_is_silent_is_lost(
    kube: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_api, "ANSWER_S", 0.05)
    kube.say(*[Answer(0)] * 3)
    one = Bench(kube, kube.kubeconfig(tmp_path))
    task = asyncio.ensure_future(one.watcher.run())
    await until(lambda: one.errors().get("timeout", 0) >= 1, "silence to be noticed")
    assert not one.link.connected
    one.put("a")
    await one.knows("a")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("status", "word"),
    [(401, "unauthorized"), (403, "forbidden"), (404, "not-found"), (500, "refused")],
)
async def test_a_refusal_is_said_in_the_servers_own_words_and_tried_again(
    kube: FakeKube, tmp_path: Path, status: int, word: str
) -> None:
    kube.say(Answer(status, "the account may not list pods"))
    one = Bench(kube, kube.kubeconfig(tmp_path))
    troubles: set[str] = set()
    one.put("a")
    task = asyncio.ensure_future(one.watcher.run())
    while not one.names():
        troubles.add(one.link.trouble)
        await asyncio.sleep(0.002)
    assert "the account may not list pods" in troubles
    assert one.errors() == {word: 1}
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_token_that_is_no_longer_good_is_read_again(kube: FakeKube, tmp_path: Path) -> None:
    kube.say(Answer(401, "no longer"))
    one = Bench(kube, kube.kubeconfig(tmp_path))
    one.put("a")
    task = asyncio.ensure_future(one.watcher.run())
    await until(lambda: kube.requests, "a first try")
    kube.kubeconfig(tmp_path, token="fresh")
    await one.knows("a")
    tokens = [headers["authorization"] for _, _, headers in kube.requests]
    assert tokens[0] == "Bearer secret"
    assert tokens[1] == "Bearer fresh"
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_server_that_asks_for_patience_gets_it(bench: Bench) -> None:
    await bench.watching()
    bench.kube.say(Answer(429, "too many", "retry-after: 1\r\n"))
    bench.kube.cut()
    await until(lambda: bench.errors().get("overloaded"), "the refusal")
    asked = len(bench.kube.requests)
    for _ in range(20):
        await settle()
    assert len(bench.kube.requests) == asked
    bench.put("a")
    await bench.knows("a")


async def test_lists_alone_are_not_a_connection(
    kube: FakeKube, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kube.refuse_watches = True
    one = Bench(kube, kube.kubeconfig(tmp_path))
    one.put("a")
    task = asyncio.ensure_future(one.watcher.run())
    await until(lambda: one.errors().get("forbidden", 0) >= 3, "several tries")
    assert one.names() == {"a"}
    assert not one.link.connected
    assert one.link.trouble == "cannot watch pods"
    assert len([r for r in caplog.records if "cannot watch" in r.getMessage()]) == 1
    kube.refuse_watches = False
    await until(lambda: one.link.connected, "a watch")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_no_credentials_are_a_reason_and_not_a_crash(tmp_path: Path, kube: FakeKube) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text("apiVersion: v1\nclusters: nonsense\n")
    one = Bench(kube, path)
    task = asyncio.ensure_future(one.watcher.run())
    await until(lambda: one.errors().get("credentials", 0) >= 2, "two tries")
    assert one.link.trouble.startswith("no credentials for the API: ")
    kube.kubeconfig(tmp_path)
    one.put("a")
    await one.knows("a")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_an_unusable_pod_is_said_once_and_spoils_no_other(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.state.put(pod("odd", labels={"app": "vllm", "role": "prefil"}))
    bench.put("a")
    await bench.knows("a")
    await bench.watching()
    bench.put("b")
    await bench.knows("a", "b")
    said = [r.getMessage() for r in caplog.records if "prefil" in r.getMessage()]
    assert len(said) == 1
    assert "ns/odd: role: 'prefil' is none of" in said[0]
    assert bench.errors() == {"object": 1}


async def test_nowhere_to_go_is_a_sentence(
    kube: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    one = Bench(kube, tmp_path / "none")
    task = asyncio.ensure_future(one.watcher.run())
    await until(lambda: one.link.trouble, "the reason")
    assert one.link.trouble == (
        "no credentials for the API: this is no pod of a cluster, and there is no"
        f" {tmp_path / 'none'}"
    )
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_pod_without_a_token_says_so(
    kube: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    one = Bench(kube, tmp_path)
    one.watcher._api = KubernetesApi("")
    task = asyncio.ensure_future(one.watcher.run())
    await until(lambda: one.link.trouble, "the reason")
    assert one.link.trouble == ("no credentials for the API: Service token file does not exist.")
    assert kube_api.own_namespace("") == "default"
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
