"""Engines, gateways and clients, joined: what happens, and who is told when.

    client --job--> gateway --Forward--> engine      `request_s` on the way
    client <------- gateway <--first token, end      `answer_s` on the way back

An engine model is asked when it has news, and one action is planned for then. What an engine that
has died would still have said is never told: connections break with it.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from cardan.candidates.base import MASK64, splitmix64
from cardan.endpoint import Endpoint, EndpointId
from cardan.lifecycle import Failure

from cardan_sim.simulate.engines.base import Began, Finished
from cardan_sim.simulate.gateway import MODEL, Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cardan_sim.simulate.engines.base import EngineModel, Notice
    from cardan_sim.simulate.gateway import Flight
    from cardan_sim.simulate.jobs import Job
    from cardan_sim.simulate.kernel import Kernel
    from cardan_sim.simulate.recorder import Recorder

TICK_S: Final = 1.0


class Seat:
    """An engine's place in the cluster: the model, who is with it, whether it lives and belongs.

    Discovery tells of a `member`; one that has left is at its end when who is with it is.
    """

    __slots__ = ("alive", "armed_at", "endpoint_id", "flights", "index", "member", "model", "name")

    def __init__(self, index: int, model: EngineModel) -> None:
        self.index = index
        self.name = name_of(index)
        self.endpoint_id = EndpointId(self.name)
        self.model = model
        self.alive = True
        self.member = True
        self.flights: dict[int, Flight] = {}
        self.armed_at: float | None = None


def name_of(index: int) -> str:
    """The endpoint id of an engine."""
    return f"e{index:03}"


def endpoint_of(index: int) -> Endpoint:
    """The engine as discovery would tell of it."""
    high, low = divmod(index, 256)
    return Endpoint(url=f"http://10.0.{high}.{low}:8000", name=name_of(index), models=(MODEL,))


class Cluster:
    """Everything but the decisions. `Upstream` for its gateways."""

    def __init__(
        self,
        kernel: Kernel,
        models: Sequence[EngineModel],
        recorder: Recorder,
        *,
        request_s: float = 0.0,
        answer_s: float = 0.0,
        front_blocks: int = 0,
        seed: int = 0,
    ) -> None:
        self.kernel = kernel
        self.seats = [Seat(index, model) for index, model in enumerate(models)]
        self.recorder = recorder
        self.gateways: list[Gateway] = []
        self.underway = 0
        self.on_change: Callable[[Seat], object] = _nobody
        self._by_name = {seat.name: seat for seat in self.seats}
        self._request_s = request_s
        self._answer_s = answer_s
        self._front_blocks = front_blocks
        self._rng = Random(seed)
        self._keys = 0
        self._arrivals: Iterator[Job] = iter(())
        self._arrivals_left = True

    @property
    def active(self) -> bool:
        """Whether anything is still to come: what repeats itself ends when not."""
        return self._arrivals_left or self.underway > 0

    def play(self, jobs: Iterator[Job]) -> None:
        """Everything from the first arrival to the last end."""
        self._arrivals = jobs
        self._next_arrival()
        self.kernel.after(TICK_S, self._tick)
        self.kernel.run()

    def send(self, flight: Flight, endpoint_id: str) -> None:
        """See `cardan_sim.simulate.gateway.Upstream`."""
        seat = self._by_name[endpoint_id]
        self._keys += 1
        flight.key = self._keys
        flight.engine = seat.index
        self.recorder.sent(flight.number, flight.exchange.decision)
        if self._request_s or not seat.alive:  # a refused connection is told a moment later
            self.kernel.after(self._request_s, self._deliver, flight, flight.key, seat)
        else:
            self._submit(flight, seat)

    def leave(self, flight: Flight) -> None:
        """See `cardan_sim.simulate.gateway.Upstream`."""
        seat = self.seats[flight.engine]
        if seat.flights.pop(flight.key, None) is not None:
            seat.model.abort(flight.key, self.kernel.now)
            self._arm(seat)

    def landed(self, flight: Flight) -> None:
        """See `cardan_sim.simulate.gateway.Upstream`."""
        self.recorder.ended(flight.number, flight.exchange, self.kernel.now, flight.engine)
        self.underway -= 1
        following = flight.job.then
        if following is not None:
            self.underway += 1
            self.kernel.after(following.think_s, self._arrive, following)

    def add(self, model: EngineModel) -> Seat:
        """One engine more; who may send to it is for gateways to be told."""
        seat = Seat(len(self.seats), model)
        self.seats.append(seat)
        self._by_name[seat.name] = seat
        return seat

    def tell_members(self) -> None:
        """Every gateway's fleet is what discovery says now."""
        endpoints = [endpoint_of(seat.index) for seat in self.seats if seat.member]
        for gateway in self.gateways:
            gateway.scheduler.fleet.update(endpoints, gateway.now)
            gateway.wake()

    def replace_model(self, seat: Seat, model: EngineModel) -> list[Flight]:
        """The engine is another from now on, and knows nobody; returns who was with the old one."""
        orphans = list(seat.flights.values())
        seat.flights.clear()
        seat.model = model
        seat.armed_at = None
        return orphans

    def orphan(self, flights: Sequence[Flight], failure: Failure) -> None:
        """The connections of these are broken."""
        for flight in flights:
            flight.gateway.failed(flight, failure)

    def touched(self, seat: Seat) -> None:
        """Something was done to an engine: ask it anew when it has news."""
        self._arm(seat)

    def _next_arrival(self) -> None:
        job = next(self._arrivals, None)
        if job is None:
            self._arrivals_left = False
        else:
            self.kernel.at(max(self.kernel.now, job.due_s), self._arrival, job)

    def _arrival(self, job: Job) -> None:
        self.underway += 1
        self._arrive(job)
        self._next_arrival()

    def _arrive(self, job: Job) -> None:
        number = self.recorder.arrived(self.kernel.now, job.tokens, job.tenant)
        self._gateway_for(job).arrive(job, number)

    def _gateway_for(self, job: Job) -> Gateway:
        """Who gets a request: anybody, or whom its beginning belongs to."""
        count = len(self.gateways)
        if count == 1:
            return self.gateways[0]
        if self._front_blocks and job.blocks:
            last = job.blocks[min(self._front_blocks, len(job.blocks)) - 1]  # names all before it
            return self.gateways[splitmix64(last & MASK64) % count]
        return self.gateways[self._rng.randrange(count)]

    def _deliver(self, flight: Flight, key: int, seat: Seat) -> None:
        if flight.key != key:
            return
        if seat.alive:
            self._submit(flight, seat)
        else:
            flight.gateway.failed(flight, Failure.UNREACHABLE)

    def _submit(self, flight: Flight, seat: Seat) -> None:
        seat.flights[flight.key] = flight
        seat.model.submit(flight.key, flight.job, self.kernel.now)
        self._arm(seat)
        self.on_change(seat)

    def _arm(self, seat: Seat) -> None:
        """Plan to ask an engine when it has news, unless that is planned already."""
        at = seat.model.next_event_at()
        if at is None or at == seat.armed_at:
            return
        seat.armed_at = at
        self.kernel.at(max(at, self.kernel.now), self._advance, seat, seat.model, at)

    def _advance(self, seat: Seat, model: EngineModel, armed_at: float) -> None:
        if seat.model is not model or seat.armed_at != armed_at:
            return  # it was planned anew since, or is another engine
        seat.armed_at = None
        notices = model.advance(self.kernel.now)
        self._arm(seat)
        if notices:
            self.on_change(seat)
        for notice in notices:
            if self._answer_s:
                self.kernel.after(self._answer_s, self._hear, seat, notice)
            else:
                self._hear(seat, notice)

    def _hear(self, seat: Seat, notice: Notice) -> None:
        flight = seat.flights.get(notice.key)
        if flight is None:
            return
        gateway = flight.gateway
        if isinstance(notice, Began):
            gateway.began(flight)
            return
        del seat.flights[notice.key]
        if isinstance(notice, Finished):
            output = notice.output_tokens
            self.recorder.answered(flight.number, notice.cached_tokens, output)
            gateway.finished(flight, notice.cached_tokens, output)
        elif notice.hopeless:
            gateway.refused_for_good(flight)
        else:
            gateway.failed(flight, Failure.REFUSED)

    def _tick(self) -> None:
        if not self.active:
            return
        for gateway in self.gateways:
            gateway.tick()
        for seat in self.seats:
            self.on_change(seat)
        self._note_balance()
        self.kernel.after(TICK_S, self._tick)

    def _note_balance(self) -> None:
        """The coefficient of variation of the tokens that the engines have yet to compute."""
        pending = [seat.model.pending_tokens for seat in self.seats if seat.member]
        mean = sum(pending) / max(1, len(pending))
        if mean > 0:
            variance = sum((tokens - mean) ** 2 for tokens in pending) / len(pending)
            self.recorder.pending_cv.append(variance**0.5 / mean)
            self.recorder.pending_at.append(self.kernel.now)


def _nobody(seat: Seat) -> None:
    del seat
