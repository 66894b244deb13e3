"""The table of docs/reference/rollouts.md: changes to a release under load, and what was lost.

    python -m e2e.deploy.rollouts                 all, on a cluster of its own; writes the page
    python -m e2e.deploy.rollouts scale upgrade   some of it, printed alone

Exit status 1 if anything was lost that had to be kept. `make rollouts` runs it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from e2e import images
from e2e.cluster import given, up
from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import ROOT
from e2e.cluster.versions import KUBERNETES
from e2e.deploy.changes import CHANGES, Result, measure
from e2e.deploy.release import ENGINES, Release
from e2e.deploy.running import RATE_PER_S, TOKENS
from e2e.namespaces import restricted

if TYPE_CHECKING:
    from e2e.cluster.interface import Cluster
    from e2e.deploy.load import Failure

PAGE: Final = ROOT / "docs/reference/rollouts.md"
NAME: Final = "rollouts"


class Times(NamedTuple):
    """How long it took until there was something to measure, in seconds."""

    cluster_s: float
    install_s: float


def main() -> int:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("change", nargs="*", help=", ".join(change.name for change in CHANGES))
    parser.add_argument("--rate", type=float, default=RATE_PER_S, metavar="PER_S")
    args = parser.parse_args()
    if unknown := set(args.change) - {change.name for change in CHANGES}:
        parser.error(f"no such change: {', '.join(sorted(unknown))}")
    began = time.monotonic()
    kubeconfig = given.asked_for()
    try:
        with given.given(kubeconfig) if kubeconfig else up.full(NAME) as cluster:
            up_s = time.monotonic() - began
            times, results = _measure_all(cluster, up_s, args.change, args.rate)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    if not args.change:
        PAGE.write_text(page(times, results))
        print(f"written: {PAGE.relative_to(ROOT)}")
    return 1 if any(result.lost for result in results) else 0


def _measure_all(
    cluster: Cluster, up_s: float, names: list[str], rate_per_s: float
) -> tuple[Times, list[Result]]:
    tag = images.load(cluster)
    results = []
    with restricted(cluster, "deploy") as where:
        release = Release(cluster, where)
        began = time.monotonic()
        release.install(tag)
        times = Times(up_s, time.monotonic() - began)
        print(f"cluster {times.cluster_s:.0f} s, installed after {times.install_s:.0f} s")
        for change in CHANGES:
            if not names or change.name in names:
                results.append(measure(release, change, rate_per_s))
                print(line(results[-1]), flush=True)
                _tell(results[-1])
        release.helm("uninstall", "cardan", "--wait")
    return times, results


def _tell(result: Result) -> None:
    for failure in result.lost[:10]:
        print(f"    lost: {failure}")


def line(result: Result) -> str:
    """A row of the table."""
    report = result.report
    failed = f"**{len(result.lost)}**"
    if result.carried:
        failed += f"; {_kinds(result.carried)} of what it carried"
    if result.unnoticed:
        began = [failure.began_at for failure in result.unnoticed]
        failed += f"; {_kinds(result.unnoticed)} in {max(began) - min(began):.1f} s, unnoticed"
    cells = (
        result.title,
        f"{result.took_s:.0f} s",
        f"{report.total}",
        failed,
        f"{report.most_in_flight}",
        f"{report.ttft_p50_s:.2f} s, {report.ttft_p99_s:.2f} s",
    )
    return f"| {' | '.join(cells)} |"


def _kinds(failures: list[Failure]) -> str:
    counts = Counter(failure.outcome for failure in failures)
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))


def page(times: Times, results: list[Result]) -> str:
    """docs/reference/rollouts.md."""
    rows = "\n".join(line(result) for result in results)
    stream_s = min(result.report.stream_p50_s for result in results)
    rate = sum(result.report.rate_per_s for result in results) / len(results)
    return f"""\
# Rollouts: what is lost

<!-- Written by `make rollouts` (python -m e2e.deploy.rollouts): measure again, do not edit. -->

Measured on a real cluster (Kubernetes {KUBERNETES}: kubelet, containerd, kube-proxy, DNS) on
{os.cpu_count()} cores, which carry all of it: the cluster, the chart with 2 gateways and {ENGINES}
simulated engines, and the clients. Why nothing is lost, and what your own engines need for it:
[Rollouts without loss](../explanation/rollouts.md).

The load is open-loop, {rate:.0f} streams a second through the Service's cluster address, each of
{TOKENS} tokens, which took {stream_s:.1f} s or more (median): hundreds straddle every change.
A third of the requests come by a new connection each, a third from a pool that keeps connections
for five seconds (as httpx and the OpenAI SDK do), a third from a pool that keeps them for as long
as it may and takes the one that was idle longest. **No request is ever tried again by its
client.** A request has failed unless its stream is complete: status 200, every token, `[DONE]`, the
last chunk.

| change, under load | took | requests | lost | most at once | TTFT p50, p99 |
|---|---|---|---|---|---|
{rows}

*Took* is until the new pods were ready and the last old one was gone. What a killed process carried
is cut with it: a gateway's streams break off (*cut*, or *reset* before their first byte), an
engine's end with an error event (*told*); requests that an engine had not begun to answer are
answered by another. Where a gateway's process dies without Kubernetes' doing, its pod is sent new
connections until the node has noticed, which looks once a second: they are *refused*. No request
was sent on them, so any client may try them again.

From built caches the cluster was up after {times.cluster_s:.0f} s, and `helm install --wait` took
{times.install_s:.0f} s.
"""


if __name__ == "__main__":
    sys.exit(main())
