"""The protos and the generated code agree, and no release breaks a client of an earlier one.

`protos.golden.txt` freezes every field, enum value and method that was ever published. A line may
be added; a line may go only when its number and its name are reserved.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cardan_controller.pb.keda import externalscaler_pb2
from cardan_router.pb.cardan.v1 import inference_pb2, prompt_pb2, receipt_pb2, routing_pb2
from google.protobuf import descriptor_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from google.protobuf.descriptor import FileDescriptor

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools/gen_protos.py"
GOLDEN = Path(__file__).with_name("protos.golden.txt")
FILES: tuple[FileDescriptor, ...] = (
    inference_pb2.DESCRIPTOR,
    prompt_pb2.DESCRIPTOR,
    receipt_pb2.DESCRIPTOR,
    routing_pb2.DESCRIPTOR,
    externalscaler_pb2.DESCRIPTOR,
)

Field = descriptor_pb2.FieldDescriptorProto


def test_generated_code_is_fresh() -> None:
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_stale_code_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(TOOL.parent))
    tool = importlib.import_module("gen_protos")
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    pb = tmp_path / "router/cardan_router/pb"
    pb.mkdir(parents=True)
    (pb / "left_pb2.py").write_text("")
    (pb / "same_pb2.py").write_text("x")
    (pb / "old_pb2.py").write_text("x")
    made = {"same_pb2.py": "x", "old_pb2.py": "y", "new_pb2.pyi": "z"}
    produced = {f"router/cardan_router/pb/{name}": content for name, content in made.items()}
    assert tool.stale(produced) == [
        "router/cardan_router/pb/left_pb2.py: not generated from any proto",
        "router/cardan_router/pb/new_pb2.pyi: missing",
        "router/cardan_router/pb/old_pb2.py: differs",
    ]
    tool.write(produced)
    assert tool.stale(produced) == []


def test_generated_code_never_shadows_the_core() -> None:
    for path in [*ROOT.glob("router/*/pb/**/*.py*"), *ROOT.glob("controller/*/pb/**/*.py*")]:
        if path.suffix in {".py", ".pyi"}:
            for line in path.read_text().splitlines():
                assert not line.lstrip().startswith(("from cardan.", "import cardan.")), path


def test_nothing_that_was_published_has_changed() -> None:
    current = dict(_published())
    frozen = dict(line.split(" = ") for line in GOLDEN.read_text().splitlines())
    assert _broken(frozen, current, set(_reserved())) == []
    added = [f"{name} = {value}" for name, value in current.items() if name not in frozen]
    assert added == [], f"freeze these lines in {GOLDEN.name}"


def test_a_break_is_seen() -> None:
    frozen = {"p.M.a": "1 optional string plain", "p.M.b": "2 optional string plain"}
    renumbered = frozen | {"p.M.b": "3 optional string plain"}
    removed = {"p.M.a": frozen["p.M.a"]}
    assert _broken(frozen, renumbered, set()) == ["p.M.b"]
    assert _broken(frozen, removed, set()) == ["p.M.b"]
    assert _broken(frozen, removed, {"p.M.b"}) == ["p.M.b"], "the number must be reserved too"
    assert _broken(frozen, removed, {"p.M.b", "p.M.2"}) == []


def test_every_proto_is_frozen() -> None:
    names = {file.name for file in FILES}
    assert names == {
        path.relative_to(ROOT / "protos").as_posix() for path in (ROOT / "protos").rglob("*.proto")
    }


def test_every_enum_begins_unspecified() -> None:
    for file in _protos():
        enums = [*file.enum_type, *(e for m in file.message_type for e in m.enum_type)]
        for enum in enums:
            assert enum.value[0].number == 0
            assert enum.value[0].name.endswith("_UNSPECIFIED")


def _broken(frozen: dict[str, str], current: dict[str, str], reserved: set[str]) -> list[str]:
    """Names of what a client of an earlier release would miss."""
    return [
        name
        for name, value in frozen.items()
        if current.get(name) != value
        and not (
            name not in current
            and {name, f"{name.rpartition('.')[0]}.{value.split()[0]}"} <= reserved
        )
    ]


def _protos() -> Iterator[descriptor_pb2.FileDescriptorProto]:
    for file in FILES:
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        yield proto


def _published() -> Iterator[tuple[str, str]]:
    for proto in _protos():
        for message in proto.message_type:
            yield from _message(f"{proto.package}.{message.name}", message)
        for enum in proto.enum_type:
            yield from _enum(f"{proto.package}.{enum.name}", enum)
        for service in proto.service:
            for method in service.method:
                arrow = "-> stream" if method.server_streaming else "->"
                yield (
                    f"{proto.package}.{service.name}.{method.name}",
                    f"{method.input_type} {arrow} {method.output_type}",
                )


def _message(name: str, message: descriptor_pb2.DescriptorProto) -> Iterator[tuple[str, str]]:
    for field in message.field:
        label = Field.Label.Name(field.label).removeprefix("LABEL_").lower()
        kind = field.type_name or Field.Type.Name(field.type).removeprefix("TYPE_").lower()
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        presence = "presence" if field.proto3_optional else f"oneof {oneof}" if oneof else "plain"
        yield f"{name}.{field.name}", f"{field.number} {label} {kind} {presence}"
    for nested in message.nested_type:
        yield from _message(f"{name}.{nested.name}", nested)
    for enum in message.enum_type:
        yield from _enum(f"{name}.{enum.name}", enum)


def _enum(name: str, enum: descriptor_pb2.EnumDescriptorProto) -> Iterator[tuple[str, str]]:
    for value in enum.value:
        yield f"{name}.{value.name}", str(value.number)


def _reserved() -> Iterator[str]:
    for proto in _protos():
        for message in proto.message_type:
            owner = f"{proto.package}.{message.name}"
            yield from (f"{owner}.{name}" for name in message.reserved_name)
            for span in message.reserved_range:
                yield from (f"{owner}.{number}" for number in range(span.start, span.end))
