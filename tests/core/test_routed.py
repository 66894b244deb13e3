"""What a router believes of its own decisions: known at once, bounded, gone with its endpoint."""

from __future__ import annotations

from cardan.routed import RoutedPrefixes

from tests.core.policies.build import NOW, endpoint, fleet_of, pool_of


def test_a_prompt_is_known_where_it_was_sent_and_nowhere_else() -> None:
    one, two = pool_of(fleet_of(2)).routable
    index = RoutedPrefixes()
    index.record(one, (1, 2, 3), 100)
    assert index.match(one, (1, 2, 4)) == 2
    assert index.match(two, (1, 2, 4)) == 0


def test_an_endpoint_holds_no_more_than_was_said_last() -> None:
    (state,) = pool_of(fleet_of(1)).routable
    index = RoutedPrefixes()
    for number in range(100):
        index.record(state, (number,), 64)
        assert len(index) <= 64
    index.record(state, (1000,), 10)
    assert len(index) <= 10
    assert index.match(state, (1000,)) == 1


def test_who_leaves_takes_its_prefixes_along() -> None:
    fleet = fleet_of(2)
    index = RoutedPrefixes()
    for state in fleet.endpoints.values():
        index.record(state, (1,), 10)
    index.settle(pool_of(fleet))
    gone, stays = pool_of(fleet).routable
    fleet.update([endpoint(1)], NOW)
    index.settle(pool_of(fleet))
    assert index.match(gone, (1,)) == 0
    assert index.match(stays, (1,)) == 1


def test_a_request_without_a_prompt_leaves_no_trace() -> None:
    (state,) = pool_of(fleet_of(1)).routable
    index = RoutedPrefixes()
    index.record(state, (), 10)
    assert len(index) == 0
    assert index.match(state, ()) == 0
