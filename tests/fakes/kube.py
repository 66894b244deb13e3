"""An API server that holds objects in memory and does what a test says, wrong things too.

`KubeState` is the truth: objects, their versions, the history that a watch is served from, and how
much of it has been compacted. `FakeKube` serves it over HTTP as the API does: lists in pages, of
one version; watches as one JSON object a line. Faults are scripted: `say` answers the next
requests, `cut` breaks all watches, `tell` writes bytes of the test's own into them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.fakes.ports import hold_port, number_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Change(NamedTuple):
    """One entry of the history."""

    version: int
    type: str
    object: dict[str, Any]


class KubeState:
    """Objects of one collection, by name, and their history."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[str, dict[str, Any]] = {}
        self.history: list[Change] = []
        self.compacted = 0
        self._pages: dict[str, tuple[int, list[dict[str, Any]]]] = {}
        self._past: list[tuple[int, dict[str, dict[str, Any]]]] = [(0, {})]

    def put(self, found: dict[str, Any]) -> None:
        """Create or replace an object."""
        name = found["metadata"]["name"]
        type_ = "MODIFIED" if name in self.objects else "ADDED"
        self.version += 1
        stamped = {
            **found,
            "metadata": {**found["metadata"], "resourceVersion": str(self.version)},
        }
        self.objects[name] = stamped
        self._changed(type_, stamped)

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        gone = self.objects.pop(name, None)
        if gone is not None:
            self.version += 1
            meta = {**gone["metadata"], "resourceVersion": str(self.version)}
            self._changed("DELETED", {**gone, "metadata": meta})

    def _changed(self, type_: str, found: dict[str, Any]) -> None:
        self.history.append(Change(self.version, type_, found))
        self._past.append((self.version, dict(self.objects)))

    def compact(self) -> None:
        """Forget the history up to now."""
        self.version += 1
        self.compacted = self.version
        self.history.clear()
        self._pages.clear()

    def at(self, version: int) -> dict[str, dict[str, Any]]:
        """The objects as they were at a version."""
        return next(then for at, then in reversed(self._past) if at <= version)

    def page(self, limit: int, token: str) -> dict[str, Any] | None:
        """One page of a list; None if the token's version is compacted."""
        if not token:
            version, items = self.version, list(self.objects.values())
        elif token in self._pages:
            version, items = self._pages[token]
        else:
            return None
        meta = {"resourceVersion": str(version)}
        if len(items) > limit:
            meta["continue"] = f"t{version}-{len(items)}"
            self._pages[meta["continue"]] = (version, items[limit:])
        return {"kind": "List", "metadata": meta, "items": items[:limit]}

    def since(self, version: int) -> list[Change] | None:
        """What a watch from a version gets; None if that is compacted."""
        if version < self.compacted:
            return None
        return [change for change in self.history if change.version > version]


def line(type_: str, found: dict[str, Any]) -> bytes:
    """One event as it is written."""
    return json.dumps({"type": type_, "object": found}).encode() + b"\n"


def status(code: int, message: str) -> dict[str, Any]:
    """A refusal's body."""
    return {"kind": "Status", "status": "Failure", "code": code, "message": message}


class Answer(NamedTuple):
    """A scripted answer: a refusal, or (status 0) silence until the client leaves."""

    status: int
    message: str = ""
    headers: str = ""


