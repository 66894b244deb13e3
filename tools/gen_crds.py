"""Writes the chart's definitions of custom resources and docs/reference/crds.md.

Both follow from the structs in controller/cardan_controller/crds.

Run as `python -m tools.gen_crds`; `--check` fails if one is stale.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import yaml
from cardan_controller.crds.definitions import API_VERSION, definitions
from cardan_controller.crds.main import text_of

from tools.generated import ROOT, write_or_check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHART = ROOT / "deploy/helm/cardan/definitions"
PAGE = ROOT / "docs/reference/crds.md"
EXAMPLE = ROOT / "docs/reference/fleet.yaml"

Schema = dict[str, Any]

HEAD = """# Custom resources

<!-- Written by tools/gen_crds.py from controller/cardan_controller/crds: change those. -->

Group `{api_version}`. The chart installs the definitions and keeps them when it is removed
(`crds.install`, `crds.keep`); `cardan crds` prints them, for who manages them otherwise. The API
server fills in defaults, and refuses what is wrong with the field's name: there is no webhook.
`kubectl explain inferencefleet.spec` says what this page says.

Definitions that are there already and are not a release's own it leaves as they are, and says so.
The same holds for the roles that go with them (`crds.userRoles`: `cardan.dev:view`, `:edit` and
`:admin`), which stay when the release is removed, too. When the release that has brought them is
gone, nobody brings those of a new version. To hand them to another release, here `cardan` in `llm`,
which brings its own from its next `helm upgrade` on:

```sh
kubectl annotate --overwrite crd,clusterrole \\
  -l app.kubernetes.io/name=cardan,app.kubernetes.io/component=crds \\
  meta.helm.sh/release-namespace=llm meta.helm.sh/release-name=cardan
```

A fleet:

```yaml
{example}```

Durations are seconds, power is watts. A policy is a `type` and a section of its name with its
options, which may be left out where all of them have defaults.

One version is stored and served. `spec.replicas` and the scale subresource hand the number of
replicas of a fleet with one pool to somebody else: `kubectl scale`, a HorizontalPodAutoscaler,
KEDA.
"""
ABOUT: Final = {
    "InferenceFleet": "One model, the pools of engines that serve it, and what it is promised.",
    "RoutingOverlay": "What the operator tells the gateways of a fleet, level-triggered: each one"
    " replaces the one before. The operator writes them, one for each fleet, of its name; there is"
    " nothing to write by hand.",
}


def main() -> int:
    """Write the files, or compare them."""
    return write_or_check(files(), "python -m tools.gen_crds", __doc__)


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    found = definitions()
    charts = {CHART / f"{one['spec']['names']['plural']}.yaml": text_of(one) for one in found}
    return {**charts, PAGE: page(found, EXAMPLE.read_text())}


def page(found: list[Schema], example: str) -> str:
    """The whole page."""
    head = HEAD.format(api_version=API_VERSION, example=example)
    return head + "".join(f"\n{_kind(one)}" for one in found)


def _kind(definition: Schema) -> str:
    names, (version,) = definition["spec"]["names"], definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    short, kind = names["shortNames"][0], names["kind"]
    parts = [
        f"## {kind}\n\n{ABOUT[kind]}\n\nShort name `{short}`; in the categories `all`, `cardan`."
    ]
    parts.append(_columns(version["additionalPrinterColumns"]))
    rules = list(_rules(schema, ""))
    if rules:
        parts.append("Refused, beside wrong types and values out of bounds:")
        parts.append("| where | why |\n|---|---|\n" + "".join(rules).rstrip())
    for section in ("spec", "status"):
        if section in schema["properties"]:
            parts += _sections(schema["properties"][section], section)
    return "\n\n".join(parts) + "\n"


def _columns(columns: list[Schema]) -> str:
    def names(*, wide: bool) -> str:
        return ", ".join(f"`{c['name']}`" for c in columns if (c.get("priority") == 1) is wide)

    told = f"`kubectl get` shows {names(wide=False)}"
    return f"{told}; with `-o wide` also {names(wide=True)}." if names(wide=True) else f"{told}."


def _rules(schema: Schema, path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"| `{path or 'metadata'}{rule.get('fieldPath', '')}` | {rule['message']} |\n"
    for name, inner in schema.get("properties", {}).items():
        yield from _rules(inner, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _rules(schema["additionalProperties"], f"{path}.*")


def _sections(schema: Schema, path: str) -> list[str]:
    """A section's table, and those of the sections in it."""
    required = set(schema.get("required", ()))
    rows = [
        f"| `{name}` | {_type(field)} | {_default(field, needed=name in required)} |"
        f" {_cell(field['description'])} |"
        for name, field in schema["properties"].items()
    ]
    table = "| field | type | default | |\n|---|---|---|---|\n" + "\n".join(rows)
    found = [f"### `{path}`", table]
    for name, field in schema["properties"].items():
        inner, where = _inner(field, f"{path}.{name}")
        if "properties" in inner:
            found += _sections(inner, where)
    return found


def _inner(field: Schema, path: str) -> tuple[Schema, str]:
    if "items" in field:
        return _inner(field["items"], f"{path}[]")
    if isinstance(field.get("additionalProperties"), dict):
        return _inner(field["additionalProperties"], f"{path}.*")
    return field, path


def _type(field: Schema) -> str:
    if "enum" in field:
        return ", ".join(f"`{word}`" for word in field["enum"])
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    if field["type"] == "object":
        values = field.get("additionalProperties")
        if values is not None:
            return f"mapping to {_type(values)}"
        return "section" if "properties" in field else "anything"
    if field.get("format") == "date-time":
        return "time"
    words = {"integer": "whole number", "boolean": "true or false", "string": "text"}
    kind = str(field["type"])
    return ", ".join([words.get(kind, kind), *_bounds(field)])


def _bounds(field: Schema) -> Iterator[str]:
    for word, sign, without in (("minimum", "≥", ">"), ("maximum", "≤", "<")):
        if word in field:
            open_ = field.get(f"exclusive{word.capitalize()}")
            yield f"{without if open_ else sign} {field[word]}"


def _default(field: Schema, *, needed: bool) -> str:
    if needed:
        return "**required**"
    value = field.get("default")
    if value is None or value == "":
        return ""
    if isinstance(value, dict):
        return "see there"
    return f"`{yaml.safe_dump(value, default_flow_style=True, width=1000).splitlines()[0]}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
