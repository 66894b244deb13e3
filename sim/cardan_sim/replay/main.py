"""The command line of `cardan replay`."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import uvloop
from msgspec.structs import replace
from rich.console import Console

from cardan_sim.arguments import Parser, count, http_url, positive
from cardan_sim.outputs import OutputError, check_outputs, write_output
from cardan_sim.replay.client import EndpointUnusableError
from cardan_sim.replay.figures import FiguresError, read_figures, to_json
from cardan_sim.replay.page import render_page
from cardan_sim.replay.schedule import Pace, ScheduleError
from cardan_sim.replay.session import Replay, run_replay
from cardan_sim.replay.table import endpoint_note, endpoints_table, figures_table, notes
from cardan_sim.traces import FORMATS, TraceError, TraceRequest, read_trace
from cardan_sim.traces.read import DEFAULT_BLOCK_TOKENS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from cardan_sim.replay.figures import Figures


def build_parser() -> argparse.ArgumentParser:
    """Every option of the command."""
    parser = Parser(
        prog="cardan replay",
        description="Send a recorded workload to an OpenAI endpoint, open loop, and measure it.",
    )
    parser.add_argument("trace", type=Path, nargs="?", help="trace file, plain or .gz")
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        metavar="JSON",
        help="send nothing: show the figures of earlier replays beside each other",
    )
    _add_trace_options(parser)
    _add_load_options(parser)
    _add_endpoint_options(parser)
    _add_output_options(parser)
    return parser


def _add_trace_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the trace")
    group.add_argument("--format", choices=sorted(FORMATS), help="default: by the first line")
    group.add_argument(
        "--block-tokens",
        type=count,
        default=DEFAULT_BLOCK_TOKENS,
        metavar="N",
        help="tokens in a block of hash_ids (%(default)s)",
    )
    group.add_argument("--limit", type=count, metavar="N", help="only the first N requests")
    group.add_argument(
        "--max-input-tokens", type=count, metavar="N", help="leave out requests with longer prompts"
    )
    group.add_argument(
        "--max-output-tokens", type=count, metavar="N", help="ask for at most N tokens"
    )
    group.add_argument(
        "--as",
        dest="form",
        choices=("chat", "completion", "tokens"),
        default="chat",
        help="how prompts made from block ids are sent (%(default)s)",
    )
    group.add_argument(
        "--stop-at-eos",
        action="store_true",
        help="let the model end its answer; without it `ignore_eos` keeps the recorded length",
    )


def _add_load_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the load")
    speeds = group.add_mutually_exclusive_group()
    speeds.add_argument(
        "--rate", type=positive, metavar="R", help="mean requests a second; all gaps scaled alike"
    )
    speeds.add_argument(
        "--speed", type=positive, default=1.0, metavar="X", help="X times as fast as recorded"
    )
    group.add_argument(
        "--seed", type=int, default=0, help="of the arrivals of a file without times (%(default)s)"
    )
    group.add_argument(
        "--time-scale",
        type=positive,
        default=1.0,
        metavar="S",
        help="the simulated engines' time scale: reported durations are divided by it",
    )
    group.add_argument(
        "--slo-ttft",
        type=positive,
        default=5.0,
        metavar="S",
        help="seconds to the first token that count as in time (%(default)s)",
    )
    group.add_argument(
        "--timeout", type=positive, default=600.0, metavar="S", help="for one request (%(default)s)"
    )


def _add_endpoint_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the endpoint")
    group.add_argument(
        "--endpoint",
        type=http_url,
        default="http://127.0.0.1:8080",
        metavar="URL",
        help="default: %(default)s",
    )
    group.add_argument("--model", help="default: the first one the endpoint lists")
    group.add_argument("--api-key", metavar="KEY")
    group.add_argument(
        "--engine-url",
        type=http_url,
        action="append",
        default=[],
        metavar="URL",
        help="read the balance from this engine's /metrics, not from receipts (repeatable)",
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the report")
    group.add_argument("--label", help="the run's name in tables (default: the trace's)")
    group.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    group.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots")


def main(argv: list[str]) -> int:
    """Run the command.

    The status is 1 when nothing succeeded, 2 for a wrong call, 130 when it was interrupted.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    if (args.trace is None) == (args.compare is None):
        parser.error("give a trace file, or --compare with files written by --json")
    try:
        check_outputs([args.json, args.html])
    except OutputError as error:
        sys.stderr.write(f"cardan replay: {error}\n")
        return 2
    try:
        return _compare(args) if args.compare else _replay(args)
    except (TraceError, ScheduleError, EndpointUnusableError, FiguresError, OutputError) as error:
        sys.stderr.write(f"cardan replay: {error}\n")
        return 1


def _compare(args: argparse.Namespace) -> int:
    runs = _told_apart(args.compare, [read_figures(path) for path in args.compare])
    report(runs, Console())
    if args.html is not None:
        write_output(args.html, render_page(args.label or "Replays compared", runs))
    return 0


def _told_apart(paths: Sequence[Path], runs: Sequence[Figures]) -> list[Figures]:
    """Runs of one trace without `--label` have one name; then their files name them."""
    if len({run.settings.label for run in runs}) == len(runs):
        return list(runs)
    return [
        replace(run, settings=replace(run.settings, label=path.stem))
        for path, run in zip(paths, runs, strict=True)
    ]


def _replay(args: argparse.Namespace) -> int:
    stop = asyncio.Event()
    figures = uvloop.run(_until_signalled(replay_of(args), stop))
    report([figures], Console())
    if args.json is not None:
        write_output(args.json, to_json(figures))
    if args.html is not None:
        write_output(args.html, render_page(figures.settings.label, [figures]))
    if not figures.succeeded:
        return 1
    return 130 if stop.is_set() else 0


def replay_of(args: argparse.Namespace) -> Replay:
    """The replay that the options ask for. Raises TraceError."""
    requests = read_trace(args.trace, trace_format=args.format, block_tokens=args.block_tokens)
    return Replay(
        label=args.label or args.trace.name,
        trace=args.trace.name,
        requests=select(args.trace, requests, args.max_input_tokens, args.limit),
        pace=Pace(args.rate, args.speed, args.seed),
        endpoint=args.endpoint,
        model=args.model,
        api_key=args.api_key,
        form=args.form,
        ignore_eos=not args.stop_at_eos,
        max_output_tokens=args.max_output_tokens,
        engines={urlsplit(url).netloc or url: url for url in args.engine_url},
        slo_ttft_s=args.slo_ttft,
        time_scale=args.time_scale,
        timeout_s=args.timeout,
    )


def select(
    path: Path, requests: Sequence[TraceRequest], max_input_tokens: int | None, limit: int | None
) -> list[TraceRequest]:
    """The first `limit` requests whose prompts are not too long. Raises TraceError for none."""
    short = [r for r in requests if max_input_tokens is None or r.input_tokens <= max_input_tokens]
    if not short:
        raise TraceError(f"{path}: every prompt is longer than {max_input_tokens} tokens")
    return short[:limit]


async def _until_signalled(replay: Replay, stop: asyncio.Event) -> Figures:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return await run_replay(replay, stop, Console(stderr=True))


def report(runs: Sequence[Figures], console: Console) -> None:
    """Tables and remarks on the terminal."""
    console.print(figures_table(runs))
    for run in runs:
        if len(runs) == 1 and run.balance is not None:
            console.print(endpoints_table(run.balance))
            if note := endpoint_note(run.balance):
                console.print(note, markup=False, highlight=False)
        for note in notes(run):
            console.print(f"{run.settings.label}: {note}" if len(runs) > 1 else note, markup=False)
