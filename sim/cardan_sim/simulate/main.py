"""`cardan simulate`: scenarios, a user's own trace, and calibration."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cardan.errors import ConfigError
from cardan.policies import policy_named, policy_names
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cardan_sim.arguments import DefaultsHelp, Parser, count, positive
from cardan_sim.engine.errors import EngineError
from cardan_sim.outputs import OutputError, check_outputs, write_output
from cardan_sim.simulate import calibrate, knowledge
from cardan_sim.simulate.compare import compare
from cardan_sim.simulate.engines import AnyEngine, PrefillSpec, StepSpec
from cardan_sim.simulate.page import render_page
from cardan_sim.simulate.recorder import WARM_UP
from cardan_sim.simulate.runs import perform_all, runs_of
from cardan_sim.simulate.scenario import read_plain, read_scenario
from cardan_sim.simulate.search import smallest_fleet
from cardan_sim.simulate.summary import Summary, summarise
from cardan_sim.simulate.table import render, single
from cardan_sim.simulate.workloads import Trace, WorkloadError
from cardan_sim.simulate.workloads.base import WHOLE
from cardan_sim.simulate.world import API_S, Setup, World
from cardan_sim.traces import FORMATS, TraceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan.policies import AnyPolicy

    from cardan_sim.engine import Make

SCHEMA: Final = 1
MAX_ENGINES: Final = 4096
# A name of forty letters and a dozen parts of a run.
PIPED_COLUMNS: Final = 240
_FLEET: Final = re.compile(
    r"(?:(?P<count>\d+)x)?(?P<model>[\w.\-]+)(?:@(?P<gpu>\w+))?(?::(?P<make>vllm|sglang))?"
)


class UsageError(Exception):
    """The command line asks for what cannot be done; one sentence."""


def main(argv: list[str]) -> int:
    """Run the subcommand; returns the exit status."""
    try:
        if argv and argv[0] == "calibrate":
            return _calibrate(argv[1:])
        return _simulate(argv)
    except (ConfigError, EngineError, OutputError, TraceError, UsageError, WorkloadError) as error:
        sys.stderr.write(f"cardan simulate: {error}\n")
        return 1


def _parser() -> Parser:
    parser = Parser(
        prog="cardan simulate",
        formatter_class=DefaultsHelp,
        description="Play a scenario file, or a trace of your own, through the production core on "
        "simulated engines. `cardan simulate calibrate FILE.csv` fits engine costs.",
    )
    parser.add_argument("scenario", nargs="?", type=Path, help="scenario file (YAML)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write an HTML page with plots")
    parser.add_argument(
        "--jobs", type=count, default=os.cpu_count() or 1, help="processes at a time"
    )
    parser.add_argument("--quick", action="store_true", help="the scenario's short form")
    own = parser.add_argument_group("a trace of your own")
    own.add_argument("--trace", type=Path, metavar="FILE", help="OpenAI requests, hash ids, CSV")
    own.add_argument("--format", choices=sorted(FORMATS), help="of the trace (default: look)")
    own.add_argument("--block-tokens", type=count, default=512, help="of a trace's hash ids")
    own.add_argument(
        "--fleet",
        metavar="SPEC",
        default="8xllama-3.1-8b@h100",
        help="[COUNTx]MODEL[@GPU][:vllm|:sglang], or [COUNTx]prefill",
    )
    own.add_argument(
        "--policy", action="append", metavar="NAME", help="repeatable (default: dualmap)"
    )
    own.add_argument("--rate", type=positive, metavar="R", help="requests a second (as recorded)")
    own.add_argument("--slo-ttft", type=positive, default=5.0, metavar="S", help="in seconds")
    own.add_argument("--max-input-tokens", type=count, help="cut longer prompts")
    own.add_argument("--max-output-tokens", type=count, help="cut longer answers")
    own.add_argument("--limit", type=count, help="take so many requests")
    own.add_argument("--gateways", type=count, default=1)
    own.add_argument("--warm-up", type=int, default=None, help=f"(default: {WARM_UP} or a tenth)")
    own.add_argument("--seed", type=int, default=1)
    own.add_argument(
        "--find-capacity", action="store_true", help="how many engines does this SLO need?"
    )
    own.add_argument("--attain", type=positive, default=0.9, help="share that must keep the SLO")
    return parser


def _simulate(argv: list[str]) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if (args.scenario is None) == (args.trace is None):
        parser.error("name a scenario file, or a --trace")
    check_outputs([args.json, args.report])
    if args.trace is not None:
        return _trace(args)
    is_scaling = read_plain(args.scenario).get("type") == "scaling"
    return _scaling(args) if is_scaling else _scenario(args)


def _scaling(args: argparse.Namespace) -> int:
    """A scenario of scaling, whose parts need another extra than those of routing."""
    try:
        from cardan_sim.simulate import scaling
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{args.scenario}: a scenario of scaling needs {error.name}; in the checkout: "
            "pip install '.[scaling]'"
        ) from error
    scenario = scaling.read(args.scenario, quick=args.quick)
    with _progress() as progress:
        bar = progress.add_task(scenario.title, total=len(scaling.runs_of(scenario)))
        results = scaling.perform_all(
            scenario, args.scenario.parent, args.jobs, lambda _: progress.advance(bar)
        )
    rows = scaling.compare(results)
    console = _console()
    for table in scaling.render(rows):
        console.print(table)
    if args.json is not None:
        _write_json(
            args.json, {"schema": SCHEMA, "scenario": scenario, "rows": rows, "results": results}
        )
    if args.report is not None:
        write_output(args.report, scaling.render_page(scenario, rows, results))
    return 0


def _scenario(args: argparse.Namespace) -> int:
    scenario = read_scenario(args.scenario, quick=args.quick)
    console = _console()
    with _progress() as progress:
        bar = progress.add_task(scenario.title, total=len(runs_of(scenario)))
        results = perform_all(
            scenario,
            args.scenario.parent,
            args.jobs,
            lambda _: progress.advance(bar),
        )
    reference = scenario.reference()
    rows = compare(results, reference)
    for table in render(scenario.title, rows, reference):
        console.print(table)
    if args.json is not None:
        _write_json(
            args.json,
            {"schema": SCHEMA, "scenario": scenario, "rows": rows, "results": results},
        )
    if args.report is not None:
        write_output(args.report, render_page(scenario, rows, results))
    return 0


def _console() -> Console:
    """What is piped is as wide as its tables are."""
    return Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_output(path, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def _progress() -> Progress:
    """A bar on the terminal's other channel, so that tables can be piped."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def fleet_of(text: str) -> tuple[int, AnyEngine]:
    """How many engines of which kind. Raises UsageError or EngineError."""
    match = _FLEET.fullmatch(text)
    if match is None:
        raise UsageError(f"--fleet {text!r} is not of the form 8xllama-3.1-8b@h100:vllm")
    engines = int(match["count"] or 1)
    if not 1 <= engines <= MAX_ENGINES:
        raise UsageError(f"--fleet: {engines} engines; 1 to {MAX_ENGINES} can be simulated")
    if match["model"] == "prefill":
        return engines, PrefillSpec()
    make: Make = "sglang" if match["make"] == "sglang" else "vllm"
    spec = StepSpec(make_=make, model=match["model"], gpu=match["gpu"])
    spec.spec()  # an unknown model is told now
    return engines, spec


