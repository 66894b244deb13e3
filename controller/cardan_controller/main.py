"""`cardan controller`: the operator, or what it would have done.

cardan controller --config operator.yaml           run a replica
cardan controller --record FOLDER ...              and write down what it decides by
cardan controller --dry-run --replay FILE          decide on what was written down, and say why
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from random import Random
from typing import TYPE_CHECKING

from cardan.errors import CardanError
from msgspec.structs import replace

from cardan_controller.config import load
from cardan_controller.replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan_controller.config import OperatorConfig


def main(argv: list[str]) -> int:
    """Run as a command; 2 for what was asked wrongly, 1 where there is no cluster."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.replay is not None or args.dry_run:
        if args.replay is None:
            parser.error("--dry-run decides on recorded observations: name them with --replay FILE")
        return _told(lambda: replay(args.replay, args.fleet, sys.stdout))
    return _told(lambda: _serve(_recorded(load(args.config), args.record)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cardan controller", description="Hold fleets' SLOs at the least cost."
    )
    parser.add_argument("--config", default="", metavar="FILE", help="YAML; see docs/reference")
    parser.add_argument(
        "--record", default="", metavar="FOLDER", help="write observations there, for --replay"
    )
    parser.add_argument("--dry-run", action="store_true", help="decide, and touch nothing")
    parser.add_argument("--replay", metavar="FILE", help="observations, one JSON object a line")
    parser.add_argument(
        "--fleet", default="", metavar="FILE", help="an InferenceFleet instead of the recorded one"
    )
    return parser


def _recorded(config: OperatorConfig, folder: str) -> OperatorConfig:
    """The configuration with what the command line says of recording."""
    if not folder:
        return config
    return replace(config, record=replace(config.record, folder=folder))


def _told(run: Callable[[], int]) -> int:
    """Run it; what is wrong with its input is a sentence, not a traceback."""
    try:
        return run()
    except (CardanError, OSError) as error:
        sys.stderr.write(f"cardan controller: {error}\n")
        return 2


def _serve(config: OperatorConfig) -> int:
    from cardan_kube.api import outside

    from cardan_controller.app import serve  # kopf and grpc: not for a replay

    if nowhere := outside(config.kubeconfig):
        sys.stderr.write(f"cardan controller: {nowhere}\n")
        return 1
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # That it takes no signals in its thread is why it has one.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return asyncio.run(serve(config, Random()))
