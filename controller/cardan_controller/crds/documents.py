"""Objects of the API become structs and back.

What is read need not come from an API server: a file has only what its author wrote. Defaults are
filled in first, as the server would, so that both mean the same.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from cardan.errors import CardanError
from cardan_kube.objects import Meta

from cardan_controller.crds.defaults import filled
from cardan_controller.crds.fleet import FleetSpec
from cardan_controller.crds.schema import object_schema
from cardan_controller.crds.sections import Document, section_of, sectioned, without_none
from cardan_controller.crds.status import FleetStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

_POLICY: Final = re.compile(r"(spec\.policies\[(\d+)\])(?!\.type)")


class FleetMeta(Meta, rename="camel"):
    """`metadata` of a fleet."""

    generation: int = 0
    creation_timestamp: str = ""
    finalizers: tuple[str, ...] = ()


class Fleet(NamedTuple):
    """An InferenceFleet as it was read; without a `spec` the `problem` says why."""

    meta: FleetMeta
    spec: FleetSpec | None
    status: FleetStatus
    problem: str = ""


class _Object(msgspec.Struct):
    metadata: FleetMeta
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}


_decode_object = msgspec.json.Decoder(_Object).decode


class SpecError(CardanError):
    """A specification that cannot be decided by; the message names the field."""


def read_fleet(raw: msgspec.Raw | bytes) -> Fleet:
    """A fleet from the API's JSON; `msgspec.DecodeError` if it is no object of the API.

    A specification that is wrong is a problem to be told, and no reason not to know the fleet. A
    status that cannot be read was written by another version: what it remembers is forgotten.
    """
    found = _decode_object(raw)
    try:
        status = msgspec.convert(found.status, FleetStatus)
    except msgspec.ValidationError:
        status = FleetStatus()
    try:
        return Fleet(found.metadata, read_spec(found.spec), status)
    except SpecError as error:
        return Fleet(found.metadata, None, status, str(error))


def status_document(status: FleetStatus) -> Document:
    """A status as the API takes it. Counts are there even where they are 0: columns show them."""
    counted = {"replicas": status.replicas, "desired": status.desired, "ready": status.ready}
    document: Document = msgspec.to_builtins(status)
    return counted | document


def read_spec(document: Mapping[str, Any]) -> FleetSpec:
    """A fleet's specification, as the API server holds it or as a file has it.

    Raises:
        SpecError: a field is wrong. The API server has refused most of this before; what is left
            is what a newer or older definition has let through.
    """
    flat = filled(document, _schema())
    policies = flat.get("policies")
    if isinstance(policies, list):
        flat["policies"] = [_flat(entry, at) for at, entry in enumerate(policies)]
    try:
        return msgspec.convert(flat, FleetSpec)
    except msgspec.ValidationError as error:
        raise SpecError(_in_sections(str(error), policies)) from error


@functools.cache
def _schema() -> Document:
    return object_schema(FleetSpec)


def _flat(entry: object, at: int) -> object:
    """`{type: x, x: {…}}` becomes `{type: x, …}`."""
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        return entry
    section = section_of(entry["type"])
    others = sorted(set(entry) - {"type", section})
    if others:
        raise SpecError(f"Object contains unknown field `{others[0]}` - at `spec.policies[{at}]`")
    options = entry.get(section, {})
    if not isinstance(options, dict):
        raise SpecError(f"Expected `object` - at `spec.policies[{at}].{section}`")
    return {"type": entry["type"], **options}


def _in_sections(message: str, policies: object) -> str:
    """A decoder's message with the paths that the user knows."""

    def path(found: re.Match[str]) -> str:
        entry = policies[int(found[2])] if isinstance(policies, list) else None
        tag = entry.get("type") if isinstance(entry, dict) else None
        return f"{found[1]}.{section_of(tag)}" if isinstance(tag, str) else found[1]

    return _POLICY.sub(path, message.replace("`$", "`spec"))


def spec_document(spec: FleetSpec) -> Document:
    """The same as it is written in YAML, every default told."""
    document: Document = msgspec.to_builtins(spec)
    document["policies"] = [sectioned(entry) for entry in document["policies"]]
    whole: Document = without_none(document)
    return whole
