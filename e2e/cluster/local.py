"""A cluster of our own, held: both flavours, API only and full."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING

from e2e.cluster import commands, starting
from e2e.cluster.client import Client
from e2e.cluster.errors import UnsupportedError
from e2e.cluster.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from e2e.cluster.held import Held
    from e2e.cluster.interface import Daemon
    from e2e.cluster.layout import Layout

# Importing 200 MB of layers took 6 s here; a busy machine is slower.
LOAD_TIMEOUT_S = 180.0


class LocalCluster(Client):
    """A cluster that a keeper of ours keeps. See `interface.Cluster` for what each method means."""

    def __init__(self, held: Held, layout: Layout) -> None:
        super().__init__(layout.kubeconfig("admin"), layout.folder)
        self._held = held
        self.layout = layout

    @property
    def name(self) -> str:
        """Its name."""
        return self.layout.folder.name

    @property
    def logs(self) -> Path:
        """A folder with a log for each daemon."""
        return self.layout.logs

    @property
    def full(self) -> bool:
        """Whether pods run."""
        return self.layout.full

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command, in the cluster's network namespace if it has one.

        `nsenter`, not `ip netns exec`: the latter mounts another /sys, without the cgroups.
        """
        if not self.full:
            return list(argv)
        return ["nsenter", f"--net=/proc/{self.first}/ns/net", "--", *argv]

    @cached_property
    def first(self) -> int:
        """The first process of the cluster's namespaces, which lives as long as they do."""
        return int(self._held.ask("status")["first"])

    def beside(self, argv: Sequence[str]) -> list[str]:
        """Inside: its port outside is carried by a Python process, which costs under load."""
        return self.inside(argv)

    def load_image(self, archive: Path) -> None:
        """Import an archive into containerd's namespace for Kubernetes."""
        if not self.full:
            raise UnsupportedError("an API-only cluster runs no images")
        socket = str(self.layout.folder / "containerd.sock")
        argv = ["ctr", "--address", socket, "--namespace", "k8s.io", "images", "import"]
        commands.output([*argv, archive], timeout_s=LOAD_TIMEOUT_S)

    def stop(self, daemon: Daemon, grace_s: float = 0.0) -> None:
        """End a daemon."""
        self._held.ask("stop", name=daemon, grace_s=grace_s)

    def start(self, daemon: Daemon) -> None:
        """Start a stopped daemon again."""
        starting.start(self._held, self.layout, daemon)
        if daemon == "api-server":
            starting.await_api(self._held, self.layout)

    def signal(self, daemon: Daemon, signum: int) -> None:
        """Send a signal."""
        self._held.ask("signal", name=daemon, signum=int(signum))

    def compact(self) -> int:
        """Make etcd forget every revision up to now; that revision."""
        url = f"http://127.0.0.1:{self.layout.etcd_port}"
        argv = [sys.executable, "-m", "e2e.cluster.compaction", url]
        return int(commands.output(self.inside(argv), cwd=ROOT))

    def keep(self) -> None:
        """Let it live without holders, until `down`."""
        self._held.ask("set", what="kept")

    def alone(self) -> bool:
        """Whether it would end if it were let go."""
        status = self._held.ask("status")
        return status["holders"] == 1 and not status["kept"]

    def let_go(self) -> None:
        """Hold it no longer. It ends with its last holder."""
        self._held.let_go()
