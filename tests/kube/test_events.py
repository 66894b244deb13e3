"""An event says what happened to which object, fits the API's bounds, and is not said twice."""

from __future__ import annotations

from typing import Any

from cardan_kube import events
from cardan_kube.events import MAX_NOTE_BYTES, SAME_S, Events, Regarding, Reporter, cut
from hypothesis import given
from hypothesis import strategies as st

FLEET = Regarding("cardan.dev/v1alpha1", "InferenceFleet", "ns", "llama", "uid-1")
NOW = 1_767_225_600.25


def teller() -> Events:
    return Events(Reporter("cardan-controller", "pod-1"))


def tell(one: Events, note: str = "from 2 to 3", *, after_s: float = 0.0) -> Any:
    request = one.tell(FLEET, "Normal", "ScaledUp", note, now_s=NOW + after_s)
    return request and request.body


def test_it_says_what_happened_to_which_object() -> None:
    request = teller().tell(FLEET, "Warning", "ScaledUp", "from 2 to 3", now_s=NOW)
    assert request is not None
    assert request.method == "POST"
    assert request.path == "/apis/events.k8s.io/v1/namespaces/ns/events"
    assert request.body == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": "llama-", "namespace": "ns"},
        "eventTime": "2026-01-01T00:00:00.250000Z",
        "reportingController": "cardan-controller",
        "reportingInstance": "pod-1",
        "regarding": {
            "apiVersion": "cardan.dev/v1alpha1",
            "kind": "InferenceFleet",
            "namespace": "ns",
            "name": "llama",
            "uid": "uid-1",
        },
        "type": "Warning",
        "reason": "ScaledUp",
        "action": "Reconcile",
        "note": "from 2 to 3",
    }


def test_the_same_is_told_once_in_a_while() -> None:
    one = teller()
    assert tell(one)
    assert tell(one, after_s=SAME_S - 1) is None
    assert tell(one, "from 3 to 4", after_s=SAME_S - 1)
    assert tell(one, after_s=SAME_S)


def test_what_was_told_is_not_remembered_for_ever(monkeypatch: Any) -> None:
    monkeypatch.setattr(events, "MAX_REMEMBERED", 4)
    one = teller()
    for number in range(20):
        assert tell(one, str(number))
    assert len(one._told) <= 4
    assert tell(one, "19") is None


@given(st.text(max_size=2 * MAX_NOTE_BYTES))
def test_a_note_fits_and_keeps_its_beginning(note: str) -> None:
    told = cut(note)
    assert len(told.encode()) <= MAX_NOTE_BYTES
    assert note.startswith(told.removesuffix("…"))
