"""Writes four pages of docs/reference from the code.

Run as `python -m tools.gen_config_reference`; `--check` fails if one is stale.

The configuration page is made of the config structs (docstrings, types, bounds, defaults), the
metrics page of the metric list, receipts and outcomes of the legend that the status page shows:
none can tell what the code does not do. The operator has one page, of its configuration and its
metrics.
"""

from __future__ import annotations

import sys
from inspect import cleandoc
from typing import TYPE_CHECKING

import msgspec
from cardan.endpoint import Endpoint
from cardan.ledger import Outcome
from cardan_controller.config import OperatorConfig
from cardan_controller.telemetry import Telemetry
from cardan_router import flags
from cardan_router.config import FIXED, Config
from cardan_router.config_file import dump
from cardan_router.telemetry import legend, metrics
from msgspec import inspect

from tools.generated import ROOT, write_or_check

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = ROOT / "docs/reference"
NOTE = "<!-- Written by tools/gen_config_reference.py: change the code, not this page. -->"

CONFIG_HEAD = f"""# Configuration

{NOTE}

`cardan router` takes a YAML file (`--config FILE`), flags, or both; flags win. Both use the same
words: `--tls-cert a.pem` is `tls: {{cert: a.pem}}`, and `--set PATH=VALUE` reaches every field.
`cardan router --print-config` prints what is in force, as a file that can be fed back: with
everything in it, `upstream.api_key` too.

The file is strict. An unknown field, a wrong type or a value out of bounds stops the start with the
path of the field; so does a key that is there twice.

**Reload.** SIGHUP reads the file, the keys, the certificates and the discovery file again. All of
it is checked before any of it takes effect; if something is wrong, the last good configuration
stays in force, the log says why, and `cardan_config_last_reload_success` is 0. What runs goes on.
These fields take a restart: {", ".join(f"`{name}`" for name in FIXED)}.

## On the command line

| flag | field | meaning |
|---|---|---|
{{flags}}

## Fields

"""

OPERATOR_HEAD = f"""# The operator's configuration and metrics

{NOTE}

`cardan controller --config FILE` takes a YAML file; without one, every default holds. What concerns
one fleet is in its custom resource ([CRDs](crds.md)); what is here concerns the process and the
cluster. The file is strict: an unknown field, a wrong type or a value out of bounds stops the start
with the path of the field. Durations are seconds. How it works: [The
operator](../explanation/operator.md).

## Fields

"""

METRICS_HEAD = f"""# Metrics

{NOTE}

`GET /metrics` answers in Prometheus' text format. With API keys configured it wants a key marked
`admin`, unless `admin` gives it a listener of its own ([API keys](../how-to/api-keys.md)).

Labels are bounded: `model` is a model of the fleet or `other`; the series of an endpoint that has
left are dropped; tenants and request ids are in the access log only.

With `--workers N`, any worker answers for all. Values are summed, but for those marked *max* (the
largest) and *each* (one series a worker, with a label `worker`).

"""


WORDS_HEAD = f"""# Receipts and outcomes

{NOTE}

## Reasons: why a request went there

In receipts, in the access log, on `/ui` and as the label of `cardan_decisions_total`. What a
candidate is and how it is chosen: [Routing](../explanation/routing.md).

{{reasons}}

## Outcomes: what became of it

Every request has exactly one. The label of `cardan_requests_total`, and a field of the access log.

{{outcomes}}

{{fine}} are answered, or wrong or given up by the client; alert on all others.

## The route receipt

With the request header `x-cardan-explain: 1` the answer has a header `x-cardan-explain` with one
JSON object. No answer holds an engine's address: an endpoint without a name is called `endpoint-`
and eight digits of the hash of its URL, the same in every replica. `/ui` shows which is which; give
endpoints names (`name:` in the configuration) to read them in receipts.

{{receipt}}

## The access log

One JSON object a line (`log.access`).

{{access_log}}
"""


def main() -> int:
    """Write the pages, or compare them."""
    pages = {
        FOLDER / "configuration.md": configuration_page(),
        FOLDER / "metrics.md": metrics_page(),
        FOLDER / "receipts-and-outcomes.md": words_page(),
        FOLDER / "operator.md": operator_page(),
    }
    return write_or_check(pages, "python -m tools.gen_config_reference", __doc__)


def configuration_page() -> str:
    """Every section of the configuration."""
    sections = [_section(Config, "")]
    for field in _fields(Config):
        for struct in _structs(field.type):
            if struct.__struct_config__.tag is None:
                sections += _tree(struct, field.name)
    sections.append(
        "## The defaults, as `--print-config` shows them\n\n```yaml\n" + dump(Config()) + "```\n"
    )
    return CONFIG_HEAD.replace("{flags}", _flags()) + "\n".join(sections)


def metrics_page() -> str:
    """Every metric."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for spec in metrics.ALL:
        labels = ", ".join(f"`{label}`" for label in spec.labels)
        merge = "" if spec.merge == "sum" else f" *({spec.merge})*"
        rows.append(f"| `{spec.name}` | {spec.kind.value}{merge} | {labels} | {spec.help} |")
    buckets = ["", "## Buckets", "", "| metric | upper bounds |", "|---|---|"]
    for spec in metrics.ALL:
        if spec.buckets:
            edges = ", ".join(f"{edge:g}" for edge in spec.buckets)
            buckets.append(f"| `{spec.name}` | {edges} |")
    return METRICS_HEAD + "\n".join([*rows, *buckets]) + "\n"


def operator_page() -> str:
    """The operator's configuration and its metrics."""
    sections = [_section(OperatorConfig, "")]
    for field in _fields(OperatorConfig):
        for struct in _structs(field.type):
            sections += _tree(struct, field.name)
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for name, kind, labels, text in Telemetry().described():
        words = ", ".join(f"`{label}`" for label in labels)
        rows.append(f"| `{name}` | {kind} | {words} | {text} |")
    metrics_part = "\n".join(["## Metrics", "", "On `listen`, at `/metrics`.", "", *rows])
    return OPERATOR_HEAD + "\n".join([*sections, metrics_part]) + "\n"


