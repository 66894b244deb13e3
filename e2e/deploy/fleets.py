"""A fleet as its owner sees it: its specification in YAML, and what `kubectl` tells of it."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from e2e.deploy.release import until
from e2e.deploy.running import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.deploy.release import Release

NAME: Final = "llama"
POOL: Final = "main"
DEPLOYMENT: Final = "cardan-engine"
# Looks as often as a test can wait: a tick each second, rates over five.
BRISK_OPERATOR: Final[dict[str, Any]] = {
    "enabled": True,
    "config": {
        "tick_s": 1,
        "metrics": {"short_window_s": 5, "long_window_s": 15, "stale_after_s": 10},
        "lease": {"duration_s": 5, "renew_deadline_s": 3, "retry_s": 1},
    },
}
# What hours are to a fleet, seconds are here.
SPEC: Final[dict[str, Any]] = {
    "model": MODEL,
    "engine": "vllm",
    "coldStartSeconds": 5,
    "pools": [
        {
            "name": POOL,
            "scaleTargetRef": {"kind": "Deployment", "name": DEPLOYMENT},
            "minReplicas": 0,
            "maxReplicas": 4,
        }
    ],
    "policies": [
        {
            "type": "concurrency",
            "concurrency": {"target": 20, "utilisation": 0.8, "stableSeconds": 6},
        }
    ],
    "behavior": {
        "scaleDown": {
            "stabilizationWindowSeconds": 6,
            "limits": [{"replicas": 2, "periodSeconds": 5}],
        }
    },
    "drain": {"deadlineSeconds": 20},
    "hotSpots": {"holdSeconds": 5, "coolSeconds": 60, "prewarmSeconds": 60},
    "scaleToZero": {"idleSeconds": 15, "holdSeconds": 60},
}


class Fleet:
    """The fleet of a release's simulated engines."""

    def __init__(self, release: Release) -> None:
        self._release = release

    def apply(self, spec: dict[str, Any]) -> None:
        """`kubectl apply`, in YAML."""
        document = {
            "apiVersion": "cardan.dev/v1alpha1",
            "kind": "InferenceFleet",
            "metadata": {"name": NAME},
            "spec": spec,
        }
        self._release.kubectl("apply", "-f", "-", input=yaml.safe_dump(document))

    def delete(self) -> None:
        """`kubectl delete`, until it is gone."""
        self._release.kubectl("delete", "fleet", NAME, "--timeout=30s")

    def status(self) -> dict[str, Any]:
        """What the operator says of it: `kubectl get fleet -o yaml`."""
        found = yaml.safe_load(self._release.kubectl("get", "fleet", NAME, "-o", "yaml"))
        told: dict[str, Any] = found.get("status", {})
        return told

    def says(self, event: str = "", note: str = "", reason: str = "", **conditions: str) -> None:
        """Wait until a step is told in full.

        By an event whose note matches, by the same in the last decisions with a `reason`, and by
        conditions (`Ready="True AllReady"`).
        """
        until(lambda: not event or _any(note, self.told(event)), f"{event}: {note}")
        until(lambda: not reason or _any(note, self._decided(reason)), f"{reason}: {note}")
        until(lambda: conditions.items() <= self._conditions().items(), str(conditions))

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Whoever waits in vain in here is told all that is said of it instead."""
        try:
            yield
        except TimeoutError as error:
            events = [f"{one['reason']}: {one.get('note', '')}" for one in self.events()]
            error.add_note(yaml.safe_dump({"events": events, "status": self.status()}))
            raise

    def _decided(self, reason: str) -> list[str]:
        """The last decisions by a reason, in the words of their events."""
        found = self.status().get("lastDecisions", ())
        return [
            f"{one['pool']}: {one['from']} to {one['to']}: {one['message']}"
            for one in found
            if re.fullmatch(reason, one["reason"])
        ]

    def _conditions(self) -> dict[str, str]:
        """Each condition's status and reason."""
        told = self.status().get("conditions", ())
        return {one["type"]: f"{one['status']} {one['reason']}" for one in told}

    def asked_for(self) -> int:
        """The replicas that the engines' Deployment is to have."""
        return int(self._get("deployment", DEPLOYMENT)["spec"]["replicas"])

    def ready(self) -> int:
        """Those that are ready."""
        return int(self._get("deployment", DEPLOYMENT)["status"].get("readyReplicas", 0))

    def events(self) -> list[dict[str, Any]]:
        """What has happened to it, the oldest first; not to one that had its name before."""
        uid = self._get("fleet", NAME)["metadata"]["uid"]
        found = self._get("events.events.k8s.io")["items"]
        ours = [one for one in found if one["regarding"].get("uid") == uid]
        return sorted(ours, key=lambda one: str(one.get("eventTime")))

    def told(self, reason: str) -> list[str]:
        """The notes of all events of a reason."""
        return [one.get("note", "") for one in self.events() if one["reason"] == reason]

    def moves(self) -> list[dict[str, Any]]:
        """Moves of hot prefixes in force, as opposed to those of an engine's weight."""
        told: list[dict[str, Any]] = self.status().get("hotSpots", {}).get("moves", [])
        return [move for move in told if move.get("key")]

    def draining(self) -> int:
        """Replicas that finish what they run, to leave."""
        return sum(pool.get("draining", 0) for pool in self.status().get("pools", ()))

    def overlay(self) -> dict[str, Any]:
        """What gateways are told of the fleet's model; empty while they are told nothing."""
        found = self._release.kubectl(
            "get", "routingoverlays", "-o", "json", "--field-selector", f"metadata.name={NAME}"
        )
        for one in json.loads(found)["items"]:
            told: dict[str, Any] = one["spec"].get("models", {}).get(MODEL, {})
            return told
        return {}

    def _get(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._release.kubectl("get", *words, "-o", "json"))
        return found


def _any(pattern: str, notes: list[str]) -> bool:
    return any(re.search(pattern, note) for note in notes)
