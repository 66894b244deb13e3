"""docs/reference/chart-values.md from values.yaml: every value with what stands above it.

A value is explained by the lines beginning with `# --` right above it. A mapping that is explained
as a whole is one row, unless values inside of it are explained too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK: Final = "# --"
HEAD: Final = """# Values of the Helm chart

<!-- Written by tools/gen_chart_reference.py from deploy/helm/cardan/values.yaml: change that. -->

`helm install cardan deploy/helm/cardan --values my-values.yaml`. A key that is not here, a wrong
type or a value out of bounds is refused with its path before anything is installed. How to use
them: [Install](../how-to/install.md).

| value | default | |
|---|---|---|
"""


class Row(NamedTuple):
    """A value: its path, its default, what it is for."""

    path: str
    default: object
    text: str


class UnexplainedError(Exception):
    """A value without a word about it."""


def page(text: str) -> str:
    """The page of a values.yaml."""
    return HEAD + "".join(
        f"| `{row.path}` | {_shown(row.default)} | {_cell(row.text)} |\n" for row in rows(text)
    )


def rows(text: str) -> list[Row]:
    """The rows of a values.yaml; `UnexplainedError` names the values that have no comment."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise UnexplainedError("values.yaml is no mapping")
    found = list(_walk(root, (), text.splitlines()))
    silent = [row.path for row in found if not row.text]
    if silent:
        raise UnexplainedError(f"no `{MARK}` above {', '.join(silent)}")
    return found


def _walk(node: yaml.MappingNode, path: tuple[str, ...], lines: list[str]) -> Iterator[Row]:
    for key, value in node.value:
        here = (*path, key.value)
        said = _comment(lines, key.start_mark.line)
        inner = isinstance(value, yaml.MappingNode) and bool(value.value)
        below = list(_walk(value, here, lines)) if inner else []
        explained_below = any(row.text for row in below)
        if said or not inner:
            default = None if explained_below else _value(value)
            yield Row(".".join(here), default, said)
        if explained_below or (inner and not said):
            yield from below


def _comment(lines: list[str], line: int) -> str:
    """The comment that ends right above a line, if it is marked."""
    words: list[str] = []
    for above in reversed(lines[:line]):
        text = above.strip()
        if not text.startswith("#"):
            break
        words.insert(0, text.removeprefix("#").strip())
        if text.startswith(MARK):
            return " ".join([text.removeprefix(MARK).strip(), *words[1:]])
    return ""


def _value(node: yaml.Node) -> object:
    return yaml.safe_load(yaml.serialize(node))


def _shown(default: object) -> str:
    if default is None:
        return ""
    return "`" + json.dumps(default, ensure_ascii=False) + "`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
