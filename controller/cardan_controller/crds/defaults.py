"""Defaults are filled into a document as the API server does it.

What is missing gets its default, whole; what is there is filled in below. `null` where there is a
default counts as missing.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Schema = dict[str, Any]


def filled(document: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """A document with the defaults of its schema; the one that is given stays as it is."""
    whole = dict(document)
    for name, field in schema.get("properties", {}).items():
        if whole.get(name) is None and "default" in field:
            whole[name] = copy.deepcopy(field["default"])
        if name in whole:
            whole[name] = _part(whole[name], field)
    return whole


def _part(value: Any, schema: Schema) -> Any:  # noqa: ANN401 - any part of a document
    if isinstance(value, list) and "items" in schema:
        return [_part(item, schema["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(schema.get("additionalProperties"), dict):
        return {key: _part(item, schema["additionalProperties"]) for key, item in value.items()}
    return filled(value, schema)
