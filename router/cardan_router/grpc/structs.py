"""google.protobuf.Struct as JSON objects and back.

A Struct keeps neither the order of keys nor the difference of 1 and 1.0. Keys are therefore written
sorted, so that equal requests are equal bytes (and hit the same prefix cache) in every process,
and a whole number is written as an integer, because engines refuse `"top_k": 20.0`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cardan.errors import RequestError
from google.protobuf import struct_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

# Above 2**53 a double no longer tells neighbouring integers apart; there it stays a float.
_EXACT = 2.0**53


def to_json(struct: struct_pb2.Struct, param: str) -> dict[str, object]:
    """The JSON object of a Struct; `param` names it in the `RequestError` for NaN or infinity."""
    return {
        key: _value_to_json(struct.fields[key], f"{param}.{key}") for key in sorted(struct.fields)
    }


def from_json(members: Mapping[str, Any]) -> struct_pb2.Struct:
    """A JSON object as a Struct. Raises `TypeError` or `ValueError` for what is not JSON."""
    struct = struct_pb2.Struct()
    struct.update(members)
    return struct


def value_from_json(value: object) -> struct_pb2.Value:
    """One JSON value as a Value."""
    return from_json({"": value}).fields[""]


def _value_to_json(value: struct_pb2.Value, param: str) -> object:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return to_json(value.struct_value, param)
    if kind == "list_value":
        items = value.list_value.values
        return [_value_to_json(item, f"{param}[{i}]") for i, item in enumerate(items)]
    if kind == "number_value":
        return _number(value.number_value, param)
    if kind == "string_value":
        return value.string_value
    return value.bool_value if kind == "bool_value" else None


def _number(number: float, param: str) -> int | float:
    if number - number != 0.0:
        raise RequestError("must be a finite number", param=param)
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number
