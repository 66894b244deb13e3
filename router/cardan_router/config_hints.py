"""What a mistake in the configuration was probably meant to be, and on which line it stands.

msgspec says what is wrong and where ("unknown field `listne` - at `$.http`"). From that path and
the types of `Config` follows what would have been right there; from the path and the text of the
file follows the line.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

import yaml
from msgspec import inspect

if TYPE_CHECKING:
    from collections.abc import Sequence

Path = tuple[str, ...]

_AT: Final = re.compile(r" - at `(key in )?\$(?P<path>[^`]*)`$")
_UNKNOWN: Final = re.compile(r"unknown field `(?P<name>[^`]*)`")
_INVALID: Final = re.compile(r"Invalid (enum )?value '(?P<value>[^']*)'")
# The fields that say which of several structs stands there.
TAG_FIELDS: Final = ("type", "kind")
_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[([^\]]*)\]")


def path_of(message: str) -> Path:
    """The path that a message of msgspec names, with the unknown field as its last step.

    Indices are digits; `...` stands for any key of a mapping.
    """
    at, unknown = _AT.search(message), _UNKNOWN.search(message)
    steps = [key or index for key, index in _STEP.findall(at["path"])] if at else []
    return (*steps, unknown["name"]) if unknown else tuple(steps)


def hint(message: str, root: type, document: object) -> str:
    """What could have been meant, to be put behind the message; empty if there is nothing to say.

    `root` is the type that `document` should have been.
    """
    path = path_of(message)
    unknown, invalid = _UNKNOWN.search(message), _INVALID.search(message)
    if unknown:
        fields = [
            field.encode_name
            for struct in _structs(_types_at(root, path[:-1], document))
            for field in struct.fields
        ]
        return _meant(unknown["name"], fields, "fields")
    if invalid and path and path[-1] in TAG_FIELDS:
        structs = _structs(_types_at(root, path[:-1], document, untold=True))
        return _meant(invalid["value"], [str(s.tag) for s in structs if s.tag], f"{path[-1]}s")
    if invalid:
        words = [word for kind in _types_at(root, path, document) for word in _words(kind)]
        return _meant(invalid["value"], words, "values")
    return ""


def line_of(text: str, path: Path) -> int | None:
    """The line (from 1) where a path stands in a YAML text; None if it does not."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = None
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = [pair for pair in node.value if pair[0].value == step]
            if not found:
                return line
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
            node = node.value[int(step)]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def _meant(wrong: str, right: Sequence[str], what: str) -> str:
    close = difflib.get_close_matches(wrong, right, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; {what} are {', '.join(right)}" if right else ""


def _types_at(
    root: type, path: Path, document: object, *, untold: bool = False
) -> list[inspect.Type]:
    """The types that may stand at a path; of several tagged structs the one the document names.

    With `untold` all of them: the document's tag is what is wrong.
    """
    kinds: list[inspect.Type] = _flat(inspect.type_info(root))
    for step in path:
        kinds = [inner for kind in _told(kinds, document) for inner in _inside(kind, step)]
        document = _step_into(document, step)
    return kinds if untold else _told(kinds, document)


def _told(kinds: list[inspect.Type], document: object) -> list[inspect.Type]:
    told = document if isinstance(document, dict) else {}
    tag = next((told[field] for field in TAG_FIELDS if field in told), None)
    named: list[inspect.Type] = [
        kind for kind in kinds if isinstance(kind, inspect.StructType) and kind.tag == tag
    ]
    return named if tag is not None and named else kinds


def _step_into(document: object, step: str) -> object:
    if isinstance(document, dict):
        return document.get(step)
    if isinstance(document, list | tuple) and step.isdigit() and int(step) < len(document):
        return document[int(step)]
    return None


def _inside(kind: inspect.Type, step: str) -> list[inspect.Type]:
    if isinstance(kind, inspect.StructType):
        return [t for f in kind.fields if f.encode_name == step for t in _flat(f.type)]
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return _flat(kind.item_type)
    return _flat(kind.value_type) if isinstance(kind, inspect.DictType) else []


def _flat(kind: inspect.Type) -> list[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        return _flat(kind.type)
    if isinstance(kind, inspect.UnionType):
        return [inner for option in kind.types for inner in _flat(option)]
    return [kind]


def _structs(kinds: list[inspect.Type]) -> list[inspect.StructType]:
    return [kind for kind in kinds if isinstance(kind, inspect.StructType)]


def _words(kind: inspect.Type) -> list[str]:
    if isinstance(kind, inspect.EnumType):
        return [str(member.value) for member in kind.cls]
    return [str(value) for value in kind.values] if isinstance(kind, inspect.LiteralType) else []
