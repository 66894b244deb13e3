"""Tool calls: when a client insists on one, the engine makes one that fits the tool's schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call to answer with: the function's name and its arguments as JSON text."""

    name: str
    arguments: str


def chosen_tool(body: dict[str, Any]) -> ToolCall | None:
    """The call that `tool_choice` demands: "required" or a named function; None if it does not."""
    choice = body.get("tool_choice")
    tools = [tool for tool in body.get("tools") or [] if isinstance(tool, dict)]
    functions: list[dict[str, Any]] = [
        tool["function"] for tool in tools if isinstance(tool.get("function"), dict)
    ]
    if isinstance(choice, dict):
        wanted = (choice.get("function") or {}).get("name")
        functions = [function for function in functions if function.get("name") == wanted]
    elif choice != "required":
        return None
    if not functions:
        return None
    sample = _sample(functions[0].get("parameters") or {})
    arguments = orjson.dumps(sample if isinstance(sample, dict) else {}).decode()
    return ToolCall(str(functions[0].get("name")), arguments)


_SAMPLES: Final[dict[str, Any]] = {
    "string": "the",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}


def _sample(schema: object, depth: int = 0) -> object:
    """A value that fits a JSON schema's type and required properties."""
    if not isinstance(schema, dict) or depth > 8:
        return {}
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "array":
        return [_sample(schema.get("items") or {"type": "string"}, depth + 1)]
    if kind in _SAMPLES:
        return _SAMPLES[kind]
    properties = schema.get("properties") or {}
    required = schema.get("required") or []
    return {name: _sample(properties.get(name) or {}, depth + 1) for name in required}
