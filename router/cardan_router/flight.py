"""One request on its way through the gateway: a `cardan.lifecycle.Exchange` given hands.

    Sink  <-  Flight  <->  Exchange (every decision)
                 |
           EngineConnection

The exchange decides; the flight dials, sends, looks at the answer and hands it to the `Sink` of
whichever front door it came in by. Callbacks drive it: no task, future or timer is made.

The head of an answer is held until something of its body has been looked at, because until then
the request can still go elsewhere:

- a status of 503 or 429 is a refusal: elsewhere, and no fault of the endpoint;
- an answer with another error status is held whole: an engine that goes down says so in a 500
  (`answers.failure_of_error`);
- a stream is held until its first event, since SGLang refuses inside a 200 stream;
- everything else until its first byte.

After the first byte nothing is tried again. What breaks then is told as an error event in a stream,
and by a cut connection otherwise, so that no client takes half an answer for a whole one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.ledger import Outcome
from cardan.lifecycle import Exchange, Failure, Forward, Reject, RejectReason, State, Wait

from cardan_router import answers
from cardan_router.boundary import internal
from cardan_router.landing import Landing
from cardan_router.rejections import BY_REASON, CUT

if TYPE_CHECKING:
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.lifecycle import Action

    from cardan_router.calls import Call
    from cardan_router.gateway import Gateway
    from cardan_router.sink import Sink
    from cardan_router.upstream.connection import EngineConnection
    from cardan_router.wire.heads import AnswerHead

# A kept-alive connection that the engine closed while we wrote is noticed within a round trip. One
# that breaks later than this had a request on it that the engine was working on.
STALE_WITHIN_S = 1.0
# A connection that was in use so short a while ago has not been closed for having been idle: vLLM
# and SGLang wait 5 s for a next request.
RESTED_S = 1.0
# The usage is looked for in this much of the last two reads. vLLM's last two events are 400 bytes;
# a response object of /v1/responses is a few KB.
TAIL_BYTES = 16_384
# More than this before the first event is no event stream of an engine; it is passed on unseen, as
# is an error answer that is larger.
MAX_HELD_BYTES = 262_144
MAX_ERROR_BYTES = 65_536

_COLON = ord(":")
_REFUSALS = frozenset({503, 429})

# Of the answer there is: nothing; a head, held for its first event, its whole error body or its
# first byte; or it is being passed on, as a stream or not.
_NOTHING, _HELD_STREAM, _HELD_ERROR, _HELD, _STREAM, _PLAIN = range(6)


class Flight(Landing):
    """One admitted request until its one outcome.

    A front door calls `start`, `client_left`, `pause`, `resume`; its connection calls `on_…`.
    """

    __slots__ = (
        "_answer",
        "_before",
        "_held",
        "_last",
        "_last_at",
        "_paused",
        "_phase",
        "_saw_error",
    )

    def __init__(self, gateway: Gateway, call: Call, sink: Sink) -> None:
        view = call.view
        self.call = call
        self.exchange = Exchange(gateway.scheduler, view)
        self.arrived_at = self._last_at = view.arrived_at
        self.endpoint = self.dispatched_at = self.ended_at = self.usage = None
        self.decision_s = 0.0
        self.status = self.reads = self.bytes_out = 0
        self.is_stream = False
        self._gateway = gateway
        self._sink = sink
        self._connection = None
        self._answer: AnswerHead | None = None
        self._phase = _NOTHING
        self._held = b""
        self._before = self._last = b""  # the last two reads: the usage is at the end
        self._paused = False
        self._saw_error = False
        self._wait_until = None

    def start(self) -> None:
        """Find it a place. Called once; the sink may get its answer before this returns."""
        gateway = self._gateway
        now = gateway.clock()
        try:
            if gateway.draining:
                self._reject(self.exchange.abandon(gateway.shutting_down(), now))
                return
            action = self.exchange.arrive(now)
            self.decision_s = gateway.clock() - now
            if gateway.on_placed is not None and self.exchange.decision is not None:
                gateway.on_placed(self.call, self.exchange.decision)
            self._act(action, now)
        except Exception:
            self.exchange.abandon(internal(), now)  # no lease stays open; the front door tells
            self.client_left()
            raise

    def pause(self) -> None:
        """The client takes no more for now: stop reading from the engine."""
        self._paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """The client takes more."""
        self._paused = False
        self._last_at = self._gateway.clock()
        if self._connection is not None:
            self._connection.resume()

    def wake(self, now: Monotonic) -> bool:
        """Waiting: there may be room. False if it goes on waiting."""
        self._act(self.exchange.wake(now), now)
        return self.exchange.state is not State.WAITING

    def check(self, now: Monotonic) -> None:
        """Look at the deadlines.

        While the client takes nothing, nothing is expected of the engine; for how long a client may
        do so is its front door's to say (`stalled_reader_s`).
        """
        deadline_at = self.call.view.deadline_at
        if deadline_at is not None and now >= deadline_at:
            self._leave_engine()
            reject = self.exchange.deadline(now)
            if reject is None:
                told = BY_REASON[RejectReason.DEADLINE]
                self._cut(told, "the request's deadline passed", now)
            else:
                self._reject(reject)
        elif self._wait_until is not None:
            if now >= self._wait_until:
                self.wake(now)
        elif self._connection is not None and not self._paused:
            timeouts = self._gateway.timeouts
            limit_s = timeouts.idle_s if self._phase >= _STREAM else timeouts.first_byte_s
            if now - self._last_at > limit_s:
                self._leave_engine()
                self._fail(Failure.TIMEOUT, now)

    def on_dialled(self, connection: EngineConnection) -> bool:
        """A connection was made for this flight. False if it needs none any more."""
        if self.ended_at is None:
            self._send(connection)
        return self.ended_at is None

    def on_unreachable(self) -> None:
        """No connection could be made."""
        if self.ended_at is None:
            self._fail(Failure.UNREACHABLE, self._gateway.clock())

    def on_head(self, answer: AnswerHead) -> bool:
        """The answer's head has come. False if it says: not here; the body is then not wanted."""
        status = answer.status
        if status in _REFUSALS or (status == 500 and _is_leaving(self.endpoint)):
            self._refused(Failure.REFUSED, self._gateway.clock())
            return False
        self._answer = answer
        if status >= 400:
            self._phase = _HELD_ERROR
        elif "event-stream" in answer.headers.get("content-type", ""):
            self._phase = _HELD_STREAM
        else:
            self._phase = _HELD
        return True

    def on_whole(self, answer: AnswerHead, payload: bytes) -> None:
        """The answer has come in one read, as most that are not streamed do."""
        self._connection = None
        status = answer.status
        if status >= 400 or "event-stream" in answer.headers.get("content-type", ""):
            if self.on_head(answer):
                self.on_end(payload)
            return
        now = self._gateway.clock()
        self.status = status
        self.reads = 1
        self.bytes_out = len(payload)
        self.usage = answers.usage_in(payload[-TAIL_BYTES:])
        self.exchange.ended(Outcome.OK, now, self.usage)
        self._sink.head(answer, answer.length)
        self._sink.end(payload)
        self._finish(now)

    def on_data(self, payload: bytes, framed: bytes = b"") -> None:
        """Bytes of the answer's body have come; `framed` if they came as one chunk, that chunk."""
        now = self._gateway.clock()
        phase = self._phase
        if phase >= _STREAM:
            if phase == _STREAM:
                if payload[0] != _COLON:  # not a comment that keeps the connection alive
                    self._gateway.recorder.gaps.append(now - self._last_at)
                if b'"error"' in payload:
                    self._saw_error = self._saw_error or answers.has_error(payload)
            self._last_at = now
            self.reads += 1
            self.bytes_out += len(payload)
            self._before = self._last
            self._last = payload
            self._sink.data(payload, framed)
        elif phase == _HELD:
            self._held = payload
            self._begin(now, _PLAIN)
            self._pass_held()
        else:
            self._held += payload
            if phase == _HELD_ERROR and len(self._held) > MAX_ERROR_BYTES:
                self._begin(now, _PLAIN)
                self._pass_held()
            elif phase == _HELD_STREAM and self._has_begun_stream(self._held, now):
                self._pass_held()

    def on_end(self, payload: bytes) -> None:
        """The answer is complete with this; its connection is no longer this flight's."""
        self._connection = None
        now = self._gateway.clock()
        phase = self._phase
        if phase == _STREAM:
            if b'"error"' in payload:
                self._saw_error = self._saw_error or answers.has_error(payload)
        elif phase == _HELD:
            self._begin(now, _PLAIN)
        elif phase < _HELD:
            payload = self._held + payload
            if phase == _HELD_ERROR:
                self._end_with_error(payload, now)
                return
            if not self._has_begun_stream(payload, now, is_all=True):
                return
        self._complete(payload, now)

    def on_lost(self, failure: Failure) -> None:
        """The connection broke; it is no longer this flight's."""
        connection, self._connection = self._connection, None
        now = self._gateway.clock()
        if failure is Failure.STALE:
            sent_at = self.dispatched_at or now
            idle_since = None if connection is None else connection.idle_since
            if now - sent_at > STALE_WITHIN_S:
                failure = Failure.RESET
            elif idle_since is not None and sent_at - idle_since < RESTED_S:
                failure = Failure.CUT
        self._fail(failure, now)

    def _act(self, action: Action, now: Monotonic) -> None:
        if type(action) is Forward:
            if self._wait_until is not None:
                self._stop_waiting()
            endpoint = action.lease.endpoint
            self.endpoint = endpoint
            self._last_at = self.dispatched_at = now
            upstreams = self._gateway.upstreams
            url = endpoint.endpoint.url
            pool = upstreams.pools.get(url) or upstreams.pool(url)
            connection = None if action.fresh else pool.take(now)
            if connection is None:
                pool.dial(self)
            else:
                self._send(connection)
        elif type(action) is Wait:
            self._wait_until = action.until
            self._gateway.waiting[self.exchange] = self
        elif type(action) is Reject:
            self._reject(action)

    def _send(self, connection: EngineConnection) -> None:
        self._connection = connection
        connection.send(self, self.call)
        if self._paused:
            connection.pause()

    def _refused(self, failure: Failure, now: Monotonic) -> None:
        """The answer says: not here. Its rest is read over and the connection kept."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.discard()
        self._fail(failure, now)

    def _has_begun_stream(self, held: bytes, now: Monotonic, *, is_all: bool = False) -> bool:
        """Begin the stream once its first event is there, unless that says: not here."""
        event = answers.first_event(held)
        if event is None and not is_all and len(held) < MAX_HELD_BYTES:
            return False
        failure = None if event is None else answers.failure_of_event(event)
        if failure is not None:
            self._refused(failure, now)
            return False
        self._saw_error = b'"error"' in held and answers.has_error(held)
        self._begin(now, _STREAM)
        return True

    def _begin(self, now: Monotonic, phase: int) -> None:
        """The client gets its first byte: nothing is tried again from here on."""
        answer = self._answer
        if answer is None:
            raise RuntimeError("an answer begins without a head")
        self._last_at = now
        self._phase = phase
        self.is_stream = phase == _STREAM
        self.status = answer.status
        self.exchange.first_byte(now, ok=answer.status < 400 and not self._saw_error)
        self.call.body = b""  # a body of megabytes need not live as long as the stream
        self._sink.head(answer, answer.length if answer.length >= 0 else None)

    def _count(self, payload: bytes) -> None:
        self.reads += 1
        self.bytes_out += len(payload)
        self._before = self._last
        self._last = payload

    def _pass_held(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._count(held)
            self._sink.data(held)

    def _complete(self, payload: bytes, now: Monotonic) -> None:
        if payload:
            self._count(payload)
        self.usage = answers.usage_in(self._before[-TAIL_BYTES:] + self._last[-TAIL_BYTES:])
        outcome = answers.outcome_of(self.status)
        if self._saw_error:
            outcome = Outcome.ENGINE_ERROR
        self.exchange.ended(outcome, now, self.usage)
        self._sink.end(payload)
        self._finish(now)

    def _end_with_error(self, body: bytes, now: Monotonic) -> None:
        """An engine's error, whole: it may still be a way of dying; else it is the answer."""
        answer = self._answer
        failure = answers.failure_of_error(body)
        if failure is not None:
            self._fail(failure, now)
        elif answer is not None:
            head, body = answers.told_error(answer, body)
            self.status = head.status
            self._count(body)
            self.exchange.ended(answers.outcome_of(head.status), now)
            self._sink.head(head, len(body))
            self._sink.end(body)
            self._finish(now)

    def _fail(self, failure: Failure, now: Monotonic) -> None:
        action = self.exchange.failed(failure, now)
        if action is None:
            told = BY_REASON[RejectReason.TIMEOUT] if failure is Failure.TIMEOUT else CUT
            self._cut(told, "the engine broke off while it answered", now)
            return
        self._phase = _NOTHING
        self._answer = None
        self._held = b""
        self._act(action, now)

    def _finish(self, now: Monotonic) -> None:
        self.ended_at = now
        self._held = self._before = self._last = b""
        if self._wait_until is not None:
            self._stop_waiting()
        self._gateway.landed(self)


def _is_leaving(endpoint: EndpointState | None) -> bool:
    return endpoint is not None and (endpoint.draining or endpoint.health.not_ready)
