"""Configuration documents: YAML in, `Config` out, and back.

Strict on purpose. YAML's own reader drops the first of two equal keys without a word; this one
says so with the line. An error names the file, the line where there is one, and the path of the
field.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import yaml
from cardan.endpoint import Endpoint
from cardan.errors import ConfigError

from cardan_router.config import Config, check_endpoints
from cardan_router.config_hints import hint, path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from pathlib import Path as FilePath

    from cardan_router.config_hints import Path

T = TypeVar("T")

# Far above any real file; a FIFO or a log given by mistake must not fill the memory.
MAX_BYTES = 16 * 1024 * 1024


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses equal keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str, source: str) -> object:
    """A YAML (or JSON) document as plain values; `ConfigError` with the line if it is not one."""
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - it is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigError(f"{where}: {error.problem or 'not YAML'}") from error
    except (yaml.YAMLError, RecursionError, TypeError) as error:
        raise ConfigError(f"{source}: not YAML: {error}") from error


def read_text(path: FilePath) -> str:
    """A file's text; `ConfigError` naming the file if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: over {MAX_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start})") from error


def read_document(path: FilePath) -> dict[str, Any]:
    """A configuration file as a mapping; an empty file is an empty one."""
    document = parse_yaml(read_text(path), str(path))
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: a mapping is expected, not {type(document).__name__}")
    return document


def decode(
    document: dict[str, Any], source: str, place: Callable[[Path], str] | None = None
) -> Config:
    """The `Config` that a document describes; `ConfigError` with the path of what is wrong.

    `place` says where a path was written, as `FILE:LINE`; else every path is in `source`.
    """
    prepared = dict(document)
    if isinstance(prepared.get("endpoints"), list):
        prepared["endpoints"] = [_endpoint_entry(entry) for entry in prepared["endpoints"]]
    if isinstance(prepared.get("policy"), str):
        prepared["policy"] = {"type": prepared["policy"]}
    log = prepared.get("log")
    if isinstance(log, dict) and log.get("access") is False:
        prepared["log"] = {**log, "access": "off"}  # what YAML makes of a bare `off`
    return _convert(prepared, Config, source, place)


def decode_endpoints(document: object, source: str) -> tuple[Endpoint, ...]:
    """A discovery document: a list of endpoints, bare or under the key `endpoints`."""
    if isinstance(document, dict) and set(document) == {"endpoints"}:
        document = document["endpoints"]
    if not isinstance(document, list):
        raise ConfigError(f"{source}: a list of endpoints is expected")
    entries = [_endpoint_entry(entry) for entry in document]
    endpoints = _convert(entries, tuple[Endpoint, ...], source)
    try:
        check_endpoints(endpoints)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error
    return endpoints


def dump(config: Config) -> str:
    """The configuration as YAML that `decode` reads back to an equal value."""
    plain = msgspec.to_builtins(config, str_keys=True)
    return yaml.safe_dump(plain, sort_keys=False, default_flow_style=False, allow_unicode=True)


def _endpoint_entry(entry: object) -> object:
    """An endpoint may be just its URL."""
    if isinstance(entry, str):
        entry = {"url": entry}
    if isinstance(entry, dict) and isinstance(entry.get("url"), str):
        return {**entry, "url": entry["url"].rstrip("/")}
    return entry


def _convert(
    document: object, kind: type[T], source: str, place: Callable[[Path], str] | None = None
) -> T:
    try:
        _check_finite(document, (), source)
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        message = str(error)
        where = place(path_of(message)) if place else source
        raise ConfigError(f"{where}: {message}{hint(message, kind, document)}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: something in it holds itself") from error


def overlay(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, mapping by mapping; lists and scalars are replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = overlay(old, value)
        else:
            merged[key] = value
    return merged


def put(document: dict[str, Any], path: Iterable[str], value: object) -> None:
    """Set a leaf of nested mappings, making those on the way."""
    *parents, leaf = path
    for name in parents:
        child = document.setdefault(name, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{name} is not a section")
        document = child
    document[leaf] = value


def _check_finite(value: object, path: tuple[str, ...], source: str) -> None:
    """YAML can write infinity and not-a-number; no field means either."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{source}: {'.'.join(path)}: {value} is not a finite number")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_finite(inner, (*path, str(key)), source)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_finite(inner, (*path, str(index)), source)
