"""How fast one endpoint computes prompts, learned while it serves.

The model of the time to first token of a request, from the moment it is sent:

    ttft = overhead + (backlog + work(uncached, total)) / rate
    work = u + K (L^2 - (L - u)^2)         u uncached of L prompt tokens

`work` is the prompt in equivalent tokens: attention makes a late token dearer than an early one.
K is the ratio of the two roofline costs and hardly depends on the model or the GPU, so it is a
constant; without it a prompt of 32k tokens would be predicted 1.6 times too fast.

What is observed is *progress*: the time from when an endpoint was last seen at work on our prompts
(its previous first token, or the sending of this one, whichever is later) to this first token. In
between it has computed this prompt and nothing else of ours. So no predicted wait enters what is
learned; a wrong rate would otherwise confirm itself through the waits it predicts.

- A prompt sent to an endpoint without a backlog shows `overhead + work / rate`.
- A prompt that waited shows `work / rate`: the overhead was spent while it waited.

Prompts that are computed in one step end together, so what ends within 2 ms, and what waited until
it spans a tenth of a second, is summed to one observation. It is taken in when the next begins.

Overhead and rate are least squares over both kinds, each observation counting half after a minute,
with two observations of the prior's as anchors while little has been seen. Every observation is
first brought within a factor of three of what was expected, so one hidden stall cannot bend the
line, while a prior that is ten times off is still corrected in a few tens of requests. (Constants
that are seven times off turn a router into a request counter: Calibrate-then-Route.) While others'
prompts are known to lie before ours nothing is learned. The rate counts *estimated* tokens, so an
estimate that is wrong by a factor cancels out.

Learned beside it, from the usage that engines report:

- `token_ratio`: real tokens per estimated token. It belongs here because an endpoint has one
  tokenizer.
- `hit_bias`: real cached tokens per token that the shadow predicted, as a ratio of sums.
- `caution`: the 80th percentile of the relative prediction error, for tests against an SLO.

Law: whatever is observed, every prediction is finite and not negative.
"""

from __future__ import annotations

from math import exp2
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.ledger import Lease, Usage

# Llama-3.1-8B computes 7,400 tokens/s on an A100 and 27,700 on an H100 (roofline, 8k prompts); the
# start lies between, and a factor of three either way reaches both.
START_RATE_TOKENS_PER_S = 10_000.0
# 15.6 ms of API time (BLIS, fitted on vLLM) and a network round trip.
START_OVERHEAD_S = 0.02
# Quadratic over linear prefill cost: 1.5e-5 to 1.9e-5 per token for 8B to 32B on A100 and H100.
ATTENTION_PER_TOKEN = 1.8e-5
# The prior's anchor for the rate weighs like one observed prompt of this length, a short one.
ANCHOR_TOKENS = 1024.0
# Progress over less than this is too grainy to learn from: about two steps of a busy engine.
GRAIN_S = 0.1
# First tokens closer than this come from one step, whose time belongs to all of its prompts.
STEP_S = 0.002
# What a prompt in somebody else's queue costs until our own requests have told (SMG's guess too).
START_MEAN_WORK_TOKENS = 1024.0

HALF_LIFE_S = 60.0
PRIOR_HALF_LIFE_S = 600.0
RATE_RANGE = (0.3, 3.0)  # times the prior
OUTLIER = 3.0
OVERHEAD_RANGE_S = (0.001, 1.0)
MEAN_GAIN = 1 / 16
QUANTILE = 0.8
QUANTILE_STEP = 0.05
# Pseudo-tokens at a bias of one: a handful of reports outweighs them.
BIAS_ANCHOR_TOKENS = 4096.0
BIAS_RANGE = (
    0.05,
    1.25,
)  # never zero: what is believed worthless is never tried, and never learned
TOKEN_RATIO_RANGE = (0.1, 10.0)


def work_tokens(uncached_tokens: float, total_tokens: float) -> float:
    """Prefill work of a prompt in equivalent tokens (those at the start of a prompt)."""
    later = 2.0 * total_tokens - uncached_tokens
    return uncached_tokens * (1.0 + ATTENTION_PER_TOKEN * max(0.0, later))


