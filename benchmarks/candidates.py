"""What is measured: Cardan and its peers, each with a pinned version and a start line.

Cache-aware is the policy that competes (it keeps shared prefixes together, as Cardan does);
round-robin shows what a peer's data plane costs without it. Peers are installed from PyPI into
their own virtualenvs under the cache, on first use. All else about them is left at its default.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Literal

import msgspec

from benchmarks.cache import BenchmarkError, cache_dir

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["cache-aware", "round-robin"]
CARDAN = "cardan"


class Ports(msgspec.Struct, frozen=True):
    """Where a candidate listens, a spare port for its metrics, and its engines."""

    listen: int
    spare: int
    engines: tuple[int, ...]

    def engine_urls(self) -> list[str]:
        """The engines as URLs on loopback."""
        return [f"http://127.0.0.1:{port}" for port in self.engines]


class Candidate(msgspec.Struct, frozen=True):
    """One gateway with one policy, ready to be started by `command`."""

    family: str
    kind: Kind
    policy: str
    program: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name in tables and files, for instance `smg cache_aware`."""
        return f"{self.family} {self.policy}"

    def command(self, ports: Ports) -> list[str]:
        """The start line of this candidate in front of the engines."""
        return (_cardan_command if self.family == CARDAN else _peer_command)(self, ports)


class Peer(msgspec.Struct, frozen=True):
    """A gateway from PyPI: its pinned version and its start line up to the shared flags."""

    name: str
    version: str
    program: tuple[str, ...]
    cache_aware: str = "cache_aware"
    round_robin: str = "round_robin"

    def candidate(self, kind: Kind) -> Candidate:
        """This peer with its policy of that kind, installed now if it is not. BenchmarkError if it
        cannot be."""
        folder = self._installed()
        policy = self.cache_aware if kind == "cache-aware" else self.round_robin
        program = (str(folder / "bin" / self.program[0]), *self.program[1:])
        return Candidate(self.name, kind, policy, program)

    def _installed(self) -> Path:
        folder = cache_dir("peers") / f"{self.name}-{self.version}"
        done = folder / ".installed"
        if not done.exists():
            _run([sys.executable, "-m", "venv", "--clear", str(folder)], self.name)
            pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, f"{self.name}=={self.version}"], self.name)
            done.touch()
        return folder


PEERS = {
    peer.name: peer
    for peer in (
        Peer("sglang-router", "0.3.2", ("sglang-router", "launch")),
        Peer("vllm-router", "0.1.17", ("vllm-router",)),
        Peer("smg", "1.13.0", ("smg", "launch")),
    )
}


def cardan(kind: Kind, python: str = sys.executable) -> Candidate:
    """Cardan as an interpreter has it installed, everything at its default."""
    policy = "dualmap" if kind == "cache-aware" else "round-robin"
    return Candidate(CARDAN, kind, policy, (python, "-m", "cardan_cli", "router"))


def _cardan_command(candidate: Candidate, ports: Ports) -> list[str]:
    endpoints = [word for url in ports.engine_urls() for word in ("--endpoint", url)]
    listen = f"127.0.0.1:{ports.listen}"
    return [*candidate.program, *endpoints, "--listen", listen, "--policy", candidate.policy]


def _peer_command(candidate: Candidate, ports: Ports) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(ports.listen)]
    engines = ["--worker-urls", *ports.engine_urls(), "--policy", candidate.policy]
    quiet = ["--log-level", "error", "--prometheus-port", str(ports.spare)]
    return [*candidate.program, *where, *engines, *quiet]


def _run(command: list[str], peer: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise BenchmarkError(f"{peer} cannot be installed: {' '.join(reason)}")
