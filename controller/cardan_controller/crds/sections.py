"""How values are written: a policy as its type and a section of that name, numbers as people do.

A policy is a section of its type's name in YAML, and a tagged struct in the core: `section_of` says
how the one is called that the other has as its tag.
"""

from __future__ import annotations

from typing import Any

import msgspec

Document = dict[str, Any]


def section_of(tag: str) -> str:
    """The section of a tag: `some-policy` has its options in `somePolicy`."""
    first, *rest = tag.split("-")
    return first + "".join(word.capitalize() for word in rest)


def sectioned(entry: Document) -> Document:
    """`{type: x, …}` becomes `{type: x, x: {…}}`."""
    options = {key: value for key, value in entry.items() if key != "type"}
    return {"type": entry["type"], **({section_of(entry["type"]): options} if options else {})}


def without_none(value: Any) -> Any:  # noqa: ANN401 - any part of a document
    """The same without fields that hold nothing."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_none(item) for item in value]
    return value


def written(value: object) -> Any:  # noqa: ANN401 - any part of a document
    """A field's value as it is written, whole numbers without a fraction."""
    if isinstance(value, tuple) and any(_is_tagged(item) for item in value):
        return [sectioned(_whole(_not_default(item))) for item in value]
    return _whole(without_none(msgspec.to_builtins(value)))


def _not_default(value: Any) -> Document:  # noqa: ANN401 - one of several structs
    """A tagged struct without the fields that say nothing new."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(value)}
    told: Document = msgspec.to_builtins(value)
    return {
        key: item
        for key, item in told.items()
        if key not in fields or getattr(value, fields[key].name) != fields[key].default
    }


def _is_tagged(value: object) -> bool:
    return isinstance(value, msgspec.Struct) and value.__struct_config__.tag is not None


def _whole(value: Any) -> Any:  # noqa: ANN401 - any part of a document
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
