"""The command line of `cardan router`: the same words as the file, laid over it.

A flag names a field of `cardan_router.config.Config`; `--tls-cert` is `tls: {cert: …}` and
`--set fleet.health.probe_interval_s=0.5` reaches any leaf there is.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from cardan.errors import ConfigError
from cardan.policies import policy_names

from cardan_router.config_file import decode, overlay, parse_yaml, put, read_document, read_text
from cardan_router.config_hints import line_of

if TYPE_CHECKING:
    from cardan_router.config import Config


class Flag(NamedTuple):
    """A flag, the field it sets ("" where it sets none by itself), and its line in `--help`."""

    name: str
    path: str
    metavar: str
    text: str


# The order is that of `--help`.
_PLAIN = (
    Flag("--listen", "listen", "HOST:PORT", "HTTP front door (default 127.0.0.1:8080)"),
    Flag("--grpc", "grpc", "HOST:PORT", "gRPC front door (default: none)"),
    Flag("--admin", "admin", "HOST:PORT", "own listener for /metrics and /ui"),
    Flag("--workers", "workers", "N", "processes that share the listeners"),
    Flag("--discovery-file", "discovery.file", "FILE", "watched list of endpoints, YAML or JSON"),
    Flag(
        "--discovery-kubernetes-kind",
        "discovery.kubernetes.kind",
        "KIND",
        "watch a cluster: pods, service or inference_pool",
    ),
    Flag(
        "--discovery-kubernetes-namespace",
        "discovery.kubernetes.namespace",
        "NAMESPACE",
        "where (default: the gateway's own; * for all, pods only)",
    ),
    Flag(
        "--discovery-kubernetes-selector",
        "discovery.kubernetes.selector",
        "LABELS",
        "which pods, as app=vllm",
    ),
    Flag(
        "--discovery-kubernetes-ports",
        "discovery.kubernetes.ports",
        "PORT,...",
        "their ports, numbers or names (default 8000)",
    ),
    Flag(
        "--discovery-kubernetes-name",
        "discovery.kubernetes.name",
        "NAME",
        "which Service or InferencePool",
    ),
    Flag(
        "--discovery-kubernetes-kubeconfig",
        "discovery.kubernetes.kubeconfig",
        "FILE",
        "how to reach it (default: service account, else $KUBECONFIG)",
    ),
    Flag("--slo-ttft-ms", "slo.ttft_ms", "MS", "time to first token that is promised"),
    Flag("--api-keys", "api_keys", "FILE", "hashed API keys, NAME:SHA256 a line"),
    Flag("--tls-cert", "tls.cert", "FILE", "PEM certificate and chain"),
    Flag("--tls-key", "tls.key", "FILE", "PEM private key"),
    Flag("--log-format", "log.format", "FORMAT", "of the process's own log: text or json"),
    Flag("--log-level", "log.level", "LEVEL", "debug, info, warning or error"),
    Flag("--access-log", "log.access", "FILE", "one JSON line a request; - (default) or off"),
    Flag("--grace-s", "shutdown.grace_s", "S", "time for running requests at SIGTERM"),
    Flag("--seed", "seed", "N", "fixed seed of random ties"),
)
_REPEATED = (
    Flag("--endpoint", "endpoints", "URL", "an engine; may be repeated"),
    Flag("--policy-option", "policy", "K=V", "an option of the policy; may be repeated"),
    Flag("--set", "", "PATH=V", "any field, as fleet.join_ramp_s=0; may be repeated"),
)
_SINGLE = (
    Flag("--config", "", "FILE", "YAML configuration file"),
    Flag("--policy", "policy", "NAME", f"one of {', '.join(policy_names())} (default dualmap)"),
)
_ACTIONS = (
    Flag("--print-config", "", "", "print what is in force, and end"),
    Flag("--hash-key", "", "", "read a key, print its SHA256 for the file of keys, and end"),
)


def describe() -> tuple[Flag, ...]:
    """Every flag there is."""
    return (*_SINGLE, *_REPEATED, *_PLAIN, *_ACTIONS)


COMMAND_LINE: Final = "command line"


class Invocation(NamedTuple):
    """What the command line asks for: a configuration and what to do with it."""

    flags: dict[str, Any]
    config_path: Path | None
    print_config: bool
    hash_key: bool

    def load(self) -> Config:
        """Read the file, lay the flags over it, decode. Called again at every reload."""
        base = read_document(self.config_path) if self.config_path else {}
        source = str(self.config_path) if self.config_path else COMMAND_LINE
        return decode(_merge(base, self.flags), source, self._place)

    def _place(self, path: tuple[str, ...]) -> str:
        """Where a field that is wrong was written."""
        if self.config_path is None or _holds(self.flags, path):
            return COMMAND_LINE
        line = line_of(read_text(self.config_path), path)
        return f"{self.config_path}:{line}" if line else str(self.config_path)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def parse(argv: list[str]) -> Invocation:
    """Read the command line; `ConfigError` if it is wrong, `SystemExit` after `--help`."""
    args = vars(_parser().parse_args(argv))
    document: dict[str, Any] = {}
    for flag in _PLAIN:
        value = args[_dest(flag.name)]
        if value is not None:
            put(document, flag.path.split("."), _scalar(flag.path, value, flag.name))
    if args["endpoint"]:
        document["endpoints"] = args["endpoint"]
    if args["policy"] or args["policy_option"]:
        document["policy"] = _policy(args["policy"], args["policy_option"] or [])
    for assignment in args["set"] or []:
        path, value = _assignment(assignment, "--set")
        put(document, path.split("."), value)
    config = args["config"]
    return Invocation(
        document, Path(config) if config else None, args["print_config"], args["hash_key"]
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cardan router",
        usage="cardan router --endpoint URL [--endpoint URL ...] [OPTIONS]",
        description="Run the gateway. Flags override the file; both use the same words.",
        epilog="example: cardan router --endpoint http://127.0.0.1:9001"
        " --endpoint http://127.0.0.1:9002 --listen 127.0.0.1:8080",
        allow_abbrev=False,
    )
    for flag in (*_SINGLE, *_PLAIN):
        parser.add_argument(flag.name, metavar=flag.metavar, help=flag.text, dest=_dest(flag.name))
    for flag in _REPEATED:
        parser.add_argument(flag.name, metavar=flag.metavar, help=flag.text, action="append")
    for flag in _ACTIONS:
        parser.add_argument(flag.name, help=flag.text, action="store_true")
    return parser


def _holds(document: object, path: tuple[str, ...]) -> bool:
    """Is there anything at a path of nested mappings?"""
    for step in path:
        if not isinstance(document, dict):
            return True  # a flag's value stands for everything below it
        if step not in document:
            return False
        document = document[step]
    return bool(path)


def _dest(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


# Fields that are text whatever they look like: a file may be called 1 or true.
_TEXT = frozenset(
    {"listen", "grpc", "admin", "discovery.file", "api_keys", "tls.cert", "tls.key", "log.access"}
    | {"log.format", "log.level"}
    | {
        f"discovery.kubernetes.{field}"
        for field in ("kind", "namespace", "selector", "name", "kubeconfig")
    }
)
# Fields that are lists: the command line takes their items with commas between.
_LISTS = frozenset({"discovery.kubernetes.ports"})


def _scalar(path: str, text: str, flag: str) -> object:
    if path in _LISTS:
        return [parse_yaml(item, flag) for item in text.split(",")]
    return text if path in _TEXT else parse_yaml(text, flag)


def _assignment(text: str, flag: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"{flag} {text}: NAME=VALUE is expected")
    return name, (value if name in _TEXT else parse_yaml(value, f"{flag} {name}"))


def _policy(name: str | None, options: list[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": name} if name else {}
    for option in options:
        path, value = _assignment(option, "--policy-option")
        put(entry, path.split("."), value)
    return entry


def _merge(base: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    """Flags over the file. A policy of another name replaces the file's policy as a whole."""
    over, old = flags.get("policy"), base.get("policy")
    if isinstance(old, str):
        old = {"type": old}
        base = {**base, "policy": old}
    if isinstance(over, dict) and isinstance(old, dict):
        name = over.get("type")
        if name is not None and name != old.get("type"):
            base = {key: value for key, value in base.items() if key != "policy"}
    merged = overlay(base, flags)
    policy = merged.get("policy")
    if isinstance(policy, dict) and "type" not in policy:
        merged["policy"] = {"type": "dualmap", **policy}
    return merged
