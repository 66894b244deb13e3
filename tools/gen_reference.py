"""Writes docs/reference/policies.md from the policies themselves.

Run as `python -m tools.gen_reference`; `--check` fails if it is stale.

A policy's page is its module's docstring, its fields with bounds and defaults, and what it needs.
So the reference cannot say what the code does not.
"""

from __future__ import annotations

import enum
import sys
from inspect import cleandoc
from typing import get_args

import msgspec
from cardan.candidates import AnyMapping
from cardan.depth import DepthConfig
from cardan.policies import AnyPolicy, Needs, PolicyBase
from msgspec import inspect

from tools.generated import ROOT, write_or_check

TARGET = ROOT / "docs/reference/policies.md"
HEAD = """# Routing policies

<!-- Written by tools/gen_reference.py from core/cardan/policies: change those, not this page. -->

A policy is one entry of the configuration, or one word on the command line:

```yaml
policy:
  type: dualmap
  d: 3
```

`cardan router --policy dualmap` takes the policy of that name with its defaults. A wrong name,
field or value stops the start with the path of the field. How the default decides and why is told
in [Routing](../explanation/routing.md).

"""


def main() -> int:
    """Write the page, or compare it."""
    return write_or_check({TARGET: render()}, "python -m tools.gen_reference", __doc__)


def render() -> str:
    """The whole page."""
    policies = [policy_section(policy) for policy in get_args(AnyPolicy)]
    parts = [
        *(struct_section(mapping, "mapping") for mapping in get_args(AnyMapping)),
        struct_section(DepthConfig, "depth"),
    ]
    sections = [*policies, "## What policies with a key are made of\n", *parts]
    return HEAD + "\n".join(section.rstrip() + "\n" for section in sections)


def policy_section(policy: type[PolicyBase]) -> str:
    """One policy: what it does, what it takes, what it needs."""
    module = sys.modules[policy.__module__]
    theory = cleandoc(module.__doc__ or "")
    needs = policy().needs()
    wants = [word for flag, word in NEEDS.items() if flag in needs]
    lines = [f"## `{policy.__struct_config__.tag}`", "", theory, "", *own_words(policy)]
    lines += [f"Needs: {', '.join(wants) or 'nothing'}.", "", *field_table(policy)]
    return "\n".join(lines) + "\n"


NEEDS = {Needs.PROMPT: "the prompt", Needs.ENGINE_METRICS: "the engines' metrics"}


def struct_section(struct: type[msgspec.Struct], field: str) -> str:
    """A struct that is part of a policy."""
    tag = struct.__struct_config__.tag
    title = f"### `{field}: {{type: {tag}}}`" if tag else f"### `{field}`"
    lines = [title, "", cleandoc(struct.__doc__ or ""), "", *field_table(struct)]
    return "\n".join(lines) + "\n"


def own_words(policy: type[PolicyBase]) -> list[str]:
    """The class's docstring below its first line: what the fields mean."""
    rest = cleandoc(policy.__doc__ or "").partition("\n\n")[2]
    return [rest, ""] if rest else []


def field_table(struct: type[msgspec.Struct]) -> list[str]:
    """Fields with type, bounds and default; nothing where there are none."""
    fields = struct_fields(struct)
    if not fields:
        return []
    rows = [
        f"| `{field.encode_name}` | {type_words(field.type)} | `{default_words(field)}` |"
        for field in fields
    ]
    return ["| field | type | default |", "|---|---|---|", *rows, ""]


def struct_fields(struct: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    """The fields of a struct as msgspec decodes them."""
    info = inspect.type_info(struct)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{struct} is no struct")
    return info.fields


def type_words(info: inspect.Type) -> str:
    """A type in a reader's words."""
    if isinstance(info, inspect.EnumType):
        return ", ".join(f"`{member.value}`" for member in info.cls)
    if isinstance(info, inspect.IntType | inspect.FloatType):
        word = "integer" if isinstance(info, inspect.IntType) else "number"
        return " ".join([word, *bounds_words(info)])
    if isinstance(info, inspect.UnionType):
        return "one of " + ", ".join(type_words(option) for option in info.types)
    if isinstance(info, inspect.StructType):
        return f"`{info.tag or info.cls.__name__}`"
    return type(info).__name__.removesuffix("Type").lower()


def bounds_words(info: inspect.IntType | inspect.FloatType) -> list[str]:
    """Bounds such as `> 0` and `≤ 1`."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    bounds = [
        f"{sign} {getattr(info, name):g}"
        for name, sign in signs.items()
        if getattr(info, name) is not None
    ]
    return [", ".join(bounds)] if bounds else []


def default_words(field: inspect.Field) -> str:
    """A default as one would write it."""
    value = field.default
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        return f"{{type: {tag}}}" if tag else "{}"
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