def _policies(names: Sequence[str] | None) -> dict[str, AnyPolicy]:
    for name in names or ():
        if name not in policy_names():
            raise UsageError(f"no policy {name!r}; there are {', '.join(policy_names())}")
    return {name: policy_named(name) for name in names or ("dualmap",)}


class _Asked:
    """A trace on the command line: what is the same for every run of it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.engines, self.engine = fleet_of(args.fleet)
        self.args = args
        self.workload = Trace(
            path=str(args.trace),
            format=args.format,
            block_tokens=args.block_tokens,
            requests=args.limit,
            max_input_tokens=args.max_input_tokens,
            max_output_tokens=args.max_output_tokens,
        )

    def run(self, policy: AnyPolicy, engines: int) -> Summary:
        """Play the trace on so many engines."""
        args = self.args
        jobs = list(self.workload.jobs(root=Path(), segment=WHOLE, rate=args.rate, seed=args.seed))
        setup = Setup(
            engines=engines,
            engine=self.engine,
            gateways=args.gateways,
            knowledge=knowledge.DEFAULT,
            slo_ttft_s=args.slo_ttft,
            request_s=API_S if isinstance(self.engine, StepSpec) else 0.0,
        )
        warm_up = min(WARM_UP, len(jobs) // 10) if args.warm_up is None else args.warm_up
        world = World(setup, policy, args.seed, warm_up)
        world.play(jobs)
        return summarise(world)


def _trace(args: argparse.Namespace) -> int:
    if args.report is not None:
        raise UsageError("--report is for scenarios; --json writes a trace's figures")
    asked, console = _Asked(args), _console()
    policies = _policies(args.policy)
    found: dict[str, int | None] = {}
    summaries: dict[str, Summary] = {}
    for name, policy in policies.items():
        engines = asked.engines
        if args.find_capacity:
            found[name] = _find(asked, policy, engines)
            engines = found[name] or MAX_ENGINES
        summaries[name] = asked.run(policy, engines)
    console.print(single(f"{args.trace.name} on {asked.engine.label}", summaries))
    for name, engines_found in found.items():
        console.print(_answer(args, asked, name, engines_found))
    if args.json is not None:
        _write_json(args.json, {"schema": SCHEMA, "summaries": summaries, "engines": found})
    return 0


def _find(asked: _Asked, policy: AnyPolicy, start: int) -> int | None:
    attain = asked.args.attain
    return smallest_fleet(
        lambda engines: asked.run(policy, engines).attained_ratio >= attain, start, MAX_ENGINES
    )


def _answer(args: argparse.Namespace, asked: _Asked, name: str, engines: int | None) -> str:
    asked_for = f"{100 * args.attain:g} % of first tokens within {args.slo_ttft:g} s"
    if engines is None:
        return f"{name}: not even {MAX_ENGINES} engines keep {asked_for}"
    return f"{name}: {engines} x {asked.engine.label} keep {asked_for}"


def _calibrate(argv: list[str]) -> int:
    parser = Parser(
        prog="cardan simulate calibrate",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=calibrate.__doc__,
    )
    parser.add_argument("file", type=Path, help="measured points (CSV)")
    args = parser.parse_args(argv)
    points = calibrate.read_points(args.file)
    if not points["prefill"] or not points["decode"]:
        raise UsageError(f"{args.file}: it takes points of both kinds, prefill and decode")
    lines = ["costs:"]
    notes = []
    for kind, letter in (("prefill", "a"), ("decode", "d")):
        fit = calibrate.fit(points[kind])
        lines += [f"  {letter}{i}_s: {value:.6g}" for i, value in enumerate(fit.coefficients)]
        notes.append(
            f"# {kind}: {len(fit.residuals)} points, residuals {100 * fit.typical:.1f} % typical, "
            f"{100 * fit.worst:.1f} % at worst"
        )
        notes += [f"#   {100 * residual:+.1f} %" for residual in fit.residuals]
    sys.stdout.write("\n".join([*lines, *notes, ""]))
    return 0
