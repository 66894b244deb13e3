"""Members are cut out of a JSON object and every other byte stays."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from cardan.errors import RequestError
from cardan_router.splice import without_fields
from hypothesis import given
from hypothesis import strategies as st

NAMES = frozenset({"a", "kv_transfer_params"})
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
keys = st.sampled_from(["a", "kv_transfer_params", "b", "", 'q"', "a\\"]) | st.text(max_size=4)


def cut(text: bytes) -> bytes:
    """`text` without `NAMES`."""
    return without_fields(text, orjson.loads(text), NAMES)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (b'{"a": 1}', b"{}"),
        (b"{}", b"{}"),
        (b' { "b" : 1.0 , "a" : [ {"a": "]"} ] } ', b'{"b" : 1.0}'),
        (b'{"a":1,"b":2,"a":3}', b'{"b":2}'),
        (b'{"\\u0061":"x","b":"\\u0061"}', b'{"b":"\\u0061"}'),
        (b'{"b":{"a":1},"a":"\\"},"}', b'{"b":{"a":1}}'),
        (b'{"b":1E400000,"a":null}', None),
    ],
)
def test_members_go_and_the_rest_stays_as_it_was(text: bytes, rest: bytes | None) -> None:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:
        assert rest is None
        return
    if rest is None:
        with pytest.raises(RequestError):
            without_fields(text, fields, NAMES)
    else:
        assert without_fields(text, fields, NAMES) == rest


@given(st.dictionaries(keys, json_values, max_size=6), st.sampled_from([None, 1]), st.booleans())
def test_what_is_left_is_what_was_there_without_them(
    fields: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(fields, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "replace")
    wanted = {key: value for key, value in json.loads(text).items() if key not in NAMES}
    assert json.loads(cut(text)) == wanted


@pytest.mark.parametrize("brackets", [b"[]", b'{"":}'])
def test_a_text_too_deep_to_compare_is_the_clients_fault(brackets: bytes) -> None:
    opening, closing = (brackets[:1], brackets[1:]) if brackets == b"[]" else (b'{"":', b"}")
    deep = opening * 1000 + (b"1" if brackets != b"[]" else b"") + closing * 1000
    text = b'{"kv_transfer_params": 1, "x": ' + deep + b"}"
    fields = orjson.loads(text)
    with pytest.raises(RequestError):
        without_fields(text, fields, NAMES)