def words_page() -> str:
    """What the words in receipts, metrics and the access log mean."""

    def table(title: str, rows: Mapping[str, str]) -> str:
        lines = [f"| `{word}` | {text} |" for word, text in rows.items()]
        return "\n".join([f"| {title} | |", "|---|---|", *lines])

    reasons = {str(reason.value): text for reason, text in legend.REASONS.items()}
    outcomes = {str(outcome.value): text for outcome, text in legend.OUTCOMES.items()}
    fine = ", ".join(f"`{o.value}`" for o in Outcome if o in legend.CLIENTS_OWN)
    return (
        WORDS_HEAD.replace("{reasons}", table("reason", reasons))
        .replace("{outcomes}", table("outcome", outcomes))
        .replace("{fine}", fine)
        .replace("{receipt}", table("field", legend.RECEIPT | legend.QUEUED_RECEIPT))
        .replace("{access_log}", table("field", legend.ACCESS_LOG))
    )


def _flags() -> str:
    """A row for each flag."""
    rows = []
    for flag in flags.describe():
        field = f"`{flag.path}`" if flag.path else ""
        rows.append(f"| `{flag.name} {flag.metavar}`".rstrip("` ") + f"` | {field} | {flag.text} |")
    return "\n".join(rows)


def _tree(struct: type[msgspec.Struct], path: str) -> list[str]:
    """A section and the sections in it."""
    sections = [_section(struct, path)]
    for field in _fields(struct):
        for inner in _structs(field.type):
            sections += _tree(inner, f"{path}.{field.name}")
    return sections


def _section(struct: type[msgspec.Struct], path: str) -> str:
    title = f"### `{path}`" if path else "### The top"
    if struct.__struct_config__.tag is not None:
        title += f" of `{struct.__struct_config__.tag_field}: {struct.__struct_config__.tag}`"
    rows = [
        f"| `{field.name}` | {_type(field.type)} | {_default(field)} |" for field in _fields(struct)
    ]
    if struct is Endpoint:
        title = "### `endpoints`"
    lines = [
        title,
        "",
        cleandoc(struct.__doc__ or ""),
        "",
        "| field | type | default |",
        "|---|---|---|",
    ]
    return "\n".join([*lines, *rows]) + "\n"


def _fields(struct: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(struct)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{struct} is no struct")
    return info.fields


def _structs(info: inspect.Type) -> list[type[msgspec.Struct]]:
    """The structs that a field's type names."""
    if isinstance(info, inspect.StructType):
        return [info.cls]
    if isinstance(info, inspect.VarTupleType):
        return _structs(info.item_type)
    if isinstance(info, inspect.DictType):
        return _structs(info.value_type)
    if isinstance(info, inspect.UnionType):
        return [struct for option in info.types for struct in _structs(option)]
    return []


def _type(info: inspect.Type) -> str:
    """A type in a reader's words."""
    if isinstance(info, inspect.Metadata):
        return _type(info.type)
    if isinstance(info, inspect.EnumType):
        return ", ".join(f"`{member.value}`" for member in info.cls)
    if isinstance(info, inspect.LiteralType):
        return ", ".join(f"`{value}`" for value in info.values)
    if isinstance(info, inspect.IntType | inspect.FloatType):
        return ", ".join([_number(info), *_bounds(info)])
    if isinstance(info, inspect.VarTupleType):
        return f"list of {_type(info.item_type)}"
    if isinstance(info, inspect.DictType):
        return f"mapping of {_type(info.key_type)} to {_type(info.value_type)}"
    if isinstance(info, inspect.UnionType):
        return _union(info)
    if isinstance(info, inspect.StructType):
        return "section"
    return {"Str": "text", "Bool": "true or false", "None": "none"}.get(
        type(info).__name__.removesuffix("Type"), type(info).__name__
    )


def _union(info: inspect.UnionType) -> str:
    structs = [option for option in info.types if isinstance(option, inspect.StructType)]
    if len(structs) == len(info.types):
        return "a [policy](policies.md): its name, or a section with `type`"
    if structs and structs[0].tag is None:
        return "section, or none"
    if structs:
        kinds = ", ".join(f"`{struct.tag}`" for struct in structs)
        return f"section with `{structs[0].tag_field}`: {kinds}"
    return " or ".join(_type(option) for option in info.types)


def _number(info: inspect.IntType | inspect.FloatType) -> str:
    return "whole number" if isinstance(info, inspect.IntType) else "number"


def _bounds(info: inspect.IntType | inspect.FloatType) -> list[str]:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    return [
        f"{sign} {getattr(info, name):g}"
        for name, sign in signs.items()
        if getattr(info, name) is not None
    ]


def _default(field: inspect.Field) -> str:
    value = field.default
    if value is msgspec.NODEFAULT:
        factory = field.default_factory
        return "required" if factory is msgspec.NODEFAULT else f"`{factory()}`"
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        return f"`{tag}`" if tag else "see below"
    if value is None or value == "":
        return "none"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else getattr(value, 'value', value)}`"


if __name__ == "__main__":
    sys.exit(main())
