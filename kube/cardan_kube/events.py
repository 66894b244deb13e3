"""Events: what `kubectl describe` shows of an object's life.

Of `events.k8s.io/v1`. An event that is told again within minutes is the same event and is not sent
again: a tick that finds what the last one found has nothing to tell.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from cardan_kube.writing import Collection, create

if TYPE_CHECKING:
    from cardan_kube.api import Request

# Kubernetes keeps events for an hour; client-go takes what comes within ten minutes for a series.
SAME_S: Final = 600.0
# The API's own bounds.
MAX_NOTE_BYTES: Final = 1024
MAX_REASON: Final = 128
# Fleets in the thousands times what each may say in ten minutes.
MAX_REMEMBERED: Final = 16_384


class Regarding(NamedTuple):
    """The object that an event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


class Reporter(NamedTuple):
    """Who tells: the controller's name, and which process of it."""

    controller: str
    instance: str


class Events:
    """Makes events of what is told, each once in a while."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._told: dict[tuple[str, str, str], float] = {}

    def tell(
        self,
        regarding: Regarding,
        type_: Literal["Normal", "Warning"],
        reason: str,
        note: str,
        *,
        now_s: float,
        action: str = "Reconcile",
    ) -> Request | None:
        """The request that tells it; None if it was told a while ago. `now_s` is Unix time."""
        key = (regarding.uid, reason, note)
        if now_s - self._told.get(key, float("-inf")) < SAME_S:
            return None
        self._forget(now_s)
        self._told[key] = now_s
        body = _body(self._reporter, regarding, now_s)
        body |= {"type": type_, "reason": reason[:MAX_REASON], "action": action, "note": cut(note)}
        where = Collection("events.k8s.io", "v1", "events", regarding.namespace or "default")
        return create(where.path, body, self._reporter.controller)

    def _forget(self, now_s: float) -> None:
        if len(self._told) >= MAX_REMEMBERED:
            self._told = {key: at for key, at in self._told.items() if now_s - at < SAME_S}
        while len(self._told) >= MAX_REMEMBERED:
            del self._told[next(iter(self._told))]


def cut(note: str) -> str:
    """As much of a note as an event may have."""
    whole = note.encode()
    if len(whole) <= MAX_NOTE_BYTES:
        return note
    return whole[: MAX_NOTE_BYTES - 3].decode(errors="ignore") + "…"


def _body(reporter: Reporter, about: Regarding, now_s: float) -> dict[str, object]:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{about.name}-", "namespace": about.namespace or "default"},
        "eventTime": _micro_time(now_s),
        "reportingController": reporter.controller,
        "reportingInstance": reporter.instance,
        "regarding": {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
    }


def _micro_time(unix_s: float) -> str:
    at = datetime.datetime.fromtimestamp(unix_s, datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
