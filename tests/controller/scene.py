"""A cluster made of values: what ticks are given, and an API that does what is written to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from cardan.instants import WallTime
from cardan.overlay import RoutingOverlay
from cardan_controller.cluster.pods import DELETION_COST, PodFacts, PodIndex
from cardan_controller.cluster.selectors import parse
from cardan_controller.cluster.targets import TargetFacts
from cardan_controller.config import OperatorConfig
from cardan_controller.crds.documents import read_fleet
from cardan_controller.fleets import Fleets
from cardan_controller.gathering import Cluster
from cardan_controller.metrics.answers import Answer, Answers
from cardan_controller.metrics.asks import ASKS
from cardan_controller.planning import MANAGER, Scaling
from cardan_controller.recorder import Recorder
from cardan_controller.telemetry import Telemetry
from cardan_controller.ticking import Ticker
from cardan_controller.wakes import Wakes
from cardan_kube.api import ApiError

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from cardan_controller.cluster.targets import TargetRef
    from cardan_controller.crds.documents import Fleet
    from cardan_kube.api import Request
    from cardan_kube.reflector import Fault

START = WallTime(1_800_000_000.0)
POOL = {
    "name": "main",
    "scaleTargetRef": {"kind": "Deployment", "name": "llama"},
    "minReplicas": 1,
    "maxReplicas": 8,
}


class FakeApi:
    """Keeps what is written. `refuse` are faults by kind of path; `hold` lets writes wait."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.writes: list[Request] = []
        self.refuse: dict[str, Fault] = {}
        self.hold: asyncio.Event | None = None

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """Nothing is asked here."""
        raise AssertionError(f"{path} {query}")

    async def send(self, request: Request) -> bytes:
        """See `Api`."""
        if self.hold is not None:
            await self.hold.wait()
        await asyncio.sleep(0)
        kind = what(request)
        if kind in self.refuse:
            raise ApiError(self.refuse[kind], f"{kind} is refused")
        self.writes.append(request)
        self.scene.happens(kind, request)
        return b"{}"

    def written(self, kind: str) -> list[Request]:
        """The writes of a kind."""
        return [request for request in self.writes if what(request) == kind]


def what(request: Request) -> str:
    """What a request is about, by its path."""
    parts = request.path.split("/")
    for word in ("scale", "status"):
        if parts[-1] == word:
            return word
    return next((w for w in ("routingoverlays", "events", "pods") if w in parts), parts[-1])


