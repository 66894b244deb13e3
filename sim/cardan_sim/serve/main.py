"""`cardan engine`: argv to settings to a running server."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import uvloop

from cardan_sim.arguments import DefaultsHelp, Parser
from cardan_sim.engine import MODELS, EngineError, make_spec
from cardan_sim.serve.app import serve
from cardan_sim.serve.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a simulated engine until a signal ends it; returns the exit status.

    Status 1: the address is taken or cannot be bound. Status 2: a mistake in the flags.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        settings = _settings(args)
    except (EngineError, ValueError) as error:
        parser.error(str(error))
    try:
        uvloop.run(serve(settings))
    except OSError as error:
        sys.stderr.write(f"cardan engine: cannot listen on {args.listen}: {error.strerror}\n")
        return 1
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    spec = make_spec(
        args.engine,
        args.model,
        gpu=args.gpu,
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        block_size=args.block_size,
        kv_blocks=args.kv_blocks,
        max_queued=args.max_queued,
        time_scale=args.time_scale,
        priority_scheduling=args.priority_scheduling,
    )
    host, port = _address(args.listen)
    return Settings(
        spec=spec,
        host=host,
        port=port,
        served_model_name=args.served_model_name or args.model,
        api_key=args.api_key,
        task=args.task,
        cache_report=args.enable_prompt_tokens_details,
        echo_request_id=args.enable_request_id_headers,
        load_tracking=args.enable_server_load_tracking,
        metrics=args.enable_metrics,
        dev_mode=args.dev_mode,
        scale_out=args.enable_scale_out,
        auto_tools=args.enable_auto_tool_choice,
        default_output=args.default_output_tokens,
        startup_delay_s=args.startup_delay,
        shutdown_timeout_s=args.shutdown_timeout,
        keep_alive_s=args.keep_alive,
        sse_keep_alive_s=args.sse_keep_alive_interval,
        seed=args.seed,
    )


def _address(listen: str) -> tuple[str, int]:
    """HOST:PORT, IPv6 hosts in brackets; ValueError says what is wrong."""
    host, colon, port = listen.rpartition(":")
    if not (colon and host and port.isdigit() and int(port) < 65_536):
        raise ValueError(f"--listen must be HOST:PORT, got {listen!r}")
    return host.strip("[]"), int(port)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="cardan engine",
        description="A vLLM or SGLang server without a GPU: real HTTP, real scheduling, no model.",
        formatter_class=DefaultsHelp,
    )
    add = parser.add_argument
    add("--listen", default="127.0.0.1:9001", metavar="HOST:PORT", help="port 0 picks one")
    add("--engine", choices=("vllm", "sglang"), default="vllm", help="whose manners")
    add("--model", default="llama-3.1-8b", choices=sorted(MODELS), help="whose costs")
    add("--gpu", default=None, help="h100 or a100; default: the first the model has a fit for")
    add("--time-scale", type=float, default=1.0, help="0.1 is an engine ten times as fast")
    add("--served-model-name", default=None, help="the name clients use; default: --model")
    _add_sizes(parser)
    _add_manners(parser)
    return parser


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--max-num-seqs", type=int, default=256, help="requests that run at once")
    add("--max-num-batched-tokens", type=int, default=8192, help="token budget of a step")
    add("--kv-blocks", type=int, default=None, help="KV blocks; default: what the GPU holds")
    add("--block-size", type=int, default=16, help="tokens of a KV block")
    add("--max-queued", type=int, default=None, help="waiting requests before 503; default: all")
    add("--priority-scheduling", action="store_true", help="order the queue by `priority`")
    add("--default-output-tokens", type=int, default=128, help="answer length without a limit")
    add("--startup-delay", type=float, default=0.0, metavar="S", help="until it is ready")
    add("--shutdown-timeout", type=float, default=0.0, metavar="S", help="vLLM: drain on SIGTERM")
    add("--keep-alive", type=float, default=5.0, metavar="S", help="idle connections close after")
    add(
        "--sse-keep-alive-interval",
        type=float,
        default=0.0,
        metavar="S",
        help="vLLM: comments before the first event",
    )
    add("--seed", type=int, default=0, help="of the words it says")


def _add_manners(parser: argparse.ArgumentParser) -> None:
    add, switch = parser.add_argument, argparse.BooleanOptionalAction
    add("--api-key", default=None, help="ask for this bearer key")
    add("--task", choices=("generate", "embed", "both"), default="both", help="what it serves")
    add(
        "--enable-prompt-tokens-details",
        "--enable-cache-report",
        action=switch,
        default=True,
        help="usage tells cached tokens",
    )
    add(
        "--enable-request-id-headers",
        action=switch,
        default=False,
        help="vLLM: echo X-Request-Id",
    )
    add(
        "--enable-server-load-tracking",
        action=switch,
        default=True,
        help="vLLM: /load counts",
    )
    add("--enable-metrics", action=switch, default=True, help="SGLang: /metrics exists")
    add("--enable-auto-tool-choice", action=switch, default=True, help="vLLM: tools without choice")
    add("--enable-scale-out", action=switch, default=False, help="vLLM: /inference/v1 answers")
    add("--dev-mode", action=switch, default=True, help="vLLM: /sleep, /pause and such exist")
