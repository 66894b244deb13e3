"""vLLM's and SGLang's words for the same things, as tables.

Each field of `EngineMetrics` lists the series it may come from, the newest name first; the first
that is there wins. Names, renames and pitfalls are from the engines' sources and from recorded
scrapes of vLLM 0.32 and SGLang 0.5.23:

- vLLM's `*_usage_perc` is a ratio of 0..1 despite its name. Series of data-parallel ranks differ in
  `engine`: counts are summed, ratios averaged. Of the waiting requests, the `deferred` ones (remote
  KV, adapters) are no pressure on capacity, so `capacity` alone is taken where the engine tells.
- SGLang repeats scheduler gauges for every tensor- and pipeline-parallel rank: only rank 0 counts,
  summed over `dp_rank`. With priority scheduling, gauges carry a `priority` label whose empty value
  is the total of all others; *counters* carry it too, but there the empty value is just one class.
- A counter that has not counted yet may be absent. Then it is None here: we do not know.

A new engine is a table here and a word in `cardan.endpoint.EngineKind`.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from cardan.endpoint import EngineKind
from cardan.exposition.text import Sample, Wanted
from cardan.metrics import EngineMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Sum(enum.Enum):
    """How the samples of one series become one number."""

    TOTAL = "total"
    MEAN = "mean"
    CAPACITY = "capacity"  # an info series: the product of two labels, summed


class Series(NamedTuple):
    """One name a field may come from. `where` are labels a sample must have if it has them."""

    name: str
    how: Sum = Sum.TOTAL
    where: tuple[tuple[str, str], ...] = ()
    product: tuple[str, str] = ("", "")


class Dialect(NamedTuple):
    """One engine's table: fields of `EngineMetrics` to series, in order of preference."""

    prefix: bytes
    fields: Mapping[str, Sequence[Series]]
    wanted: Wanted
    select: Callable[[Sequence[Sample]], Sequence[Sample]]


def _counter(*names: str) -> list[Series]:
    """A counter under each of its names, with and without the suffix."""
    return [Series(name + suffix) for name in names for suffix in ("_total", "")]


def _all(samples: Sequence[Sample]) -> Sequence[Sample]:
    return samples


