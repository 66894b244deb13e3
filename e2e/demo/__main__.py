"""`python -m e2e.demo`: the whole of Cardan on a Kubernetes cluster, in about five minutes."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from e2e.cluster.errors import ClusterError
from e2e.demo import where
from e2e.demo.errors import DemoError
from e2e.demo.story import REMOVAL, Story
from e2e.demo.tell import Teller

if TYPE_CHECKING:
    from types import FrameType

    from e2e.demo.where import Where


def main() -> int:
    """Run it; 1 and a sentence where something is not as it was to be shown."""
    parser = argparse.ArgumentParser(prog="python -m e2e.demo", description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="leave the cluster, and say how to use it"
    )
    parser.add_argument(
        "--on", choices=["kind", "own"], help="which cluster, instead of finding out"
    )
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        _run(options.on or where.choose(), keep=options.keep)
    except (ClusterError, DemoError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped, with everything that it had started", file=sys.stderr)
        return 130
    return 0


def _run(which: str, *, keep: bool) -> None:
    tell = Teller()
    tell.title("Cardan on Kubernetes: a cluster, the chart, a workload, a rollout under load.")
    with contextlib.ExitStack() as stack:
        with tell.step("A cluster"):
            if words := where.before(which):
                tell.line(words)
            found = stack.enter_context(where.cluster(which, keep=keep))
            _introduce(found, tell)
        _show(found, tell)
        if keep or found.stays:
            _hand_over(found, tell)
        else:
            with tell.step("Away with it"):
                stack.close()
                tell.line("Nothing is left. To keep it and look around: make demo-k8s KEEP=1")
    tell.title(f"All of it true, in {time.monotonic() - tell.began:.0f} s.")


def _show(found: Where, tell: Teller) -> None:
    """The story. A cluster that stays anyway is not left with half of it, unless it went wrong."""
    story = Story(found.cluster, tell)
    try:
        story.run()
    except KeyboardInterrupt:
        if found.stays:
            story.undo()
            tell.line("The cluster stays: it was there before.")
        raise
    except (ClusterError, DemoError):
        if found.stays and story.began:
            tell.line(f"All of it stays, to be looked at. To remove it: {REMOVAL}")
        raise


def _introduce(found: Where, tell: Teller) -> None:
    version = json.loads(found.cluster.kubectl("version", "-o", "json"))["serverVersion"]
    tell.line(f"Kubernetes {version['gitVersion']}: {found.about}")
    tell.line("To look around meanwhile, in another terminal:")
    for line in where.environment(found):
        tell.line(f"  {line}")


def _hand_over(found: Where, tell: Teller) -> None:
    """What to do with a cluster that stays."""
    tell.title("It stays. In a terminal of yours:")
    for line in [
        *where.environment(found),
        "kubectl get pods",
        "kubectl port-forward svc/cardan 8080 &",
        "cardan explain http://127.0.0.1:8080",
        "kubectl port-forward deploy/cardan-router 9090 &   # http://127.0.0.1:9090/ui",
        f"{found.removal}   # removes it" if found.removal else "helm uninstall cardan",
    ]:
        tell.line(line)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """End as after Ctrl-C: every block on the way out undoes what it did."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