class Speed:
    """The learned line of one endpoint. Tokens are estimates, times are seconds."""

    __slots__ = (
        "_at",
        "_bias_at",
        "_cached_predicted",
        "_cached_reported",
        "_grain_s",
        "_grain_tokens",
        "_grain_z",
        "_prior",
        "_progress_at",
        "_samples",
        "_sxx",
        "_sxy",
        "_szx",
        "_szy",
        "_szz",
        "caution",
        "hit_bias",
        "mean_work_tokens",
        "overhead_s",
        "rate",
        "token_ratio",
    )

    def __init__(self, rate_tokens_per_s: float = START_RATE_TOKENS_PER_S) -> None:
        self.rate = self._prior = rate_tokens_per_s
        self.overhead_s = START_OVERHEAD_S
        self.caution = 0.0
        self.hit_bias = 1.0
        self.token_ratio = 1.0
        self.mean_work_tokens = START_MEAN_WORK_TOKENS
        self._samples = 0
        self._at = 0.0
        self._progress_at = 0.0
        self._grain_tokens = self._grain_s = 0.0
        self._grain_z: float | None = None
        # Weighted sums over observations: x is work in tokens, y seconds, z 1 where overhead shows.
        self._szz = self._szx = self._sxx = self._szy = self._sxy = 0.0
        self._bias_at = 0.0
        self._cached_predicted = self._cached_reported = 0.0

    def rate_tokens_per_s(self) -> float:
        """Prefill rate in equivalent tokens per second; always positive."""
        return self.rate

    def ttft_s(self, backlog_tokens: float, uncached_tokens: float, total_tokens: float) -> float:
        """Predicted time to first token of a request that is sent now behind that backlog."""
        work = backlog_tokens + work_tokens(uncached_tokens, total_tokens)
        return self.overhead_s + work / self.rate

    def cautious_s(self, ttft_s: float) -> float:
        """The prediction that four of five requests keep: what an SLO is tested against."""
        return ttft_s * (1.0 + self.caution)

    def learn(self, lease: Lease, now: Monotonic) -> None:
        """A first token came. Answers that are not streamed tell nothing: theirs is the last."""
        if not lease.request.stream:
            return
        chosen, work = lease.decision.chosen, lease.work_tokens
        self.mean_work_tokens += MEAN_GAIN * (work - self.mean_work_tokens)
        self._learn_caution(max(0.0, now - lease.opened_at), chosen.ttft_s)
        waited = self._progress_at > lease.opened_at
        took_s = max(0.0, now - (self._progress_at if waited else lease.opened_at))
        self._progress_at = now
        if _others_wait(lease.endpoint, now):
            self._grain_z = None
        elif (
            waited
            and self._grain_z is not None
            and min(took_s / STEP_S, self._grain_s / GRAIN_S) < 1
        ):
            self._grain_tokens += work
            self._grain_s += took_s
        else:
            self._end_grain(now)
            # With a backlog that is not ours, neither the overhead nor the rate shows.
            self._grain_z = 0.0 if waited else 1.0 if chosen.backlog_s == 0 else None
            self._grain_tokens, self._grain_s = work, took_s

    def _end_grain(self, now: Monotonic) -> None:
        """What was computed in one go is one observation."""
        if self._grain_z is not None:
            self._observe(self._grain_z, self._grain_tokens, self._grain_s, now)
            self._grain_z = None

    def correct(self, lease: Lease, usage: Usage, now: Monotonic) -> None:
        """The engine reported what it really found: tokens of the prompt, and those cached."""
        tokens = lease.request.prompt.tokens
        if usage.prompt_tokens and tokens > 0:
            low, high = TOKEN_RATIO_RANGE
            ratio = min(max(usage.prompt_tokens / tokens, low), high)
            self.token_ratio += MEAN_GAIN * (ratio - self.token_ratio)
        # What was predicted holds the bias already; without it, it is what the shadow said.
        predicted = lease.decision.chosen.hit_tokens / self.hit_bias
        if usage.cached_tokens is None or predicted <= 0:
            return
        keep = exp2(-max(0.0, now - self._bias_at) / HALF_LIFE_S)
        self._bias_at = now
        self._cached_predicted = self._cached_predicted * keep + predicted
        reported = max(0, usage.cached_tokens) / self.token_ratio
        self._cached_reported = self._cached_reported * keep + reported
        bias = (self._cached_reported + BIAS_ANCHOR_TOKENS) / (
            self._cached_predicted + BIAS_ANCHOR_TOKENS
        )
        self.hit_bias = min(max(bias, BIAS_RANGE[0]), BIAS_RANGE[1])

    def _learn_caution(self, observed_s: float, predicted_s: float) -> None:
        """One step of stochastic approximation towards the quantile of the relative error."""
        if predicted_s <= 0:
            return
        error = observed_s / predicted_s - 1.0
        step = QUANTILE if error > self.caution else QUANTILE - 1.0
        self.caution = min(max(self.caution + QUANTILE_STEP * step, 0.0), 1.0)

    def _observe(self, z: float, x: float, y: float, now: Monotonic) -> None:
        """`x` tokens of work, and the overhead if `z` is 1, took `y` seconds."""
        expected_s = z * self.overhead_s + x / self.rate
        y = min(max(y, expected_s / OUTLIER), expected_s * OUTLIER)
        elapsed_s = max(0.0, now - self._at) if self._samples else 0.0
        keep = exp2(-elapsed_s / HALF_LIFE_S)
        self._at = now
        self._samples += 1
        self._szz = self._szz * keep + z
        self._szx = self._szx * keep + z * x
        self._sxx = self._sxx * keep + x * x
        self._szy = self._szy * keep + z * y
        self._sxy = self._sxy * keep + x * y
        self._fit()
        # The prior follows like a mean that favours the recent at first, then with its half-life.
        gain = max(2.0 / (self._samples + 5), 1.0 - exp2(-elapsed_s / PRIOR_HALF_LIFE_S))
        self._prior *= (self.rate / self._prior) ** gain

    def _fit(self) -> None:
        """Least squares through the observations and the prior's two anchors."""
        szz = self._szz + 1.0
        szy = self._szy + START_OVERHEAD_S
        sxx = self._sxx + ANCHOR_TOKENS * ANCHOR_TOKENS
        sxy = self._sxy + ANCHOR_TOKENS * ANCHOR_TOKENS / self._prior
        # Not below zero (Cauchy and Schwarz), nor near it: each anchor stands on one axis alone.
        spread = szz * sxx - self._szx * self._szx
        slope = (szz * sxy - self._szx * szy) / spread if spread > 0 else 1.0 / self.rate
        low, high = self._prior * RATE_RANGE[0], self._prior * RATE_RANGE[1]
        self.rate = high if slope * high <= 1.0 else max(low, 1.0 / slope)
        overhead_s = (szy - self._szx / self.rate) / szz
        self.overhead_s = min(max(overhead_s, OVERHEAD_RANGE_S[0]), OVERHEAD_RANGE_S[1])


def _others_wait(endpoint: EndpointState, now: Monotonic) -> bool:
    """Whether prompts that we see no first token of may lie between ours."""
    if endpoint.load.silent_tokens > 0:
        return True
    metrics = endpoint.fresh_metrics(now)
    if metrics is None or metrics.waiting is None:
        return False
    return metrics.waiting > len(endpoint.load.waiting) + 1
