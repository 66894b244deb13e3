"""Asks put to a Prometheus (or Thanos, Mimir, VictoriaMetrics) over its HTTP API.

One instant query an ask and tick, a few at a time, each tried again once when the way there failed
or the server was busy; one that fails takes no other with it. Samples that are no number are
told apart: missing, not zero.

API: https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

from __future__ import annotations

import asyncio
import math
import ssl
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import httpx
import msgspec
from cardan.instants import WallTime

from cardan_controller.metrics.answers import Answer, Answers, ExternalAnswer, Labels, Sample
from cardan_controller.metrics.asks import ASKS, Ask
from cardan_controller.metrics.clocks import Clock
from cardan_controller.metrics.promql import NAMESPACE, Windows, query

if TYPE_CHECKING:
    from collections.abc import Mapping

# A tick's two dozen queries over one or two connections' worth of a shared server.
AT_ONCE: Final = 4
TRIES: Final = 2
# 10,000 endpoints with 200 bytes a sample are 2 MB.
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
_AGAIN: Final = frozenset({429, 502, 503, 504})

Reply = tuple[int, bytes] | str
"""Status and body; or why there is neither."""


class PrometheusConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a Prometheus is and how to be let in.

    `url` is its base, with the path it serves under. `ca_file` are certificates to trust,
    `bearer_token_file` holds a token (read for each tick: tokens are replaced). `match` are labels
    that all series must have, such as `cluster`.
    """

    url: str
    ca_file: str = ""
    bearer_token_file: str = ""
    headers: dict[str, str] = {}
    match: dict[str, str] = {}
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0


class _Series(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str]


class _Vector(msgspec.Struct):
    resultType: str  # noqa: N815 - the API's word
    result: list[_Series]


class _Reply(msgspec.Struct):
    status: str
    data: _Vector | None = None
    error: str = ""


_decode = msgspec.json.Decoder(_Reply).decode


class _Tick(NamedTuple):
    """When everything is asked, by our clock and by the loop's, and what the server's says."""

    now: WallTime
    began: float
    clock: Clock

    def by_now(self) -> WallTime:
        """What our clock says when a reply has come."""
        return WallTime(self.now + asyncio.get_running_loop().time() - self.began)


class PrometheusSource:
    """Answers from a Prometheus. `client` is for tests; by default it is made from `config`.

    `external` are queries beside those of the catalogue, by the names that fleets know them by.
    Where its clock is more than `clocks_within_s` from ours, every ask has failed.
    """

    def __init__(
        self,
        config: PrometheusConfig,
        windows: Windows,
        client: httpx.AsyncClient | None = None,
        external: Mapping[str, str] | None = None,
        clocks_within_s: float = math.inf,
    ) -> None:
        self._config = config
        self._external = dict(external or {})
        self._clocks_within_s = clocks_within_s
        self._queries = {name: query(ask, windows, config.match) for name, ask in ASKS.items()}
        self._client = client or httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=config.ca_file or None),
            timeout=config.timeout_s,
            headers=config.headers,
        )
        self._room = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        """See `MetricsSource`."""
        await self._client.aclose()

    async def read(self, now: WallTime) -> Answers:
        """See `MetricsSource`."""
        try:
            headers = self._credentials()
        except OSError as error:
            return self._failed(now, f"bearer_token_file: {error.strerror}: {error.filename}")
        tick = _Tick(now, asyncio.get_running_loop().time(), Clock())
        async with asyncio.TaskGroup() as group:
            tasks = {
                query: group.create_task(self._ask(query, headers, tick))
                for query in {*self._queries.values(), *self._external.values()}
            }
        differs = tick.clock.differs(self._clocks_within_s)
        if differs:
            return self._failed(now, differs)
        told = {query: task.result() for query, task in tasks.items()}
        return Answers(
            now,
            {name: read_reply(told[self._queries[name]], ask) for name, ask in ASKS.items()},
            {name: read_external(told[query]) for name, query in self._external.items()},
        )

    def _failed(self, now: WallTime, words: str) -> Answers:
        external = dict.fromkeys(self._external, ExternalAnswer(failed=words))
        return Answers(now, dict.fromkeys(ASKS, Answer({}, words)), external)

    def _credentials(self) -> dict[str, str]:
        if not self._config.bearer_token_file:
            return {}
        with open(self._config.bearer_token_file, encoding="ascii") as file:  # noqa: PTH123 - small
            return {"authorization": f"Bearer {file.read().strip()}"}

    async def _ask(self, query: str, headers: Mapping[str, str], tick: _Tick) -> Reply:
        async with self._room:
            reply, again = await self._once(query, headers, tick)
            for _ in range(1, TRIES):
                if again:
                    reply, again = await self._once(query, headers, tick)
            return reply

    async def _once(
        self, query: str, headers: Mapping[str, str], tick: _Tick
    ) -> tuple[Reply, bool]:
        """One try, and whether another may help. All series are of one moment: the tick's."""
        try:
            reply = await self._client.post(
                f"{self._config.url.rstrip('/')}/api/v1/query",
                data={"query": query, "time": f"{tick.now:.3f}"},
                headers=headers,
            )
        except httpx.HTTPError as error:
            return f"no answer: {str(error) or type(error).__name__}", True
        tick.clock.told(reply.headers.get("date"), tick.by_now())
        if len(reply.content) > MAX_ANSWER_BYTES:
            return f"an answer of {len(reply.content)} bytes", False
        return (reply.status_code, reply.content), reply.status_code in _AGAIN


def _series(reply: Reply) -> list[_Series] | str:
    """An instant query's series; or what is wrong with the reply."""
    if isinstance(reply, str):
        return reply
    status, body = reply
    try:
        told = _decode(body)
    except msgspec.DecodeError:  # a proxy's page, or no Prometheus at all
        return f"status {status}, and no answer of a Prometheus"
    if told.status != "success" or told.data is None:
        return f"status {status}: {told.error or 'no reason given'}"
    if told.data.resultType != "vector":
        return f"a {told.data.resultType} where a vector was asked for"
    return told.data.result


def read_reply(reply: Reply, ask: Ask) -> Answer:
    """An instant query's reply as an answer; whatever is wrong with it is said in `failed`."""
    found = _series(reply)
    if isinstance(found, str):
        return Answer({}, found)
    values: dict[Labels, float] = {}
    none: set[Labels] = set()
    for series in found:
        number = _number(series.value[1])
        labels = tuple(series.metric.get(label, "") for label in (NAMESPACE, *ask.by))
        if number is None:
            none.add(labels)
        else:
            values[labels] = number
    return Answer(values, none=frozenset(none))


def read_external(reply: Reply) -> ExternalAnswer:
    """The same of a query that the configuration names."""
    found = _series(reply)
    if isinstance(found, str):
        return ExternalAnswer(failed=found)
    return ExternalAnswer(tuple(Sample(one.metric, _number(one.value[1])) for one in found))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
