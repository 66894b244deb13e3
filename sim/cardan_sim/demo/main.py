"""The command line of `cardan demo`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import uvloop
from cardan.policies import policy_names
from rich.console import Console

from cardan_sim.arguments import Parser, count, positive
from cardan_sim.demo.children import ChildError
from cardan_sim.demo.cut import REQUESTS
from cardan_sim.demo.fleet import Fleet
from cardan_sim.demo.setting import BASELINE, OURS, Setting, display_name, load_slice, replay_of
from cardan_sim.demo.story import tell
from cardan_sim.outputs import OutputError, check_outputs, write_output
from cardan_sim.replay.figures import SCHEMA, Figures
from cardan_sim.replay.page import render_page
from cardan_sim.replay.session import run_replay
from cardan_sim.replay.table import figures_table, notes

if TYPE_CHECKING:
    import argparse

    from cardan_sim.traces import TraceRequest

TITLE: Final = "Cardan demo: one workload, one fleet, several policies"


class DemoFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` writes: the setting, and the figures of each policy's run in order."""

    schema: int
    setting: Setting
    runs: list[Figures]


def build_parser() -> argparse.ArgumentParser:
    """Every option of the command."""
    default = Setting()
    parser = Parser(
        prog="cardan demo",
        description="Start simulated engines and the gateway on this machine, send a slice of a "
        "real trace through them under each policy, and compare.",
    )
    parser.add_argument(
        "--policy",
        action="append",
        choices=policy_names(),
        metavar="NAME",
        help=f"a policy to run (repeatable; {BASELINE} and {OURS} without it); "
        + ", ".join(policy_names()),
    )
    for flag, kind, value, metavar, what in (
        ("--engines", count, default.engines, "N", "simulated engines"),
        ("--requests", count, default.requests, "N", "requests of the slice, from its first"),
        ("--rate", positive, default.rate_rps, "R", "requests a second"),
        ("--slo-ttft", positive, default.slo_ttft_s, "S", "seconds to the first token in time"),
    ):
        parser.add_argument(
            flag, type=kind, default=value, metavar=metavar, help=f"{what} ({value:g})"
        )
    parser.add_argument(
        "--listen",
        default="127.0.0.1:0",
        metavar="HOST:PORT",
        help="where the gateway listens (default: a free port)",
    )
    parser.add_argument("--keep", action="store_true", help="leave the last fleet running")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots")
    return parser


def main(argv: list[str]) -> int:
    """Run the command.

    The status is 1 when it could not, 2 for a wrong call, 128 + N when signal N ended it before its
    report.
    """
    args = build_parser().parse_args(argv)
    try:
        check_outputs([args.json, args.html])
    except OutputError as error:
        sys.stderr.write(f"cardan demo: {error}\n")
        return 2
    try:
        return uvloop.run(_until_signalled(Demo(args)))
    except (ChildError, OutputError, OSError) as error:
        sys.stderr.write(f"cardan demo: {error}\n")
        return 1


async def _until_signalled(demo: Demo) -> int:
    """Run the demo; the first signal cancels it, and on its way out it ends every child.

    Later signals change nothing: children that do not end are killed after a few seconds anyway.
    """
    running = asyncio.create_task(demo.run())
    received: list[int] = []

    def interrupt(number: int) -> None:
        received.append(number)
        if len(received) == 1:
            running.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await running
    except asyncio.CancelledError:
        if not received:
            raise
    sys.stderr.write("cardan demo: stopped, with everything it had started\n")
    return demo.status if demo.reported else 128 + received[0]


class Demo:
    """One run of the command."""

    def __init__(self, args: argparse.Namespace) -> None:
        """`args` as parsed."""
        self.reported = False
        self._args = args
        self._policies: list[str] = args.policy or [BASELINE, OURS]
        self._setting = Setting(
            engines=args.engines,
            requests=min(args.requests, REQUESTS),
            rate_rps=args.rate,
            slo_ttft_s=args.slo_ttft,
        )
        self._console = Console()
        self._runs: list[Figures] = []

    @property
    def status(self) -> int:
        """1 when a policy's run had no answer at all."""
        return 0 if all(run.succeeded for run in self._runs) else 1

    async def run(self) -> int:
        """Every policy in turn, then the comparison; with `--keep` the last fleet stays."""
        requests = load_slice(self._setting)
        if self._args.requests > REQUESTS:
            self._console.print(
                f"The slice has {REQUESTS} requests, not {self._args.requests:,}: "
                "all of it is sent.",
                highlight=False,
            )
        self._console.print(self._setting.in_words(), highlight=False)
        for policy in self._policies[:-1]:
            async with await self._fleet(policy) as fleet:
                await self._replay(policy, requests, fleet)
        last = self._policies[-1]
        async with await self._fleet(last) as fleet:
            await self._replay(last, requests, fleet)
            if self._args.keep:
                self._report()
                await self._keep(fleet)
        self._report()
        return self.status

    async def _fleet(self, policy: str) -> Fleet:
        fleet = Fleet(self._setting, policy, self._args.listen)
        name = display_name(policy)
        with self._console.status(f"{name}: starting {self._setting.engines} engines, a gateway"):
            await fleet.start()
        return fleet

    async def _replay(self, policy: str, requests: list[TraceRequest], fleet: Fleet) -> None:
        """Play the slice, unless a child dies meanwhile: then nothing it says would be true."""
        replay = replay_of(self._setting, policy, requests, fleet.gateway_url, fleet.engines)
        span_s = len(requests) / self._setting.rate_rps
        self._console.print(
            f"{replay.label}: {fleet.size} processes are up; sending for {span_s:.0f} s.",
            highlight=False,
        )
        playing = asyncio.create_task(run_replay(replay, asyncio.Event(), self._console))
        watching = asyncio.create_task(fleet.watch())
        try:
            await asyncio.wait({playing, watching}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            self._runs.append(await playing)
        finally:
            playing.cancel()
            watching.cancel()
            await asyncio.gather(playing, watching, return_exceptions=True)

    def _report(self) -> None:
        if self.reported:
            return
        self.reported = True
        console, runs = self._console, self._runs
        console.print(figures_table(runs))
        for run in runs:
            for note in notes(run):
                console.print(f"{run.settings.label}: {note}", markup=False, highlight=False)
        for run in runs[1:]:
            for sentence in tell(runs[0], run):
                console.print(sentence, markup=False, highlight=False)
        if self._args.json is not None:
            figures = DemoFigures(schema=SCHEMA, setting=self._setting, runs=runs)
            write_output(self._args.json, msgspec.json.format(msgspec.json.encode(figures)))
        if self._args.html is not None:
            write_output(self._args.html, render_page(TITLE, runs))

    async def _keep(self, fleet: Fleet) -> None:
        """Tell how to use what still runs, until a signal comes."""
        body = (
            f'{{"model": "{self._setting.model}", "stream": true, "messages": '
            '[{"role": "user", "content": "Which way is up?"}]}'
        )
        self._console.print(
            f"\nStill running. Try:\n"
            f"  curl -N {fleet.gateway_url}/v1/chat/completions "
            f"-H 'content-type: application/json' -d '{body}'\n"
            f"Status page: {fleet.gateway_url}/ui\n"
            f"Stop everything with Ctrl-C, or: kill {os.getpid()}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        await fleet.watch()