def _sglang_totals(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Rank 0 only, and of scheduler gauges (those with ranks) the total over priorities."""
    ranked = [
        sample
        for sample in samples
        if sample.labels.get("tp_rank", "0") == "0" and sample.labels.get("pp_rank", "0") == "0"
    ]
    if any(sample.labels.get("priority") == "" and "tp_rank" in sample.labels for sample in ranked):
        return [sample for sample in ranked if not sample.labels.get("priority")]
    return ranked


def _dialect(
    prefix: str,
    fields: Mapping[str, Sequence[Series]],
    select: Callable[[Sequence[Sample]], Sequence[Sample]],
) -> Dialect:
    prefixed = {
        field: [series._replace(name=prefix + series.name) for series in choices]
        for field, choices in fields.items()
    }
    names = {series.name for choices in prefixed.values() for series in choices}
    return Dialect(prefix.encode(), prefixed, Wanted(names), select)


VLLM = _dialect(
    "vllm:",
    {
        "running": [Series("num_requests_running")],
        "waiting": [
            Series("num_requests_waiting_by_reason", where=(("reason", "capacity"),)),
            Series("num_requests_waiting"),
        ],
        "kv_used_ratio": [
            Series("kv_cache_usage_perc", Sum.MEAN),
            Series("gpu_cache_usage_perc", Sum.MEAN),
        ],
        "kv_capacity_tokens": [
            Series("cache_config_info", Sum.CAPACITY, product=("block_size", "num_gpu_blocks")),
        ],
        "prefix_queries_tokens": _counter("prefix_cache_queries", "gpu_prefix_cache_queries"),
        "prefix_hits_tokens": _counter("prefix_cache_hits", "gpu_prefix_cache_hits"),
        "prompt_tokens": _counter("prompt_tokens"),
        "generation_tokens": _counter("generation_tokens"),
        "preemptions": _counter("num_preemptions"),
    },
    _all,
)

SGLANG = _dialect(
    "sglang:",
    {
        "running": [Series("num_running_reqs")],
        "waiting": [Series("num_queue_reqs")],
        "kv_used_ratio": [Series("token_usage", Sum.MEAN), Series("full_token_usage", Sum.MEAN)],
        "kv_capacity_tokens": [
            Series("max_total_num_tokens"),
            Series("cache_config_info", Sum.CAPACITY, product=("page_size", "num_pages")),
        ],
        "prefix_queries_tokens": _counter("prompt_tokens"),
        "prefix_hits_tokens": _counter("cached_tokens"),
        "prompt_tokens": _counter("prompt_tokens"),
        "generation_tokens": _counter("generation_tokens"),
        "preemptions": _counter("num_retracted_requests"),
    },
    _sglang_totals,
)

DIALECTS = {EngineKind.VLLM: VLLM, EngineKind.SGLANG: SGLANG}


def read_metrics(engine: EngineKind, body: bytes, at: float) -> EngineMetrics | None:
    """Read one scrape taken at `at`; None if nothing in it is an engine's that we know.

    For `auto` and `openai` the dialect is told by the names themselves.
    """
    dialect = DIALECTS.get(engine) or _recognise(body)
    if dialect is None:
        return None
    samples = dialect.wanted.read(body)
    if not samples:
        return None
    values = {
        field: value
        for field, choices in dialect.fields.items()
        if (value := _first(choices, samples, dialect.select)) is not None
    }
    return EngineMetrics(at=at, **values)


def _recognise(body: bytes) -> Dialect | None:
    for dialect in DIALECTS.values():
        if b"\n" + dialect.prefix in body or body.startswith(dialect.prefix):
            return dialect
    return None


def _first(
    choices: Sequence[Series],
    samples: Mapping[str, Sequence[Sample]],
    select: Callable[[Sequence[Sample]], Sequence[Sample]],
) -> float | None:
    for series in choices:
        value = _one(series, select(samples.get(series.name, ())))
        if value is not None:
            return value
    return None


def _one(series: Series, samples: Sequence[Sample]) -> float | None:
    """The samples of one series as one number; None if none of them fits. Never negative."""
    if series.how is Sum.CAPACITY:
        values = [_product(sample, series.product) for sample in samples]
    else:
        values = [
            sample.value
            for sample in samples
            if all(sample.labels.get(label, value) == value for label, value in series.where)
        ]
    known = [value for value in values if value is not None and value >= 0]
    if not known:
        return None
    total = float(sum(known))
    return total / len(known) if series.how is Sum.MEAN else total


def _product(sample: Sample, labels: tuple[str, str]) -> float | None:
    first, second = (sample.labels.get(label, "") for label in labels)
    if not (first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        return None  # vLLM writes "None" until it has profiled its memory
    return float(first) * float(second) or None


class _Load(msgspec.Struct):
    """One data-parallel rank in SGLang's `/v1/loads`; what it does not say stays None."""

    num_running_reqs: float | None = None
    num_waiting_reqs: float | None = None
    num_waiting_uncached_tokens: float | None = None
    max_total_num_tokens: float | None = None
    token_usage: float | None = None


class _Loads(msgspec.Struct):
    loads: list[_Load]


_LOADS = msgspec.json.Decoder(_Loads)


def read_loads(body: bytes, at: float) -> EngineMetrics | None:
    """Read SGLang's `/v1/loads` (JSON, one entry a data-parallel rank); None if it is not that.

    Cheaper for the engine than its metrics (1-4 ms against 10 ms and up to 270 KB) and the only one
    to tell waiting uncached tokens. It is one forward pass late: during a long prefill it shows
    nothing, so our own accounting stays the base.
    """
    try:
        loads = _LOADS.decode(body).loads
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not loads:
        return None
    usage = _sum([load.token_usage for load in loads])
    return EngineMetrics(
        at=at,
        running=_sum([load.num_running_reqs for load in loads]),
        waiting=_sum([load.num_waiting_reqs for load in loads]),
        waiting_uncached_tokens=_sum([load.num_waiting_uncached_tokens for load in loads]),
        kv_capacity_tokens=_sum([load.max_total_num_tokens for load in loads]) or None,
        kv_used_ratio=None if usage is None else usage / len(loads),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    """The sum; None if any rank did not tell, because a partial sum would be too low."""
    known = [value for value in values if value is not None and value >= 0]
    return sum(known) if len(known) == len(values) else None
