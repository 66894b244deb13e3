"""What a test may ask of a cluster, whichever it is.

Three things stand behind it: an API server alone (`api`), a whole node (`full`), and a cluster that
somebody else made and named (`given`, a kind cluster as a rule). What one of them cannot do raises
`UnsupportedError`, and the test that asked for it is skipped; with a cluster of our own it fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Daemon = Literal[
    "etcd", "api-server", "controllers", "scheduler", "containerd", "kubelet", "proxy", "dns"
]
# A command that takes longer than this hangs: `helm install --wait` has its own --timeout.
COMMAND_TIMEOUT_S = 120.0


class Cluster(Protocol):
    """A Kubernetes cluster for tests."""

    @property
    def name(self) -> str:
        """Its name, unique on this machine."""

    @property
    def kubeconfig(self) -> Path:
        """Administrator's kubeconfig. Works from this machine and from inside alike."""

    @property
    def logs(self) -> Path:
        """A folder with a log for each daemon."""

    @property
    def full(self) -> bool:
        """Whether pods run. In an API-only cluster tests write the status of pods themselves."""

    def kubectl(
        self, *arguments: str, input: str | None = None, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> str:
        """What `kubectl` prints, as administrator. Raises CommandError with its errors."""

    def helm(
        self, *arguments: str, input: str | None = None, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> str:
        """What `helm` prints, as administrator. Raises CommandError with its errors."""

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` where pods and Services are reachable, for subprocess."""

    def run(
        self, *argv: str, input: str | None = None, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> str:
        """Run a command inside to its end; what it prints. Raises CommandError."""

    def token(self, namespace: str, service_account: str, duration_s: int = 3600) -> str:
        """A service account's own token, as a pod of it would have (at least 10 minutes)."""

    def kubeconfig_for(self, namespace: str, service_account: str) -> Path:
        """A kubeconfig that is a service account in its namespace: what the chart's RBAC allows."""

    def load_image(self, archive: Path) -> None:
        """Make an image archive (OCI or docker) known to the node; pods then must not pull it."""

    def stop(self, daemon: Daemon, grace_s: float = 0.0) -> None:
        """End a daemon: at once, or with SIGTERM and that long to leave by itself."""

    def start(self, daemon: Daemon) -> None:
        """Start a stopped daemon again, with the command line it had; wait until it answers."""

    def signal(self, daemon: Daemon, signum: int) -> None:
        """Send a signal. SIGSTOP to the API server is one that takes connections and is silent."""

    def compact(self) -> int:
        """Make etcd forget every revision up to now; that revision.

        The API server serves most watches from a memory of its own: a watch that asks for an older
        resourceVersion is told 410 Gone for certain only after `stop` and `start` of it as well.
        """
