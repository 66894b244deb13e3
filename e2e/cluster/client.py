"""What works the same against every cluster: kubectl, helm, tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from e2e.cluster import commands, find, kubeconfig
from e2e.cluster.interface import COMMAND_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Client:
    """The half of a cluster that only needs its kubeconfig."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self.kubeconfig = kubeconfig
        self._folder = folder

    def inside(self, argv: Sequence[str]) -> list[str]:
        """Where this machine's own network will do, the command itself."""
        return list(argv)

    def beside(self, argv: Sequence[str]) -> list[str]:
        """The command, where the kubeconfig's server answers."""
        return list(argv)

    def kubectl(
        self, *arguments: str, input: str | None = None, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> str:
        """What `kubectl` prints, as administrator."""
        # Its own cache of discovery: a shared one believes old clusters on the same port.
        own = ["--kubeconfig", str(self.kubeconfig), "--cache-dir", str(self._folder / "kubectl")]
        argv = self.beside([str(find.tool("kubectl")), *own, *arguments])
        return commands.output(argv, input=input, timeout_s=timeout_s)

    def helm(
        self, *arguments: str, input: str | None = None, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> str:
        """What `helm` prints, as administrator."""
        homes = {
            f"HELM_{kind}_HOME": str(self._folder / "helm" / kind.lower())
            for kind in ("CACHE", "CONFIG", "DATA")
        }
        argv = [str(find.tool("helm")), "--kubeconfig", str(self.kubeconfig), *arguments]
        return commands.output(self.beside(argv), input=input, timeout_s=timeout_s, env=homes)

    def run(
        self, *argv: str, input: str | None = None, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> str:
        """Run a command inside to its end."""
        return commands.output(self.inside(argv), input=input, timeout_s=timeout_s)

    def token(self, namespace: str, service_account: str, duration_s: int = 3600) -> str:
        """A service account's own token."""
        duration = f"--duration={duration_s}s"
        return self.kubectl("create", "token", service_account, "-n", namespace, duration).strip()

    def kubeconfig_for(self, namespace: str, service_account: str) -> Path:
        """A kubeconfig that is a service account in its namespace."""
        shown = json.loads(self.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        return kubeconfig.write(
            self._folder / "kubeconfig" / f"{namespace}.{service_account}",
            shown["clusters"][0]["cluster"],
            {"token": self.token(namespace, service_account)},
            namespace,
        )
