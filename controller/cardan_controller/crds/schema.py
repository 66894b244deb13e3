"""A struct becomes a structural schema, as a CustomResourceDefinition wants it.

Structural schemas take no `$ref` and no alternatives: every field is written out where it stands.
A union of structs that a tag tells apart becomes what Kubernetes makes of unions: the tag, and a
section of its name for each struct (`type: schedule` and `schedule: {…}`), so that each field is
described, bounded and refused by the API server itself.

Defaults are those of the value that stands above: `behavior.scaleDown` defaults to what the core
waits before it shrinks a fleet, not to what a `Direction` of nothing would.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, inspect

from cardan_controller.crds.rules import FIELDS, OBJECTS, Rule
from cardan_controller.crds.sections import section_of, written
from cardan_controller.crds.words import meaning

Schema = dict[str, Any]

# Rules over lists and texts are priced by how long these may be, and everything is priced by how
# large an object may become: 1.5 MB is where etcd says no.
MOST_ITEMS: Final = 64
MOST_LETTERS: Final = 1024
_OPAQUE: Final = "x-kubernetes-preserve-unknown-fields"


class SchemaError(TypeError):
    """A type that no structural schema can say."""


def object_schema(
    struct: type[msgspec.Struct], value: msgspec.Struct | None = None, *, defaults: bool = True
) -> Schema:
    """The schema of a struct whose fields default to those of `value`, if there is one."""
    info = inspect.type_info(struct)
    if not isinstance(info, inspect.StructType):
        raise SchemaError(f"{struct} is no struct")
    schema: Schema = {"type": "object", "description": meaning(struct)}
    fields = sorted(info.fields, key=lambda field: not field.required)  # what is needed, first
    required = [field.encode_name for field in fields if field.required]
    if required:
        schema["required"] = required
    schema["properties"] = {
        field.encode_name: _field(struct, field, value, defaults=defaults) for field in fields
    }
    return _with_rules(schema, OBJECTS.get(struct, ()))


def _field(
    struct: type[msgspec.Struct],
    field: inspect.Field,
    above: msgspec.Struct | None,
    *,
    defaults: bool,
) -> Schema:
    value = getattr(above, field.name) if above is not None else _default(field)
    default = value if defaults else NODEFAULT
    schema = _of(field.type, default, defaults=defaults)
    schema["description"] = meaning(struct, field.name)
    extra = FIELDS.get((struct, field.name))
    if extra is not None:
        schema |= extra.schema
        schema = _with_rules(schema, extra.rules)
    if default is not NODEFAULT and default is not None:
        schema["default"] = written(default)  # in full: rules are tried on it as it stands
    return {key: schema[key] for key in sorted(schema, key=_ORDER)}


def _default(field: inspect.Field) -> Any:  # noqa: ANN401 - whatever the field holds
    if field.default_factory is not NODEFAULT:
        return field.default_factory()
    return field.default


def _of(info: inspect.Type, value: object, *, defaults: bool) -> Schema:
    if isinstance(info, inspect.Metadata):
        return _of(info.type, value, defaults=defaults) | (info.extra_json_schema or {})
    if isinstance(info, inspect.StructType):
        above = value if isinstance(value, msgspec.Struct) else None
        return object_schema(info.cls, above, defaults=defaults)
    if isinstance(info, inspect.UnionType):
        return _union(info, value, defaults=defaults)
    if isinstance(info, inspect.VarTupleType):
        return _list(info, defaults=defaults)
    if isinstance(info, inspect.DictType):
        return _map(info, defaults=defaults)
    if isinstance(info, inspect.EnumType):
        return {"type": "string", "enum": [member.value for member in info.cls]}
    if isinstance(info, inspect.StrType):
        return _text(info)
    if isinstance(info, inspect.IntType | inspect.FloatType):
        return _number(info)
    if isinstance(info, inspect.BoolType):
        return {"type": "boolean"}
    raise SchemaError(f"no structural schema for {info}")


def _union(info: inspect.UnionType, value: object, *, defaults: bool) -> Schema:
    """Something or nothing, or one of several structs with a tag."""
    options = [option for option in info.types if not isinstance(option, inspect.NoneType)]
    if len(options) == 1:
        return _of(options[0], value, defaults=defaults)
    structs = [option for option in options if isinstance(option, inspect.StructType)]
    if len(structs) != len(options):
        raise SchemaError(f"no structural schema for {info}")
    return _tagged(structs, defaults=defaults)


def _tagged(structs: list[inspect.StructType], *, defaults: bool) -> Schema:
    tag_field = str(structs[0].tag_field)
    tags = [str(struct.tag) for struct in structs]
    properties: Schema = {
        tag_field: {
            "description": "Which one it is; its options are in the section of that name.",
            "type": "string",
            "enum": tags,
        }
    }
    schema: Schema = {"type": "object", "required": [tag_field], "properties": properties}
    for struct, tag in zip(structs, tags, strict=True):
        if struct.fields:
            properties[section_of(tag)] = object_schema(struct.cls, defaults=defaults)
    return _with_rules(schema, tuple(_sections(structs, tag_field)))


def _sections(structs: list[inspect.StructType], tag_field: str) -> list[Rule]:
    """Options only of the type that it is, and those that have no default."""

    found = []
    for struct in structs:
        if not struct.fields:
            continue
        tag, section = str(struct.tag), section_of(str(struct.tag))
        has, meant = f"has(self.{section})", f"self.{tag_field} == '{tag}'"
        told = f"{section} is the section of {tag_field}: {tag}"
        found.append(Rule(f"!{has} || {meant}", told, f".{section}"))
        if any(field.required for field in struct.fields):
            needs = f"{tag_field}: {tag} needs the section {section}"
            found.append(Rule(f"!({meant}) || {has}", needs, f".{section}"))
    return found


def _list(info: inspect.VarTupleType, *, defaults: bool) -> Schema:
    return {
        "type": "array",
        "x-kubernetes-list-type": "atomic",
        **({"minItems": info.min_length} if info.min_length else {}),
        "maxItems": info.max_length or MOST_ITEMS,
        "items": _of(info.item_type, NODEFAULT, defaults=defaults),
    }


def _map(info: inspect.DictType, *, defaults: bool) -> Schema:
    if isinstance(info.value_type, inspect.AnyType):
        return {"type": "object", _OPAQUE: True, "x-kubernetes-map-type": "atomic"}
    return {
        "type": "object",
        "maxProperties": info.max_length or MOST_ITEMS,
        "additionalProperties": _of(info.value_type, NODEFAULT, defaults=defaults),
    }


def _text(info: inspect.StrType) -> Schema:
    bounds = {"minLength": info.min_length, "pattern": info.pattern}
    given = {key: value for key, value in bounds.items() if value is not None}
    return {"type": "string", **given, "maxLength": info.max_length or MOST_LETTERS}


def _number(info: inspect.IntType | inspect.FloatType) -> Schema:
    whole = isinstance(info, inspect.IntType)
    schema: Schema = {"type": "integer", "format": "int64"} if whole else {"type": "number"}
    for bound, word, without in (
        ("ge", "minimum", False),
        ("gt", "minimum", True),
        ("le", "maximum", False),
        ("lt", "maximum", True),
    ):
        at = getattr(info, bound)
        if at is not None:
            schema[word] = int(at) if float(at).is_integer() else at
            if without:
                schema[f"exclusive{word.capitalize()}"] = True
    return schema


def _with_rules(schema: Schema, rules: tuple[Rule, ...]) -> Schema:
    if rules:
        schema["x-kubernetes-validations"] = [rule.document() for rule in rules]
    return schema


_FIRST: Final = ("description", "type", "format", "enum", "default", "required")


def _ORDER(key: str) -> tuple[int, str]:  # noqa: N802
    return (_FIRST.index(key) if key in _FIRST else len(_FIRST), "")
