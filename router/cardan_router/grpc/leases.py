"""Leases given to other data planes by `Route` and closed by `Report`.

A lease is a `cardan.lifecycle.Exchange` that somebody else drives: they carry the bytes and tell
what happened. The book keeps them by a random name, lets only the tenant see them who was given
them, ends those that nobody closes, and remembers for a while what it answered last, so that a
report sent twice is answered twice and counted once. No asyncio: `now` is an argument.

Law: every lease leaves the book closed; an empty book has no open lease in the ledger.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

import grpc
from cardan.ledger import Outcome
from cardan.lifecycle import Failure, Forward, Reject, RejectReason, State, Wait

from cardan_router.grpc.errors import CallError
from cardan_router.receipts import public_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.instants import Monotonic
    from cardan.ledger import Usage
    from cardan.lifecycle import Exchange

    from cardan_router.grpc.limits import GrpcLimits


class Held(NamedTuple):
    """A lease in the book; `failed_at` names the endpoints that were reported to have failed."""

    exchange: Exchange
    tenant: str
    expires_at: Monotonic
    failed_at: set[str]


class Told(NamedTuple):
    """The answer to a report: go elsewhere, give up, or go on; and whether the lease is closed.

    `retry` may still wait for room (`State.WAITING`); it has no endpoint then.
    """

    retry: Exchange | None = None
    reject: Reject | None = None
    closed: bool = False


class Closed(NamedTuple):
    """What was answered last for a lease that is closed."""

    told: Told
    tenant: str
    forget_at: Monotonic


class LeaseBook:
    """All leases of this process that `Route` gave; `on_close` is told of each one's end."""

    def __init__(
        self,
        limits: GrpcLimits,
        on_close: Callable[[Exchange, Usage | None, Monotonic], None],
    ) -> None:
        self._limits = limits
        self._on_close = on_close
        # Both in order of their time, since every lease lives equally long: expiry looks only at
        # the front.
        self._held: dict[str, Held] = {}
        self._closed: dict[str, Closed] = {}

    def __len__(self) -> int:
        return len(self._held)

    def check_room(self, pending: int = 0) -> None:
        """Raise `CallError` if one more lease, beside `pending` ones, would be too many."""
        if len(self._held) + pending >= self._limits.max_leases:
            raise CallError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "TOO_MANY_LEASES",
                f"{self._limits.max_leases} leases are open; close them with Report",
                retry_after_s=1.0,
            )

    def hold(self, exchange: Exchange, now: Monotonic) -> str:
        """Keep a dispatched exchange; returns the name of its lease."""
        if exchange.lease is None:
            raise RuntimeError(f"{exchange!r} has no lease to hold")
        name = secrets.token_hex(16)
        expires_at = type(now)(now + self._limits.lease_ttl_s)
        self._held[name] = Held(exchange, exchange.request.tenant, expires_at, set())
        return name

    def first_token(self, name: str, tenant: str, now: Monotonic) -> Told:
        """The first token has come."""
        held = self._find(name, tenant)
        if isinstance(held, Told):
            return held
        held.exchange.first_byte(now)
        return Told()

    def failed(
        self, name: str, tenant: str, failure: Failure, endpoint: str, now: Monotonic
    ) -> Told:
        """The dispatch to `endpoint` failed: elsewhere, if the limits allow.

        A report is a repeated one if the request has gone on from that endpoint. It may have been
        sent there again (the endpoint was full); then that attempt has failed, and counts.
        """
        held = self._find(name, tenant)
        if isinstance(held, Told):
            return held
        exchange = held.exchange
        if exchange.lease is None or endpoint != public_name(exchange.lease.endpoint):
            if endpoint in held.failed_at:
                return Told(retry=exchange)
            raise _invalid("this lease was never at that endpoint", "failed.endpoint")
        held.failed_at.add(endpoint)
        action = exchange.failed(failure, now)
        if isinstance(action, Forward | Wait):
            return Told(retry=exchange)
        return self._close(name, Told(reject=action), now)

    def standing(self, name: str, tenant: str) -> Told:
        """Where a lease stands after it has waited: at an endpoint, or closed."""
        held = self._find(name, tenant)
        return held if isinstance(held, Told) else Told(retry=held.exchange)

    def turned_away(self, name: str, reject: Reject, now: Monotonic) -> None:
        """The wait for another endpoint has ended without one."""
        self._close(name, Told(reject=reject), now)

    def ended(
        self, name: str, tenant: str, outcome: Outcome, usage: Usage | None, now: Monotonic
    ) -> Told:
        """The answer is complete, or nobody wants it."""
        held = self._find(name, tenant)
        if isinstance(held, Told):
            return held
        if outcome is Outcome.CLIENT_LEFT:
            held.exchange.client_left(now)
        elif outcome is Outcome.DEADLINE:
            held.exchange.deadline(now)
        else:
            held.exchange.ended(outcome, now, usage)
        return self._close(name, Told(), now, usage)

    def expire(self, now: Monotonic) -> int:
        """End what nobody closed in time; returns how many."""
        late = []
        for name, held in self._held.items():
            if now < held.expires_at:
                break
            late.append(name)
        for name in late:
            self._abandon(name, now)
        self._forget(now)
        return len(late)

    def abandon_all(self, now: Monotonic) -> None:
        """The process ends: close every lease."""
        for name in list(self._held):
            self._abandon(name, now)

    def _find(self, name: str, tenant: str) -> Held | Told:
        held = self._held.get(name)
        if held is not None and held.tenant == tenant:
            return held
        closed = self._closed.get(name)
        if closed is not None and closed.tenant == tenant:
            return closed.told
        raise CallError(
            grpc.StatusCode.NOT_FOUND,
            "LEASE_NOT_FOUND",
            "no such lease: it has expired, or another process of the gateway gave it"
            " (report on the channel that routed)",
        )

    def _close(self, name: str, told: Told, now: Monotonic, usage: Usage | None = None) -> Told:
        held = self._held.pop(name)
        self._on_close(held.exchange, usage, now)
        told = told._replace(closed=True)
        forget_at = type(now)(now + self._limits.lease_ttl_s)
        self._closed[name] = Closed(told, held.tenant, forget_at)
        return told

    def _abandon(self, name: str, now: Monotonic) -> None:
        """Close without a judgement of the endpoint: nobody told what became of the request."""
        exchange = self._held.pop(name).exchange
        if exchange.state is not State.DONE:
            message = "no report came in time"
            exchange.abandon(Reject(RejectReason.TIMEOUT, message, Outcome.TIMEOUT), now)
        self._on_close(exchange, None, now)

    def _forget(self, now: Monotonic) -> None:
        while self._closed:
            name, closed = next(iter(self._closed.items()))
            if now < closed.forget_at and len(self._closed) <= self._limits.max_leases:
                return
            del self._closed[name]


def _invalid(message: str, param: str) -> CallError:
    return CallError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_VALUE", message, param=param)
