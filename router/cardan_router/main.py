"""`cardan router`: the command line to a running gateway.

Exit status: 0 after a graceful end, 1 when it cannot run (a taken port), 2 for a mistake in how it
was called or configured.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from cardan.errors import CardanError, ConfigError

from cardan_router import logs
from cardan_router.config import keep_fixed, parse_address
from cardan_router.config_file import dump
from cardan_router.flags import parse
from cardan_router.keys import MIN_KEY_CHARS, hash_key

if TYPE_CHECKING:
    from cardan_router.config import Config
    from cardan_router.flags import Invocation
    from cardan_router.workers import WorkerSlot


log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Run the gateway until a signal ends it; returns the exit status."""
    try:
        invocation = parse(argv)
        if invocation.hash_key:
            return _print_hash()
        config = invocation.load()
        if invocation.print_config:
            sys.stdout.write(dump(config))
            return 0
        return _run(invocation, config)
    except ConfigError as error:
        logs.tell(f"cardan router: {error}", "error")
        return 2
    except CardanError as error:
        logs.tell(f"cardan router: {error}", "error")
        return 1


def _run(invocation: Invocation, config: Config) -> int:
    from cardan_router.app import run_process
    from cardan_router.wiring import check_files

    logs.configure(config.log)
    check_files(config)
    if config.workers == 1:
        return run_process(invocation, config)
    from cardan_router.sockets import port_of, reserve
    from cardan_router.workers import run_workers

    fields = [name for name in ("listen", "grpc", "admin") if getattr(config, name)]
    wanted = {name: parse_address(getattr(config, name)) for name in fields}
    held = {name: reserve(address) for name, address in wanted.items()}
    addresses = {name: wanted[name]._replace(port=port_of(held[name])) for name in fields}

    def run(slot: WorkerSlot) -> int:
        return run_process(invocation, _present(invocation, config), slot)

    try:
        return run_workers(
            config.workers, run, addresses, lambda: longest_end_s(invocation, config)
        )
    finally:
        for listener in held.values():
            listener.close()


def longest_end_s(invocation: Invocation, first: Config) -> float:
    """How long workers may take to end: what a reload has raised counts, and no less than at first.

    It is there to end those that hang, so too long does no harm and too short does.
    """
    try:
        return max(first.shutdown.total_s, invocation.load().shutdown.total_s)
    except CardanError:
        return first.shutdown.total_s


def _present(invocation: Invocation, first: Config) -> Config:
    """The configuration of a worker that starts now: there may have been reloads since `first`."""
    from cardan_router.wiring import check_files

    try:
        wanted = invocation.load()
        check_files(wanted)
    except CardanError as error:
        log.error("%s; starting with the first configuration", error)  # noqa: TRY400
        return first
    return keep_fixed(first, wanted)[0]


def _print_hash() -> int:
    """Read a key from standard input, so that it is in no history, and print its hash."""
    if sys.stdin.isatty():
        sys.stderr.write("key: ")
        sys.stderr.flush()
    key = sys.stdin.readline().strip()
    if len(key) < MIN_KEY_CHARS:
        raise ConfigError(
            f"a key has at least {MIN_KEY_CHARS} characters; make one with `openssl rand -hex 24`"
        )
    sys.stdout.write(hash_key(key).hex() + "\n")
    if sys.stdout.isatty():
        sys.stderr.write("(put `NAME:` before it, and the line into the file of --api-keys)\n")
    return 0
