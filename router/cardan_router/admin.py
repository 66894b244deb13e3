"""What the gateway tells of itself over HTTP: health, metrics, the status page.

`/livez` and `/readyz` are open. `/metrics`, `/ui/state.json` are open where no API keys are
configured or on a listener of their own (`admin`); on the front door, with keys, they want a key
marked `admin`: a tenant's key must not show other tenants' requests.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from cardan.errors import RequestError

from cardan_router.about import VERSION
from cardan_router.http.routes import Local, Request, Response
from cardan_router.rejections import error_body, of_error
from cardan_router.telemetry.exposition import CONTENT_TYPE, render
from cardan_router.ui import asset, page_state
from cardan_router.ui.pages import HEADERS
from cardan_router.workers.board import FRESH_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan_router.gateway import Gateway
    from cardan_router.readiness import Readiness
    from cardan_router.telemetry import Present, Registry, RequestRecorder, Snapshot
    from cardan_router.telemetry.entries import Entry
    from cardan_router.workers import Board


class Admin:
    """Answers for one process, or for all workers of a gateway where there is a board."""

    def __init__(
        self,
        gateway: Gateway,
        registry: Registry,
        recorder: RequestRecorder,
        present: Present,
        readiness: Readiness,
        board: Board | None,
    ) -> None:
        self._gateway = gateway
        self._registry = registry
        self._recorder = recorder
        self._present = present
        self._readiness = readiness
        self._board = board
        self._started_at = time.monotonic()

    def health_routes(self) -> list[Local]:
        """For every listener."""
        return [Local("/livez", _alive), Local("/readyz", self._ready)]

    def own_routes(self, *, guarded: bool, ui: bool) -> list[Local]:
        """Metrics and status page; `guarded` asks for an administrator's key if there are keys."""

        def route(path: str, answer: Callable[[Request], Response]) -> Local:
            return Local(path, self._guard(answer) if guarded else answer)

        pages = [
            Local("/ui", _page("index.html")),
            *(Local(f"/ui/{name}", _page(name)) for name in ("ui.css", "ui.js", "icon.svg")),
            route("/ui/state.json", self._state),
        ]
        return [route("/metrics", self._metrics), *(pages if ui else [])]

    def receipts(self) -> list[dict[str, Any]]:
        """This process's latest requests, newest first."""
        self._recorder.settle()
        return [receipt_row(entry) for entry in reversed(self._recorder.receipts)]

    def snapshot(self) -> Snapshot:
        """This process's numbers."""
        self._present.refresh()
        self._recorder.flush()
        return self._registry.snapshot()

    def _guard(self, answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
        def guarded(request: Request) -> Response:
            if self._gateway.keys is None:
                return answer(request)
            try:
                caller = self._gateway.identify(request.headers)
                if not getattr(caller, "admin", False):
                    raise RequestError("this key is not an administrator's", code="invalid_api_key")
            except RequestError as error:
                told = of_error(error)
                return Response(told.status, error_body(told, error.message))
            return answer(request)

        return guarded

    def _ready(self, _request: Request) -> Response:
        ready, reason = self._readiness.look()
        return Response(
            200 if ready else 503, orjson.dumps({"ready": ready, "reason": reason or None})
        )

    def _metrics(self, _request: Request) -> Response:
        snapshots = {name: snapshot for name, snapshot, _ in self._all()}
        return Response(200, render(self._registry.specs, snapshots), CONTENT_TYPE)

    def _state(self, _request: Request) -> Response:
        everyone = self._all()
        receipts = [row for _, _, rows in everyone for row in rows]
        receipts.sort(key=lambda row: -row["at"])
        fleet = self._gateway.fleet
        ready, reason = self._readiness.look()
        document = page_state(
            {name: snapshot for name, snapshot, _ in everyone},
            [(state, self._present.state_of(state)) for state in fleet.endpoints.values()],
            receipts[: self._recorder.receipts.maxlen],
            {
                "at_s": time.monotonic(),
                "uptime_s": round(time.monotonic() - self._started_at, 1),
                "version": VERSION,
                "policy": str(self._gateway.scheduler.policy.__struct_config__.tag),
                "models": self._gateway.models(),
                "overlay": fleet.overlay.words(),
                "ready": ready,
                "not_ready_because": reason or None,
            },
        )
        return Response(200, orjson.dumps(document), headers=HEADERS)

    def _all(self) -> list[tuple[str, Snapshot, list[dict[str, Any]]]]:
        """Name, numbers and receipts of every worker, our own as they are now."""
        if self._board is None:
            return [("0", self.snapshot(), self.receipts())]
        found = [(self._board.worker, self.snapshot(), self.receipts())]
        for other in self._board.others():
            fresh = time.monotonic() - other.at <= FRESH_S
            snapshot = other.snapshot if fresh else self._registry.of_the_past(other.snapshot)
            found.append((other.worker, snapshot, other.receipts))
        return found


def receipt_row(entry: Entry) -> dict[str, Any]:
    """A request as the page lists it: its line of the access log, without who asked."""
    fields = msgspec.to_builtins(entry)
    return {"at": fields.pop("time"), **{k: v for k, v in fields.items() if k != "tenant"}}


def _alive(_request: Request) -> Response:
    return Response(200, b'{"alive":true}')


def _page(name: str) -> Callable[[Request], Response]:
    def answer(_request: Request) -> Response:
        found = asset(name)
        if found is None:
            raise LookupError(name)
        return Response(200, found.body, found.content_type, HEADERS)

    return answer
