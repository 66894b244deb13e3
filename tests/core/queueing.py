"""A scheduler that holds queues, over a few equal endpoints, for tests."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from cardan.endpoint import Endpoint, EndpointId
from cardan.fleet import Fleet, FleetConfig
from cardan.instants import Monotonic
from cardan.lifecycle import Exchange, Forward, Wait
from cardan.policies import DualMap
from cardan.prompt import Prompt
from cardan.queues import QueuesConfig
from cardan.request import Api, RequestView
from cardan.scheduler import AdmissionConfig, Scheduler

if TYPE_CHECKING:
    from cardan.fleet import EndpointState
    from cardan.lifecycle import Action
    from cardan.policies import AnyPolicy
    from cardan.queues import Turn

T0 = Monotonic(100.0)
# What a new endpoint is taken to compute in a second (`cardan.siblings`).
START_RATE = 10_000.0


def after(seconds: float) -> Monotonic:
    """An instant that much later than the first."""
    return Monotonic(T0 + seconds)


class Bench:
    """Endpoints e0, e1, … that serve `m`, and requests for them."""

    def __init__(
        self,
        n: int,
        *,
        policy: AnyPolicy | None = None,
        admission: AdmissionConfig | None = None,
        **queues: object,
    ) -> None:
        self.fleet = Fleet(FleetConfig(join_ramp_s=0))
        self.join(n)
        config = QueuesConfig(**({"window": 1} | queues))  # type: ignore[arg-type]
        self.scheduler = Scheduler(
            self.fleet,
            policy or DualMap(),
            random.Random(1),
            admission=admission or AdmissionConfig(queues=config),
        )
        self.looks = 0
        self.scheduler.on_room.append(self._look)

    def _look(self) -> None:
        self.looks += 1

    def join(self, n: int) -> None:
        """Make the fleet so many endpoints."""
        self.fleet.update(
            [Endpoint(url=f"http://e{i}:1", name=f"e{i}", models=("m",)) for i in range(n)], T0
        )

    def state(self, name: str) -> EndpointState:
        """An endpoint's state."""
        return self.fleet.endpoints[EndpointId(name)]

    def exchange(
        self,
        tokens: float = 1000.0,
        chain: tuple[int, ...] = (),
        *,
        at: Monotonic = T0,
        stream: bool = True,
        slo_s: float = 5.0,
        body_bytes: int = 100,
    ) -> Exchange:
        """A new request."""
        view = RequestView(
            request_id="r",
            api=Api.CHAT,
            model="m",
            prompt=Prompt(chain, tokens, 512, int(tokens // 512)),
            stream=stream,
            arrived_at=at,
            slo_ttft_s=slo_s,
            body_bytes=body_bytes,
        )
        return Exchange(self.scheduler, view)

    def turn(self, exchange: Exchange) -> Turn:
        """The turn of a request that is assigned."""
        queues = self.scheduler.queues
        turn = None if queues is None else queues.turn(exchange)
        assert turn is not None
        return turn

    def wake(self, now: Monotonic) -> list[Exchange]:
        """Wake who may be woken; those that were sent."""
        return [
            exchange
            for exchange in self.scheduler.wakeable(now)
            if isinstance(exchange.wake(now), Forward)
        ]


def sent_to(action: Action | None) -> str:
    """The endpoint that an action sends to."""
    assert isinstance(action, Forward)
    return str(action.lease.endpoint.id)


def waits(action: Action | None) -> bool:
    """Does it say to wait?"""
    return isinstance(action, Wait)
