"""The demo from its first line to its last: steps in order, each with what is worth seeing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from e2e import images
from e2e.cluster.errors import ClusterError
from e2e.demo import counters, fleet, steps
from e2e.demo.errors import DemoError
from e2e.demo.forward import fetch, forwarded
from e2e.demo.hot import Hot
from e2e.demo.load import Load, bundled, replay, whole

if TYPE_CHECKING:
    from cardan_sim.replay.figures import Figures

    from e2e.cluster.interface import Cluster
    from e2e.demo.tell import Teller

# The bundled trace has 600 requests. Two a second for each engine is half of what they can do, so
# that two cores are enough for a cluster, its load and somebody's browser.
RATE_RPS: Final = 8.0
STEADY: Final = 160  # requests: 20 s
# Requests during the upgrade, by how long the installation took: the upgrade takes one and a half
# times that, and must be over before the load is. The upper bound is what is left of the trace.
ROLLING_PER_S: Final = 4 * RATE_RPS
ROLLING_BETWEEN: Final = (240, 440)
# Engines at least that the load is worth: eight requests in flight each.
GROWN: Final = 2
ADMIN_PORT: Final = 9090
# How the status page can be known from any other page.
PAGE_TITLE: Final = "<title>Cardan"
LOAD: Final = "cardan-demo-load"
# For who has to do it by hand.
REMOVAL: Final = (
    f"kubectl delete fleet {fleet.NAME}; helm uninstall {steps.RELEASE}; "
    f"kubectl delete job,configmap {LOAD}"
)


class Story:
    """What has been found out so far, and the steps that follow from it."""

    def __init__(self, cluster: Cluster, tell: Teller) -> None:
        """A cluster on which nothing of ours need be left."""
        self._cluster = cluster
        self._tell = tell
        self._image = ""
        self._tag = ""
        self._installed_s = 0.0
        self.began = False  # whether anything of it is on the cluster

    def run(self) -> None:
        """All of it.

        Raises:
            DemoError: what was to be shown is not so, or the cluster has a release of our name
                that is somebody's.
        """
        earlier = steps.earlier(self._cluster)
        with self._tell.step("Images: gateway, operator and simulated engine, from this checkout"):
            self._tag = images.load(self._cluster)
            self._image = f"{images.REGISTRY}/cardan-engine:{self._tag}"
            for name in ("router", "controller", "engine"):
                self._tell.line(f"{images.REGISTRY}/cardan-{name}:{self._tag}")
        with self._tell.step("The chart: two gateways, four engines without a GPU"):
            if earlier:
                self._tell.line(f"The release {steps.RELEASE} of an earlier demo is replaced.")
            self._install()
        with self._tell.step("One request, and why it went where it went"):
            self._explain()
        with self._tell.step("Load: a real chat workload, sent by a pod through the Service"):
            self._load()
        with self._tell.step("An upgrade of everything, under the same load"):
            self._upgrade()
        with self._tell.step("A fleet: its operator lets it sleep, wakes it, and lets it grow"):
            self._fleet()
        with self._tell.step("A hot prefix gets more engines that own it, and then the load falls"):
            Hot(self._cluster, self._tell, Load(self._cluster, LOAD, self._image)).show()

    def undo(self) -> None:
        """Remove what is on the cluster by now.

        Raises:
            DemoError: not all of it is gone; the message says how to remove the rest.
        """
        if not self.began:
            return
        self._tell.line("Removing the release and its load ...")
        try:
            Load(self._cluster, LOAD, self._image).remove()
            fleet.remove(self._cluster)
            steps.uninstall(self._cluster)
        except (ClusterError, KeyboardInterrupt) as error:
            raise DemoError(f"stopped, but not all of it is removed: {REMOVAL}") from error

    def _install(self) -> None:
        self.began = True
        fleet.remove(self._cluster)
        steps.uninstall(self._cluster)
        self._tell.command("helm", *steps.install_words(self._tag))
        began = time.monotonic()
        steps.install(self._cluster, self._tag)
        self._installed_s = time.monotonic() - began
        self._tell.command("kubectl get pods")
        self._tell.block(self._cluster.kubectl("get", "pods"))
        found = self._counters().routable
        if found != [steps.ENGINES] * steps.GATEWAYS:
            raise DemoError(f"{steps.GATEWAYS} gateways see {found} engines, not {steps.ENGINES}")
        self._tell.line(f"Each gateway has found the {steps.ENGINES} engines by their label.")

    def _explain(self) -> None:
        with forwarded(self._cluster, "service/cardan", 8080) as url:
            self._tell.command(f"kubectl port-forward svc/cardan {url.rpartition(':')[2]}:8080 &")
            self._tell.command(f"cardan explain {url}")
            self._tell.block(steps.explain(url))

    def _load(self) -> None:
        load = Load(self._cluster, LOAD, self._image)
        with forwarded(self._cluster, steps.GATEWAY, ADMIN_PORT) as url:
            port = url.rpartition(":")[2]
            self._tell.command(f"kubectl port-forward {steps.GATEWAY} {port}:{ADMIN_PORT} &")
            self._status_page(f"{url}/ui")
            self._tell.command("cardan", *replay(RATE_RPS)[:-2], "  # in a pod")
            load.start(bundled(0, STEADY), RATE_RPS)
            with self._tell.clock("sending and waiting for the last answers") as clock:
                load.await_running(clock)
                while not load.over():
                    clock.tick()
        self._tell_figures(whole(load.figures(), STEADY))
        load.remove()
        self._tell_engines()

    def _status_page(self, url: str) -> None:
        if PAGE_TITLE not in fetch(url):
            raise DemoError(f"{url} is not the gateway's status page")
        self._tell.line(f"The status page of one gateway, while this step lasts: {url}")

    def _tell_figures(self, figures: Figures) -> None:
        self._tell.line(
            f"{figures.succeeded} requests sent, {figures.succeeded} answered whole; "
            f"{_percent(figures.hit_ratio)} of their prompt tokens were in an engine's cache."
        )
        if figures.ttft_s:
            self._tell.line(
                f"First token after {figures.ttft_s.p50_s:.2f} s in the median, "
                f"{figures.ttft_s.p99_s:.2f} s for the slowest in a hundred."
            )
        if figures.lateness.behind:
            self._tell.line("(This machine is too busy to send in time: expect longer waits.)")

    def _tell_engines(self) -> None:
        """Balance and hit rate as the gateways count them; the load's requests must be in it."""
        rows = self._counters().rows()
        counted = sum(row.requests for row in rows)
        if len(rows) != steps.ENGINES or counted < STEADY:
            raise DemoError(f"the gateways count {counted} requests to {len(rows)} engines")
        self._tell.line("What the gateways' metrics say of it (cardan_endpoint_requests_total,")
        self._tell.line("cardan_cached_tokens_actual_total, cardan_cached_tokens_prompt_total):")
        self._tell.table(
            [
                ("engine", "requests", "prompt tokens", "from cache"),
                *(
                    (
                        row.endpoint,
                        str(row.requests),
                        f"{row.prompt_tokens:,}",
                        _percent(row.cached_tokens / row.prompt_tokens),
                    )
                    for row in rows
                ),
            ]
        )

    def _upgrade(self) -> None:
        before = self._pods()
        requests = rolling(self._installed_s)
        load = Load(self._cluster, LOAD, self._image)
        load.start(bundled(STEADY, requests), RATE_RPS)
        with self._tell.clock("under load") as clock:
            load.await_running(clock)
            self._tell.command("helm", *steps.upgrade_words(images.next_tag()))
            took_s = steps.upgrade(self._cluster, images.next_tag(), clock)
            covered = not load.over()
            while not load.over():
                clock.tick()
        if not steps.replaced(before, self._pods()):
            raise DemoError(f"not all of {before} were replaced")
        figures = whole(load.figures(), requests)
        load.remove()
        if not covered:
            raise DemoError(f"the load was over before the upgrade, which took {took_s:.0f} s")
        self._tell.line(
            f"{steps.GATEWAYS} gateways and {steps.ENGINES} engines were replaced in "
            f"{took_s:.0f} s. Meanwhile and after: {figures.succeeded} requests, 0 failed."
        )

    def _fleet(self) -> None:
        self._tell.command("helm", *fleet.turn_on_words())
        fleet.turn_on(self._cluster)
        self._tell.command("kubectl apply -f", fleet.FILE)
        fleet.create(self._cluster)
        with self._tell.clock("nobody asks for anything") as clock:
            fleet.wait(lambda: fleet.asked_for(self._cluster) == 0, "the fleet to sleep", clock)
            fleet.wait(lambda: "Asleep" in fleet.table(self._cluster), "it to say so", clock)
        self._tell.command("kubectl get fleet")
        self._tell.block(fleet.table(self._cluster))
        self._wake()
        self._grow()
        self._tell.command("kubectl describe fleet", fleet.NAME, "  # its events")
        self._tell.block(fleet.events(self._cluster))

    def _wake(self) -> None:
        with forwarded(self._cluster, "service/cardan", 8080) as url:
            self._tell.command(f"cardan explain {url}")
            began = time.monotonic()
            steps.explain(url)
        self._tell.line(
            f"Answered after {time.monotonic() - began:.1f} s: the gateway held it, told the "
            "operator, and an engine started."
        )

    def _grow(self) -> None:
        load = Load(self._cluster, LOAD, self._image)
        load.start(bundled(0, STEADY), RATE_RPS)
        most = 0
        with self._tell.clock("under load") as clock:
            load.await_running(clock)
            while not load.over():
                most = max(most, fleet.ready(self._cluster))
                clock.tick()
        figures = whole(load.figures(), STEADY)
        load.remove()
        if most < GROWN:
            raise DemoError(f"the fleet has not grown under load: {most} engines")
        self._tell.line(
            f"It grew to {most} engines under the same load as before: {figures.succeeded} "
            "requests, 0 failed."
        )

    def _pods(self) -> list[str]:
        return [
            *steps.pods(self._cluster, "router"),
            *steps.pods(self._cluster, "engine"),
        ]

    def _counters(self) -> counters.Counters:
        return counters.read(self._cluster, steps.pods(self._cluster, "router"))


def rolling(installed_s: float) -> int:
    """How many requests to send during an upgrade, on a cluster this quick."""
    least, most = ROLLING_BETWEEN
    return max(least, min(most, round(ROLLING_PER_S * installed_s)))


def _percent(ratio: float | None) -> str:
    return "?" if ratio is None else f"{100 * ratio:.1f} %"
