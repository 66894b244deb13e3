"""The definitions are what the API server wants of definitions, and say something of each field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from cardan.scaling.policies import AnyScalingPolicy
from cardan.spelling import in_yaml
from cardan_controller.crds.definitions import definitions
from cardan_controller.crds.fleet import FleetSpec
from cardan_controller.crds.rules import FIELDS, OBJECTS
from cardan_controller.crds.schema import SchemaError, object_schema
from cardan_controller.crds.words import WORDS, meaning
from msgspec import inspect

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, Any]
# All that a structural schema may hold, and what Kubernetes adds to it.
ALLOWED = {
    *("type", "format", "description", "default", "enum", "required", "properties", "items"),
    *("additionalProperties", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"),
    *("minLength", "maxLength", "pattern", "minItems", "maxItems", "maxProperties"),
    *("x-kubernetes-validations", "x-kubernetes-preserve-unknown-fields"),
    *("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"),
}


def parts(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Every schema in a schema, with where it stands."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from parts(inner, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield from parts(schema[word], f"{path}[]")


ALL = [
    part
    for one in definitions()
    for part in parts(
        one["spec"]["versions"][0]["schema"]["openAPIV3Schema"], one["spec"]["names"]["kind"]
    )
]


def test_schemas_are_structural() -> None:
    for path, schema in ALL:
        assert not schema.keys() - ALLOWED, path
        assert "type" in schema, path


def test_whatever_can_grow_is_bounded() -> None:
    for path, schema in ALL:
        if schema["type"] == "array":
            assert "maxItems" in schema, path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path
        ours = ".spec" in path or ".status" in path
        if schema["type"] == "string" and ours and "enum" not in schema:
            assert "maxLength" in schema, path


def test_each_field_says_what_it_is() -> None:
    silent = [
        f"{path}.{name}"
        for path, schema in ALL
        for name, field in schema.get("properties", {}).items()
        if ".spec" in f"{path}.{name}" and not field.get("description")
    ]
    assert not silent


def test_no_word_is_left_of_a_field_that_is_gone() -> None:
    for struct, words in WORDS.items():
        assert set(words) <= set(struct.__struct_fields__), struct


def test_rules_and_bounds_are_of_fields_that_are_there() -> None:
    for struct, field in FIELDS:
        assert field in struct.__struct_fields__, struct
    for struct, rules in OBJECTS.items():
        names = {field.encode_name for field in msgspec.structs.fields(struct)}
        for rule in rules:
            assert not rule.field or rule.field.removeprefix(".") in names, rule


def test_every_policy_has_a_section_that_is_described() -> None:
    (policy,) = [schema for path, schema in ALL if path == "InferenceFleet.spec.policies[]"]
    tags = [str(one.__struct_config__.tag) for one in get_args(AnyScalingPolicy)]
    assert policy["properties"]["type"]["enum"] == tags
    assert policy["required"] == ["type"]
    for tag in tags:
        assert policy["properties"][tag]["description"]


def test_names_are_those_of_the_structs() -> None:
    schema = object_schema(FleetSpec)
    info = inspect.type_info(FleetSpec)
    assert isinstance(info, inspect.StructType)
    assert set(schema["properties"]) == {in_yaml(field.name) for field in info.fields}
    assert {"scaleToZero", "failureDetection", "coldStartSeconds"} <= set(schema["properties"])


def test_a_section_defaults_to_what_stands_above_it() -> None:
    behavior = object_schema(FleetSpec)["properties"]["behavior"]["properties"]
    waits = {
        word: behavior[word]["properties"]["stabilizationWindowSeconds"]["default"]
        for word in ("scaleUp", "scaleDown")
    }
    assert waits == {"scaleUp": 0, "scaleDown": 60}


def test_a_status_has_no_defaults() -> None:
    assert not [path for path, schema in ALL if ".status" in path and "default" in schema]


class Odd(msgspec.Struct):
    """What no schema can say."""

    either: int | str


def test_what_no_structural_schema_can_say_is_refused() -> None:
    with pytest.raises(SchemaError):
        object_schema(Odd)


def test_words_in_backticks_are_those_of_yaml() -> None:
    assert "`tokensPerSecond`" in meaning(get_args(AnyScalingPolicy)[1])


def test_one_version_is_stored_and_conversion_is_named() -> None:
    for one in definitions():
        assert one["spec"]["conversion"] == {"strategy": "None"}
        assert [version["storage"] for version in one["spec"]["versions"]] == [True]
        assert one["spec"]["names"]["categories"] == ["all", "cardan"]
