"""values.schema.json: the chart's own values, in them the gateway's configuration (`config`) and
the operator's (`controller.config`).

Those are made of the structs that decode their files, so Helm refuses what the two would, with the
same bounds. Where msgspec says "one of these structs, told apart by a tag", the schema asks for the
tag first and then for that one struct: a mistake is told for the struct that was meant, and not as
eight structs that do not match.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from cardan.policies import policy_names
from cardan_controller.config import OperatorConfig
from cardan_router.config import Config
from cardan_router.discovery_config import SELECTOR
from cardan_sim.engine import MODELS

from tools.chart.values import NAME, Values

Schema = dict[str, Any]

# What the chart sets itself, from other values.
SET_BY_THE_CHART: Final = ("listen", "grpc", "admin", "discovery", "api_keys", "tls")
SET_FOR_THE_OPERATOR: Final = ("listen", "keda", "kubeconfig", "namespaces", "wake_url")
SET_FOR_THE_LEASE: Final = ("name", "namespace")
# Belongs into a Secret: `router.engineKey`.
NOT_IN_A_CONFIG_MAP: Final = ("api_key", "api_key_file")
# Labels of pods that the chart sets itself: Deployments, Services and gateways know pods by them.
TAKEN_LABELS: Final = (
    *(f"app.kubernetes.io/{word}" for word in ("name", "instance", "component")),
    "cardan.dev/engine",
)


def values_schema() -> str:
    """The text of values.schema.json."""
    given = (Config, OperatorConfig, Values)
    (config_ref, operator_ref, values_ref), components = msgspec.json.schema_components(given)
    definitions = {name: _plain(schema) for name, schema in components.items()}
    root = definitions.pop(_name(values_ref))
    config = definitions[_name(config_ref)]
    for name in SET_BY_THE_CHART:
        del config["properties"][name]
    for name in SET_FOR_THE_OPERATOR:
        del definitions[_name(operator_ref)]["properties"][name]
    for name in SET_FOR_THE_LEASE:
        del definitions["LeaseConfig"]["properties"][name]
    for name in NOT_IN_A_CONFIG_MAP:
        del definitions["UpstreamConfig"]["properties"][name]
    config["properties"]["policy"] = _word_or(policy_names(), config["properties"]["policy"])
    definitions["SimulatedEngines"]["properties"]["model"] = {"enum": sorted(MODELS)}
    config["properties"]["endpoints"]["items"] = _url_or(_ref("Endpoint"))
    root["properties"]["config"] = config_ref
    definitions["Controller"]["properties"]["config"] = operator_ref
    # Helm itself puts this into the values of every chart.
    root["properties"]["global"] = {"type": "object"}
    root["required"].append("config")
    _conditions(definitions)
    for struct, field in ((root, "commonLabels"), *_pod_labels(definitions)):
        struct["properties"][field]["properties"] = dict.fromkeys(TAKEN_LABELS, False)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Values", **root}
    return _dump({**schema, "$defs": _used(schema, definitions)})


def _plain(schema: Schema) -> Schema:
    """Without titles and defaults, which values.yaml has; unions by their tag."""
    if "discriminator" in schema:
        return _by_tag(schema["discriminator"])
    keep: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            keep[key] = {name: _plain(inner) for name, inner in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            keep[key] = _plain(value)
        elif key == "anyOf":
            keep[key] = [_plain(option) for option in value]
        elif key == "description":
            keep[key] = " ".join(value.split("\n\n")[0].split())
        elif key not in ("title", "default"):
            keep[key] = value
    return keep


def _by_tag(discriminator: Schema) -> Schema:
    tag, mapping = discriminator["propertyName"], discriminator["mapping"]
    return {
        "type": "object",
        "required": [tag],
        "properties": {tag: {"enum": list(mapping)}},
        "allOf": [
            _if({"properties": {tag: {"const": word}}, "required": [tag]}, {"$ref": ref})
            for word, ref in mapping.items()
        ],
    }


def _word_or(words: tuple[str, ...] | list[str], other: Schema) -> Schema:
    """One of these words, or a mapping."""
    return {**_if({"type": "string"}, {"enum": list(words)}), "else": other}


def _url_or(other: Schema) -> Schema:
    return {**_if({"type": "string"}, {"pattern": "^https?://"}), "else": other}


def _pod_labels(definitions: dict[str, Schema]) -> list[tuple[Schema, str]]:
    return [
        (definitions[name], "podLabels") for name in ("Router", "Controller", "SimulatedEngines")
    ]


def _conditions(definitions: dict[str, Schema]) -> None:
    """What a kind of discovery needs."""
    needs: dict[str, Schema] = {
        "pods": {
            "properties": {
                "selector": {"minLength": 1, "pattern": f"^({SELECTOR.pattern})$"},
                "ports": {"minItems": 1},
            }
        },
        "service": {
            "properties": {
                "name": {"minLength": 1, "maxLength": 63, "pattern": f"^{NAME}$"},
                "namespace": {"not": _STAR},
            }
        },
        "inference_pool": {"properties": {"name": {"minLength": 1}, "namespace": {"not": _STAR}}},
    }
    definitions["KubernetesDiscovery"]["allOf"] = [
        _if({"properties": {"kind": {"const": kind}}}, then) for kind, then in needs.items()
    ]
    definitions["KubernetesDiscovery"]["properties"]["ports"]["uniqueItems"] = True


_STAR: Final[Schema] = {"const": "*"}


def _if(condition: Schema, then: Schema) -> Schema:
    return {"if": condition, "then": then}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _name(ref: Schema) -> str:
    return str(ref["$ref"]).rpartition("/")[2]


def _used(root: Schema, definitions: dict[str, Schema]) -> dict[str, Schema]:
    """The definitions that something refers to."""
    found: dict[str, Schema] = {}
    waiting = [root]
    while waiting:
        for name in _refs(waiting.pop()):
            if name not in found:
                found[name] = definitions[name]
                waiting.append(definitions[name])
    return dict(sorted(found.items()))


def _refs(schema: object) -> list[str]:
    if isinstance(schema, list):
        return [name for item in schema for name in _refs(item)]
    if not isinstance(schema, dict):
        return []
    own = [_name(schema)] if isinstance(schema.get("$ref"), str) else []
    return own + [name for value in schema.values() for name in _refs(value)]


def _dump(schema: Schema) -> str:
    return json.dumps(_whole(schema), indent=2, ensure_ascii=False) + "\n"


def _whole(value: object) -> object:
    """Whole numbers without a fraction: `Annotated[float, Meta(ge=0)]` and `Meta(ge=0.0)` are equal
    to typing's cache, so which of the two a field shows depends on what was imported first.
    """
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
