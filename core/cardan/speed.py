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

Overhead and rate are least squares over both kinds (`cardan.siblings.Line`), each observation
counting half after a minute. Every observation is first brought within a factor of three of what
was expected, so one hidden stall cannot bend the line, while a start that is ten times off is still
corrected in a few tens of requests. (Constants that are seven times off turn a router into a
request counter: Calibrate-then-Route.) While others' prompts are known to lie before ours nothing
is learned. The rate counts *estimated* tokens, so an estimate that is wrong by a factor cancels
out. What is observed also teaches the endpoint's siblings, whose line is where this one starts:
among equals nobody looks slow for not having answered yet.

Learned beside it, from the usage that engines report:

- `token_ratio`: real tokens per estimated token. One model has one tokenizer, so siblings share it.
- `hit_bias`: real cached tokens per token that the shadow predicted, as a ratio of sums.
- `caution`: the 80th percentile of the relative prediction error, for tests against an SLO.

Law: whatever is observed, every prediction is finite and not negative.
"""

from __future__ import annotations

from math import exp2
from typing import TYPE_CHECKING

from cardan.siblings import HALF_LIFE_S, Line, Siblings

if TYPE_CHECKING:
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.ledger import Lease, Usage

# Quadratic over linear prefill cost: 1.5e-5 to 1.9e-5 per token for 8B to 32B on A100 and H100.
ATTENTION_PER_TOKEN = 1.8e-5
# Progress over less than this is too grainy to learn from: about two steps of a busy engine.
GRAIN_S = 0.1
# First tokens closer than this come from one step, whose time belongs to all of its prompts.
STEP_S = 0.002
QUANTILE = 0.8
QUANTILE_STEP = 0.05
# Pseudo-tokens at a bias of one: a handful of reports outweighs them.
BIAS_ANCHOR_TOKENS = 4096.0
BIAS_RANGE = (
    0.05,
    1.25,
)  # never zero: what is believed worthless is never tried, and never learned


def work_tokens(uncached_tokens: float, total_tokens: float) -> float:
    """Prefill work of a prompt in equivalent tokens (those at the start of a prompt)."""
    later = 2.0 * total_tokens - uncached_tokens
    if later <= 0.0:
        return uncached_tokens
    return uncached_tokens * (1.0 + ATTENTION_PER_TOKEN * later)


class Speed:
    """The learned line of one endpoint. Tokens are estimates, times are seconds."""

    __slots__ = (
        "_bias_at",
        "_cached_predicted",
        "_cached_reported",
        "_grain_s",
        "_grain_tokens",
        "_grain_z",
        "_progress_at",
        "caution",
        "hit_bias",
        "line",
        "siblings",
    )

    def __init__(self) -> None:
        self.siblings = Siblings()
        self.line = Line(self.siblings)
        self.caution = 0.0
        self.hit_bias = 1.0
        self._progress_at = 0.0
        self._grain_tokens = self._grain_s = 0.0
        self._grain_z: float | None = None
        self._bias_at = 0.0
        self._cached_predicted = self._cached_reported = 0.0

    def join(self, siblings: Siblings) -> None:
        """Start from, and teach, these siblings from now on."""
        if siblings is not self.siblings:
            self.siblings = siblings
            self.line.restart(siblings)

    @property
    def rate(self) -> float:
        """Prefill rate in equivalent tokens per second; always positive."""
        return self.line.rate

    def rate_tokens_per_s(self) -> float:
        """Prefill rate in equivalent tokens per second; always positive."""
        return self.line.known()[0]

    @property
    def overhead_s(self) -> float:
        """Time to first token of a prompt without any work, in seconds."""
        return self.line.overhead_s

    def ttft_s(self, backlog_tokens: float, uncached_tokens: float, total_tokens: float) -> float:
        """Predicted time to first token of a request that is sent now behind that backlog."""
        work = backlog_tokens + work_tokens(uncached_tokens, total_tokens)
        rate, overhead_s = self.line.known()
        return overhead_s + work / rate

    def cautious_s(self, ttft_s: float) -> float:
        """The prediction that four of five requests keep: what an SLO is tested against."""
        return ttft_s * (1.0 + self.caution)

    def learn(self, lease: Lease, now: Monotonic) -> None:
        """A first token came. Answers that are not streamed tell nothing: theirs is the last."""
        if not lease.request.stream:
            return
        chosen, work = lease.decision.chosen, lease.work_tokens
        self.siblings.learn_work(work)
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
            seen = self._grain_z, self._grain_tokens, self._grain_s
            self.line.observe(*seen, now)
            self.siblings.learn_line(*seen, self.line.overhead_s, now)
            self._grain_z = None

    def correct(self, lease: Lease, usage: Usage, now: Monotonic) -> None:
        """The engine reported what it really found: tokens of the prompt, and those cached."""
        tokens = lease.request.prompt.tokens
        if usage.prompt_tokens and tokens > 0:
            self.siblings.learn_tokens(tokens, usage.prompt_tokens)
        # What was predicted holds the bias already; without it, it is what the shadow said.
        predicted = lease.decision.chosen.hit_tokens / self.hit_bias
        if usage.cached_tokens is None or predicted <= 0:
            return
        keep = exp2(-max(0.0, now - self._bias_at) / HALF_LIFE_S)
        self._bias_at = now
        self._cached_predicted = self._cached_predicted * keep + predicted
        reported = max(0, usage.cached_tokens) / self.siblings.token_ratio
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


def _others_wait(endpoint: EndpointState, now: Monotonic) -> bool:
    """Whether prompts that we see no first token of may lie between ours."""
    if endpoint.load.silent_tokens > 0:
        return True
    metrics = endpoint.fresh_metrics(now)
    if metrics is None or metrics.waiting is None:
        return False
    return metrics.waiting > len(endpoint.load.waiting) + 1
