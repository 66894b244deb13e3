"""`kubectl port-forward` for as long as a block lasts."""

from __future__ import annotations

import re
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from e2e.cluster import find
from e2e.demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster.interface import Cluster

FORWARDING: Final = re.compile(r"Forwarding from (127\.0\.0\.1:\d+)")
# It answers within a second; it hangs where the pod is gone.
START_S: Final = 15.0
FETCH_S: Final = 10.0


@contextmanager
def forwarded(cluster: Cluster, what: str, port: int) -> Iterator[str]:
    """The URL on this machine at which a port of a Service or a Deployment answers.

    Raises:
        DemoError: it does not come about.
    """
    argv = [str(find.tool("kubectl")), "--kubeconfig", str(cluster.kubeconfig)]
    process = subprocess.Popen(
        [*argv, "port-forward", what, f":{port}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C is ours, and this ends with the block
    )
    try:
        yield f"http://{_address(process)}"
    finally:
        process.kill()
        process.communicate()


def _address(process: subprocess.Popen[str]) -> str:
    """Where it listens. A process that hangs is killed, which ends the wait for its words."""
    assert process.stdout is not None
    said = ""
    limit = threading.Timer(START_S, process.kill)
    limit.start()
    try:
        for line in process.stdout:
            said += line
            if found := FORWARDING.search(line):
                return found[1]
    finally:
        limit.cancel()
    raise DemoError(f"kubectl port-forward does not work: {said.strip() or 'it says nothing'}")


def fetch(url: str) -> str:
    """What a browser would get.

    Raises:
        DemoError: no page.
    """
    try:
        with urllib.request.urlopen(url, timeout=FETCH_S) as answer:
            text: str = answer.read().decode()
    except (urllib.error.URLError, OSError) as error:
        raise DemoError(f"{url}: {error}") from error
    return text
