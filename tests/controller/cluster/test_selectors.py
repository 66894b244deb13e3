"""Selectors mean here what they mean to Kubernetes."""

from __future__ import annotations

import pytest
from cardan_controller.cluster.selectors import parse

LABELS = {"app": "vllm", "tier": "gold", "cardan.dev/role": "decode", "empty": ""}


@pytest.mark.parametrize(
    "text",
    [
        "app=vllm",
        "app==vllm",
        " app = vllm , tier=gold ",
        "app in (sglang, vllm)",
        "app notin (sglang)",
        "tier!=silver",
        "nothing!=x",
        "nothing notin (x)",
        "tier",
        "!nothing",
        "cardan.dev/role=decode,app",
        "empty=",
        "empty in (,x)",
    ],
)
def test_what_matches(text: str) -> None:
    assert parse(text).matches(LABELS)


@pytest.mark.parametrize(
    "text",
    ["", "app=sglang", "app in (a,b)", "app notin (vllm)", "nothing", "!tier", "app,tier=silver"],
)
def test_what_does_not(text: str) -> None:
    assert not parse(text).matches(LABELS)


@pytest.mark.parametrize(
    "text", ["=x", "a=b,", ",a=b", "a=b c=d", "a in b", "a in (b", "a=b,,c=d", "a in (b c)", "a=?"]
)
def test_what_is_no_selector_says_where(text: str) -> None:
    with pytest.raises(ValueError, match="is no label selector, from"):
        parse(text)


def test_a_label_with_one_value_finds_the_pods() -> None:
    assert parse("tier,app in (vllm)").handle() == ("app", "vllm")
    assert parse("tier,app in (a,b)").handle() is None