class FakeKube:
    """Serves one `KubeState` for each path (without the query)."""

    def __init__(self) -> None:
        self.states: dict[str, KubeState] = {}
        self.requests: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.answers: list[Answer] = []
        self.refuse_watches = False
        self.page_size = 0
        self._watches: dict[asyncio.StreamWriter, tuple[KubeState, int]] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._held = hold_port()

    @property
    def port(self) -> int:
        """Its port, which it keeps when it is restarted."""
        return number_of(self._held)

    def state(self, path: str) -> KubeState:
        """The objects under a path."""
        return self.states.setdefault(path, KubeState())

    @property
    def watches(self) -> int:
        """Watches that are open."""
        return len(self._watches)

    def lists(self) -> list[dict[str, str]]:
        """The queries of all lists so far."""
        return [query for _, query, _ in self.requests if "watch" not in query]

    def say(self, *answers: Answer) -> None:
        """Answer the next requests so, whatever they are."""
        self.answers += answers

    def flush(self) -> None:
        """Tell all watches what has happened."""
        for writer, (state, version) in list(self._watches.items()):
            changes = state.since(version) or []
            for change in changes:
                self._chunk(writer, line(change.type, change.object))
            if changes:
                self._watches[writer] = (state, changes[-1].version)

    def tell(self, data: bytes) -> None:
        """Write bytes into every watch."""
        for writer in self._watches:
            self._chunk(writer, data)

    def end_watches(self) -> None:
        """End every watch as a server does when its time is over."""
        for writer in list(self._watches):
            writer.write(b"0\r\n\r\n")
            del self._watches[writer]

    def cut(self) -> None:
        """Break every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Gone, with every connection."""
        if self._server is not None:
            self._server.close()
        self.cut()
        while self._writers:  # noqa: ASYNC110 - polling is good enough for a test
            await asyncio.sleep(0.002)

    async def close(self) -> None:
        """Gone for good: the port is anybody's."""
        await self.stop()
        self.let_go()

    def let_go(self) -> None:
        """The port is anybody's; enough for one that was never started."""
        self._held.close()

    def kubeconfig(self, folder: Path, token: str = "secret") -> Path:
        """A kubeconfig that leads here."""
        path = folder / "kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "x",
                    "contexts": [
                        {"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "ns"}}
                    ],
                    "clusters": [
                        {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
                    ],
                    "users": [{"name": "u", "user": {"token": token}}],
                }
            )
        )
        return path

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *rest = head[:-4].split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (text.partition(":") for text in rest)
                }
                if self.answers and self.answers[0].status == 0:
                    self.answers.pop(0)
                    await reader.read()  # until the client leaves
                    return
                await self._answer(writer, first.split(" ")[1], headers)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._watches.pop(writer, None)
            self._writers.discard(writer)
            writer.close()

    async def _answer(
        self, writer: asyncio.StreamWriter, target: str, headers: dict[str, str]
    ) -> None:
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.requests.append((url.path, query, headers))
        state = self.state(url.path)
        watching = "watch" in query
        if self.answers:
            scripted = self.answers.pop(0)
            self._whole(writer, scripted.status, status(*scripted[:2]), scripted.headers)
        elif watching and self.refuse_watches:
            self._whole(writer, 403, status(403, "cannot watch pods"))
        elif watching:
            self._watch(writer, state, int(query["resourceVersion"]))
        else:
            limit = self.page_size or int(query["limit"])
            page = state.page(limit, query.get("continue", ""))
            if page is None:
                self._whole(writer, 410, status(410, "the token has expired"))
            else:
                self._whole(writer, 200, page)

    def _watch(self, writer: asyncio.StreamWriter, state: KubeState, version: int) -> None:
        changes = state.since(version)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        if changes is None:
            self._chunk(writer, line("ERROR", status(410, "too old resource version")))
            writer.write(b"0\r\n\r\n")
            return
        self._watches[writer] = (state, version)
        self.flush()

    @staticmethod
    def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    @staticmethod
    def _whole(
        writer: asyncio.StreamWriter, code: int, body: dict[str, Any], headers: str = ""
    ) -> None:
        data = json.dumps(body).encode()
        head = f"HTTP/1.1 {code} X\r\n{headers}content-length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)


@contextlib.asynccontextmanager
async def fake_kube() -> AsyncIterator[FakeKube]:
    """A server of its own, stopped at the end."""
    server = FakeKube()
    try:
        await server.start()
        yield server
    finally:
        await server.close()


def pod(
    name: str,
    address: str = "10.0.0.1",
    *,
    ready: bool = True,
    deleting: bool = False,
    phase: str = "Running",
    uid: str = "",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    ports: dict[str, int] | None = None,
    namespace: str = "ns",
) -> dict[str, Any]:
    """A pod as the API writes it, with fields that nobody here reads."""
    meta: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "uid": uid or f"uid-{name}",
        "resourceVersion": "1",
        "labels": labels or {"app": "vllm"},
        "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
    }
    if annotations:
        meta["annotations"] = annotations
    if deleting:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    declared = [
        {"name": n, "containerPort": p, "protocol": "TCP"} for n, p in (ports or {}).items()
    ]
    container: dict[str, Any] = {"name": "c", "image": "i"}
    if declared:
        container["ports"] = declared
    return {
        "metadata": meta,
        "spec": {"containers": [container], "nodeName": "n"},
        "status": {
            "phase": phase,
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }
