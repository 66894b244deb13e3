"""Where the parts of one cluster are: files, ports, addresses, binaries. A value, kept as a file.

A second process that holds the same cluster reads it from there.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

# Inside the network namespace nobody else has these, whatever the machine around it uses.
NODE = "10.9.0.1"
GATEWAY = "10.9.0.2"
POD_SUBNET = "10.244.0.0/24"


@dataclass(frozen=True)
class Layout:
    """One cluster's places."""

    folder: Path
    bin: Path
    full: bool
    port: int  # of the API server: on this machine's loopback, and the same one inside
    etcd_port: int
    etcd_peer_port: int
    controllers_port: int
    node: str = NODE

    @classmethod
    def make(cls, folder: Path, bin_folder: Path, *, full: bool) -> Layout:
        """Places for a new cluster. API-only ones share the loopback and take free ports."""
        api, etcd, peer, controllers = free_ports(4)
        if full:
            etcd, peer, controllers = 2379, 2380, 10257
        return cls(folder, bin_folder, full, api, etcd, peer, controllers)

    @classmethod
    def read(cls, folder: Path) -> Layout:
        """The places of a cluster that somebody else has started."""
        told = json.loads((folder / "layout.json").read_text())
        return cls(**told | {"folder": Path(told["folder"]), "bin": Path(told["bin"])})

    def save(self) -> None:
        """Leave it for others."""
        (self.folder / "layout.json").write_text(json.dumps(asdict(self), default=str))

    def tool(self, name: str) -> Path:
        """A binary of the cluster."""
        return self.bin / name

    def kubeconfig(self, who: str) -> Path:
        """The kubeconfig of a component, or of a service account."""
        return self.folder / "kubeconfig" / who

    @property
    def pause(self) -> Path:
        """The program that does nothing but live and reap, pods' and the cluster's first process.

        Beside it, with the suffix .tar, lies the image of it.
        """
        return self.bin.parent / "pause"

    @property
    def store(self) -> Path:
        """Where containerd keeps images."""
        return self.folder / "containerd"

    @property
    def pki(self) -> Path:
        """Certificates."""
        return self.folder / "pki"

    @property
    def logs(self) -> Path:
        """A log for each daemon."""
        return self.folder / "logs"

    @property
    def url(self) -> str:
        """The API server, from this machine and from inside alike."""
        return f"https://127.0.0.1:{self.port}"


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that were free a moment ago, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
