"""The one command, `cardan`: each subcommand is a function in the shell that owns it.

Shells are imported only when their subcommand runs, so an image that carries the gateway alone
starts without the simulator's dependencies, and a missing extra is a sentence, not a traceback.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from types import ModuleType


class Subcommand(NamedTuple):
    """Where a subcommand lives and what it is for."""

    module: str
    extra: str
    summary: str


# Each module has `main(argv: list[str]) -> int`.
SUBCOMMANDS: Final[dict[str, Subcommand]] = {
    "router": Subcommand("cardan_router.main", "router", "run the gateway"),
    "engine": Subcommand("cardan_sim.serve.main", "sim", "run a simulated vLLM or SGLang server"),
    "explain": Subcommand("cardan_cli.explain", "router", "ask a gateway, and why it went there"),
    "replay": Subcommand("cardan_sim.replay.main", "sim", "send a trace to an OpenAI endpoint"),
    "simulate": Subcommand(
        "cardan_sim.simulate.main", "sim", "play a workload on simulated engines, policies compared"
    ),
    "controller": Subcommand("cardan_controller.main", "controller", "run the operator"),
    "crds": Subcommand(
        "cardan_controller.crds.main", "controller", "print the custom resource definitions"
    ),
    "demo": Subcommand("cardan_sim.demo.main", "sim", "a whole fleet on this machine, compared"),
}
# What may be the first process of a container: these start no other programs, only forks of
# their own that they look after.
SERVERS: Final = frozenset({"router", "controller", "engine"})
FIRST_PROCESS: Final = 1


def usage() -> str:
    """The help text: one line per subcommand."""
    width = max(map(len, SUBCOMMANDS))
    rows = [f"  {name:<{width}}  {sub.summary}" for name, sub in SUBCOMMANDS.items()]
    return "\n".join(
        [
            "usage: cardan COMMAND [OPTIONS]",
            "",
            *rows,
            "",
            "`cardan COMMAND --help` tells the rest.",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; returns the process's exit status.

    Status 2 is a mistake in how the command was called, as in argparse.
    """
    args = sys.argv[1:] if argv is None else argv
    if not args or args[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage() + "\n")
        return 0 if args else 2
    if args[0] in ("-V", "--version"):
        from importlib.metadata import version

        sys.stdout.write(f"cardan {version('cardan')}\n")
        return 0
    sub = SUBCOMMANDS.get(args[0])
    if sub is None:
        sys.stderr.write(f"cardan: unknown command {args[0]!r}\n\n{usage()}\n")
        return 2
    if args[0] in SERVERS and os.getpid() == FIRST_PROCESS:
        _be_first_process()
    try:
        module = _load(sub.module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in (
            "cardan",
            "cardan_controller",
            "cardan_kube",
            "cardan_router",
            "cardan_sim",
        ):
            raise
        sys.stderr.write(
            f"cardan {args[0]}: {error.name} is not installed; in the checkout: pip install"
            f" '.[{sub.extra}]'\n"
        )
        return 2
    try:
        status = module.main(args[1:])
    except KeyboardInterrupt:  # before, or after, the subcommand takes signals itself
        return 130
    return status if isinstance(status, int) else 0


def _be_first_process() -> None:
    """Do what the kernel leaves undone for process 1.

    It gets no signal that it has no handler for: a pod that is deleted while we still import would
    sit out its whole grace period. Orphans (of a `kubectl exec`) become its children: ignoring
    SIGCHLD lets the kernel bury them, so that there are no zombies.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave_at_once)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def _leave_at_once(number: int, frame: object) -> None:
    """Nothing is served yet; the status is what a shell says of a process that a signal ended."""
    del frame
    os._exit(128 + number)


def _load(module: str) -> ModuleType:
    """Import a shell. Ctrl-C meanwhile ends the process at once, as it ends any other program.

    As an exception it would be a traceback of whatever was just imported, and in the middle of a C
    extension's start it crashed the interpreter.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is not signal.default_int_handler:
        return importlib.import_module(module)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return importlib.import_module(module)
    finally:
        signal.signal(signal.SIGINT, handler)