class Scene:
    """A fleet of one Deployment, in namespace `n`, and the ticks of an operator."""

    def __init__(self, replicas: int = 2, **config: Any) -> None:
        self.replicas = {"llama": replicas}
        self.writers: dict[str, tuple[str, ...]] = {"llama": ("kubectl",)}
        self.overlays: dict[str, RoutingOverlay] = {}
        self.costs: dict[str, int | None] = {}
        self.kept_costs: dict[str, int | None] = {}
        self.stale = ""
        self.others: set[str] = set()
        self.unsure: set[str] = set()  # of these it is not known whether they are alive
        self.unready = 0
        self.values: dict[str, dict[tuple[str, ...], float]] = {}
        self.now = START
        self.leads = True
        self.api = FakeApi(self)
        self.pressed: list[tuple[str, str]] = []
        self.fleets = Fleets(self.pressed.append)
        self.wakes = Wakes(lambda: None)
        self.telemetry = Telemetry()
        self.config = OperatorConfig(**config)
        self.ticker = self.operator()

    def operator(self) -> Ticker:
        """A process that has only just begun to lead."""
        self.recorder = Recorder(self.config.record)
        self.recorder.start()
        return Ticker(
            self.config,
            self.fleets,
            self.wakes,
            self.api,
            self.telemetry,
            lambda: self.leads,
            "test",
            self.recorder,
        )

    def fleet(self, name: str = "llama", uid: str = "", status: Any = None, **spec: Any) -> Fleet:
        """A fleet, as its watch tells of it."""
        pool = {**POOL, **spec.pop("pool", {})}
        annotations = spec.pop("annotations", {})
        version = spec.pop("version", "1")
        created = spec.pop("created", "2026-11-21T10:00:00Z")
        manifest = {
            "metadata": {
                "name": name,
                "namespace": "n",
                "uid": uid or f"uid-{name}",
                "generation": 1,
                "creationTimestamp": created,
                "resourceVersion": version,
                "annotations": annotations,
            },
            "spec": {"model": "m", "pools": [pool], **spec},
            "status": status or {},
        }
        fleet = read_fleet(msgspec.json.encode(manifest))
        self.fleets.changed(fleet)
        return fleet

    def load(self, requests: float, tokens: float, *, noise: random.Random | None = None) -> None:
        """What gateways counted: requests and prompt tokens a second, as many generated ones."""

        def sway() -> float:
            return 1.0 if noise is None else noise.uniform(0.9, 1.1)

        here, model = ("n",), ("n", "m")
        came = requests * sway()
        self.values = {
            "sample_age_s": {here: 1.0},
            "gateways": {here: 1.0},
            "requests": {model: came},
            "answered": {model: came},
            "prompt_tokens": {model: tokens * sway()},
            "output_tokens": {model: tokens * sway()},
            "held": {model: 0.0},
            "in_flight": {("n", pod.name): requests * sway() for pod in self.pods()},
            "running": {("n", pod.name): requests * sway() for pod in self.pods()},
            "endpoint_hit_tokens": {("n", pod.name): 0.0 for pod in self.pods()},
            "endpoint_tokens": {("n", pod.name): tokens * sway() for pod in self.pods()},
        }

    async def tick(self, after_s: float = 15.0, only: Any = None) -> set[tuple[str, str]]:
        """The next tick."""
        self.now = WallTime(self.now + after_s)
        asked = {name: Answer(self.values.get(name, {})) for name in ASKS}
        return await self.ticker.tick(self.cluster(), Answers(self.now, asked), self.now, only)

    async def forget(self, fleet: Fleet) -> None:
        """Somebody has deleted a fleet."""

        async def look() -> Cluster:
            return self.cluster()

        self.fleets.changed(fleet, deleted=True)
        await self.ticker.forget(fleet, look)

    def cluster(self) -> Cluster:
        """As it is now."""
        return Cluster(
            pods=PodIndex(self.pods()),
            target=self.target,
            autoscalers={},
            budgets={},
            overlay=lambda namespace, name: self.overlays.get(f"{namespace}/{name}"),
            ready_gateways=lambda *_: 1,
            claimed={},
            with_namespace=False,
            stale=self.stale,
            kept_elsewhere=self._kept_elsewhere,
            is_alive=lambda operator: operator not in self.unsure,
        )

    def _kept_elsewhere(self, fleet: Fleet) -> str:
        """By which of the other operators that are alive."""
        return fleet.status.operator if fleet.status.operator in self.others else ""

    def target(self, ref: TargetRef) -> tuple[Scaling, TargetFacts] | str:
        """A Deployment."""
        if ref.name not in self.replicas:
            return f"there is no {ref.kind} {ref.name}"
        path = f"/apis/apps/v1/namespaces/n/deployments/{ref.name}/scale"
        facts = TargetFacts(
            replicas=self.replicas[ref.name],
            selector=parse(f"app={ref.name}"),
            writers=self.writers[ref.name],
        )
        return Scaling(path, facts.replicas, "1", facts.writers), facts

    def pods(self) -> list[PodFacts]:
        """All are ready but the last `unready`."""
        return [
            PodFacts(
                name=f"{name}-{number}",
                namespace="n",
                uid=f"pod-{number}",
                labels={"app": name},
                created_at=WallTime(START - 7200),
                ready_at=WallTime(START - 7100) if number < count - self.unready else None,
                deletion_cost=self.costs.get(f"{name}-{number}"),
                kept_cost=self.kept_costs.get(f"{name}-{number}"),
            )
            for name, count in self.replicas.items()
            for number in range(count)
        ]

    def happens(self, kind: str, request: Request) -> None:
        """What is written is so."""
        body: Any = request.body
        name = request.path.split("/")[-2] if kind == "scale" else request.path.split("/")[-1]
        if kind == "scale":
            self.replicas[name] = body["spec"]["replicas"]
            self.writers[name] = (MANAGER,)
        elif kind == "pods" and request.method == "PATCH":
            for annotation, cost in body["metadata"]["annotations"].items():
                costs = self.costs if annotation == DELETION_COST else self.kept_costs
                costs[name] = None if cost is None else int(cost)
        elif kind == "routingoverlays" and request.method == "DELETE":
            self.overlays.pop(f"n/{name}", None)
        elif kind == "routingoverlays":
            self.overlays[f"n/{name}"] = msgspec.convert(body["spec"], RoutingOverlay)
