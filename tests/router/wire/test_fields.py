"""What an engine is sent line by line: no value ends a line, and nobody's credentials are kept."""

from __future__ import annotations

import pytest
from cardan.errors import RequestError
from cardan.instants import Monotonic
from cardan.prompt import KeyConfig
from cardan.request import Api
from cardan_router.calls import Reading, read_call
from cardan_router.passing import TO_ENGINES
from cardan_router.wire import heads
from cardan_router.wire.fields import FieldTable, HeadError
from cardan_router.wire.heads import parse_request
from hypothesis import given
from hypothesis import strategies as st

SECRETS = ("authorization: Bearer sk-1", "x-api-key: sk-1", "api-key: sk-1", "cookie: a=sk-1")


@pytest.mark.parametrize("value", ["a\r\nx: b", "a\nb", "a\rb", "a\x00b", "a\x7f", "a\x1bb", "東"])
def test_a_value_that_is_no_value_is_refused(value: str) -> None:
    with pytest.raises(HeadError):
        TO_ENGINES.passed("x-a", value)


@pytest.mark.parametrize("name", ["", "x a", "x:", "x\r\ny", "näme", "x\x00"])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(HeadError):
        TO_ENGINES.passed(name, "value")


@given(st.text(), st.text())
def test_what_is_passed_is_one_line_or_none(name: str, value: str) -> None:
    try:
        line = TO_ENGINES.passed(name, value)
    except HeadError:
        return
    if line:
        raw = line.encode("latin-1")
        assert raw.endswith(b"\r\n")
        assert raw.translate(None, bytes([*b"\t", *range(0x20, 0x7F), *range(0x80, 0x100)])) == (
            b"\r\n"
        )


@pytest.mark.parametrize("name", ["x-a", "authorization"])
def test_headers_that_came_without_http_are_checked_before_an_engine_sees_them(name: str) -> None:
    reading = Reading(KeyConfig(), lambda _: 1.0, wants_prompt=False, pass_authorization=True)
    with pytest.raises(RequestError):
        read_call(
            reading, Api.CHAT, "/v1/chat/completions", {name: "1\r\n\r\nPOST /flush_cache"}, b"{}",
            fields={}, model="m", passed=None, request_id="r", tenant="", priority=0,
            now=Monotonic(0.0),
        )  # fmt: skip


@pytest.mark.parametrize("line", SECRETS)
def test_credentials_are_not_kept_longer_than_their_request(line: str) -> None:
    heads._REQUESTS.clear()
    table = FieldTable(frozenset(), ("sec-",))
    raw = f"POST / HTTP/1.1\r\nhost: g\r\ncontent-length: 5\r\n{line}".encode()
    for _ in range(2):
        assert parse_request(raw, table).length == 5
    assert not heads._REQUESTS
    assert "host: g" in table
    assert "sk-1" not in repr((table, heads._REQUESTS))
