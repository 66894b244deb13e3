"""A cluster that somebody else made: `CARDAN_KUBECONFIG=/path`, asked for in so many words.

A test session installs, deletes and overloads: `KUBECONFIG` and `~/.kube/config` are therefore
never looked at. The cluster has to be one to throw away. For kind (a context called `kind-NAME`)
images are loaded by kind, and on Linux as root commands run in the network of its node's container.
For others `CARDAN_LOAD_IMAGE` names a command that is given the archive as its last word.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from e2e.cluster import commands
from e2e.cluster.client import Client
from e2e.cluster.errors import ClusterError, UnavailableError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from e2e.cluster.interface import Daemon

VARIABLE = "CARDAN_KUBECONFIG"
LOADER = "CARDAN_LOAD_IMAGE"
KIND = "kind-"  # how kind calls the context of its cluster NAME
LOAD_TIMEOUT_S = 300.0


def asked_for() -> Path | None:
    """The kubeconfig of the given cluster, if one was given."""
    path = os.environ.get(VARIABLE, "")
    return Path(path) if path else None


@contextmanager
def given(kubeconfig: Path) -> Iterator[GivenCluster]:
    """The given cluster, once it has answered.

    Raises:
        UnavailableError: the file is not there, or the cluster does not answer.
    """
    if not kubeconfig.exists():
        raise UnavailableError(f"{VARIABLE} names {kubeconfig}, which is not there")
    with tempfile.TemporaryDirectory(prefix="cardan-given-") as folder:
        try:
            cluster = GivenCluster(kubeconfig, Path(folder))
            cluster.kubectl("get", "--raw", "/readyz", timeout_s=30)
        except ClusterError as error:
            raise UnavailableError(f"the cluster of {VARIABLE} does not answer") from error
        yield cluster


class GivenCluster(Client):
    """See `interface.Cluster`. Its daemons are not ours: they are neither stopped nor started."""

    full = True

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        super().__init__(kubeconfig, folder)
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.name = self.kubectl("config", "current-context").strip()

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command, in the network of kind's node."""
        if not self.name.startswith(KIND) or os.geteuid():
            raise UnsupportedError(f"no way into the network of {self.name}")
        node = f"{self.name.removeprefix(KIND)}-control-plane"
        format_ = "--format={{.State.Pid}}"
        pid = commands.output(["docker", "inspect", format_, node]).strip()
        return ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *argv]

    def load_image(self, archive: Path) -> None:
        """Have the archive loaded by kind, or by the command that was named for it."""
        if loader := os.environ.get(LOADER):
            argv = shlex.split(loader)
        elif self.name.startswith(KIND):
            argv = ["kind", "load", "image-archive", "--name", self.name.removeprefix(KIND)]
        else:
            raise UnsupportedError(f"set {LOADER} to a command that loads an image archive")
        commands.output([*argv, archive], timeout_s=LOAD_TIMEOUT_S)

    def stop(self, daemon: Daemon, grace_s: float = 0.0) -> None:
        """Not ours."""
        self._refuse(daemon)

    def start(self, daemon: Daemon) -> None:
        """Not ours."""
        self._refuse(daemon)

    def signal(self, daemon: Daemon, signum: int) -> None:
        """Not ours."""
        self._refuse(daemon)

    def compact(self) -> int:
        """Not ours."""
        self._refuse("etcd")

    def _refuse(self, daemon: str) -> NoReturn:
        raise UnsupportedError(f"{daemon} of {self.name} is not ours to handle")
