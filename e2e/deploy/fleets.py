"""A fleet as its owner sees it: its specification in YAML, and what `kubectl` tells of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from e2e.deploy.running import MODEL

if TYPE_CHECKING:
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
    "drain": {"deadlineSeconds": 60},
    "scaleToZero": {"idleSeconds": 12, "holdSeconds": 60},
}


class Fleet:
    """The fleet of a release's simulated engines."""

    def __init__(self, release: Release) -> None:
        self._release = release

    def apply(self, spec: dict[str, Any]) -> None:
        """`kubectl apply`."""
        document = {
            "apiVersion": "cardan.dev/v1alpha1",
            "kind": "InferenceFleet",
            "metadata": {"name": NAME},
            "spec": spec,
        }
        self._release.kubectl("apply", "-f", "-", input=json.dumps(document))

    def delete(self) -> None:
        """`kubectl delete`, until it is gone."""
        self._release.kubectl("delete", "fleet", NAME, "--timeout=30s")

    def status(self) -> dict[str, Any]:
        """What the operator says of it."""
        told: dict[str, Any] = self._get("fleet", NAME).get("status", {})
        return told

    def condition(self, type_: str) -> tuple[str, str]:
        """A condition's status and reason; Unknown while there is none."""
        for one in self.status().get("conditions", ()):
            if one["type"] == type_:
                return one["status"], one["reason"]
        return "Unknown", ""

    def asked_for(self) -> int:
        """The replicas that the engines' Deployment is to have."""
        return int(self._get("deployment", DEPLOYMENT)["spec"]["replicas"])

    def ready(self) -> int:
        """Those that are ready."""
        return int(self._get("deployment", DEPLOYMENT)["status"].get("readyReplicas", 0))

    def events(self) -> list[dict[str, Any]]:
        """What has happened to it, the oldest first."""
        found = self._get("events.events.k8s.io")["items"]
        ours = [one for one in found if one["regarding"].get("kind") == "InferenceFleet"]
        return sorted(ours, key=lambda one: str(one.get("eventTime")))

    def told(self, reason: str) -> list[str]:
        """The notes of all events of a reason."""
        return [one.get("note", "") for one in self.events() if one["reason"] == reason]

    def last(self) -> dict[str, Any]:
        """The last decision; empty before the first."""
        decisions = self.status().get("lastDecisions") or [{}]
        last: dict[str, Any] = decisions[0]
        return last

    def moves(self) -> list[dict[str, Any]]:
        """Moves of hot prefixes in force."""
        told: list[dict[str, Any]] = self.status().get("hotSpots", {}).get("moves", [])
        return told

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
