"""What endpoints of one engine and model have in common, learned by all of them together.

An endpoint that has not answered yet is best predicted as its siblings are: another start would
make it look slower or faster than them for no other reason than that it was not asked. So there
are three levels, each the start of the next:

    constants  ->  siblings: every endpoint's observations  ->  an endpoint: its own

A `Line` is least squares over observations that each count half after a minute. Two observations as
its start predicts them are anchors while little has been seen. The rate's anchor follows what was
seen here before, but for its `faith` in the start: 20 parts of (n + 5)(n + 4) after n observations,
so a half after two, a tenth after ten. Below 2 % an endpoint stands alone. Until then its line is
fitted anew when its siblings have moved and somebody asks, in two microseconds.

Siblings need not be equal. A slow GPU among fast ones is told by its own observations: the law is
that after eight of them an endpoint that is up to four times faster or slower than its siblings is
predicted within a factor of 1.5. (`weight` gives no hint: it may be a bigger GPU's or a canary's.)

One model has one tokenizer, and what other gateways send to its endpoints is alike. So the real
tokens of an estimated one, and the work of a mean prompt, are learned by siblings alone.
"""

from __future__ import annotations

from math import exp, exp2, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cardan.instants import Monotonic

# Llama-3.1-8B computes 7,400 tokens/s on an A100 and 27,700 on an H100 (roofline, 8k prompts); the
# start lies between, and a factor of three either way reaches both.
START_RATE_TOKENS_PER_S = 10_000.0
# 15.6 ms of API time (BLIS, fitted on vLLM) and a network round trip.
START_OVERHEAD_S = 0.02
# What a prompt in somebody else's queue costs until our own requests have told (SMG's guess too).
START_MEAN_WORK_TOKENS = 1024.0
# The anchor for the rate weighs like one observation of this length, the shortest that a queue
# gives (`cardan.speed.GRAIN_S`). In seconds: a slow GPU's short prompts tell as much as a fast
# one's long ones.
ANCHOR_S = 0.1

HALF_LIFE_S = 60.0
PRIOR_HALF_LIFE_S = 600.0
RATE_RANGE = (0.3, 3.0)  # times the prior
OUTLIER = 3.0
OVERHEAD_RANGE_S = (0.001, 1.0)
ALONE_BELOW = 0.02
MEAN_GAIN = 1 / 16
# A ratio of sums, so that the few words of a chat template do not count like a long prompt: a
# pseudo-prompt of ratio one, and memory for about as many reports as make the mean steady.
RATIO_ANCHOR_TOKENS = 512.0
RATIO_KEEP = 1 - 1 / 64
TOKEN_RATIO_RANGE = (0.1, 10.0)


class Line:
    """`seconds = z * overhead + work / rate`, as observed, with `start` for what was not."""

    __slots__ = (
        "_at",
        "_faith",
        "_fitted_for",
        "_overhead_s",
        "_own",
        "_rate",
        "_samples",
        "_start",
        "_sxx",
        "_sxy",
        "_szx",
        "_szy",
        "_szz",
        "fits",
    )

    def __init__(self, start: Siblings | None = None) -> None:
        self._start = start
        self._rate, self._overhead_s = START_RATE_TOKENS_PER_S, START_OVERHEAD_S
        self.fits = 0  # how often it was fitted: whoever starts from it sees that it moved
        self._fitted_for = 0
        # The prior's logarithm is `faith` parts the start's, and for the rest our own past rates.
        self._faith = 1.0
        self._own = 0.0
        self._samples = 0
        self._at = 0.0
        # Weighted sums over observations: x is work in tokens, y seconds, z 1 where overhead shows.
        self._szz = self._szx = self._sxx = self._szy = self._sxy = 0.0
        if start is not None:
            self._fit()

    @property
    def rate(self) -> float:
        """Tokens of work per second; always positive."""
        return self.known()[0]

    @property
    def overhead_s(self) -> float:
        """Seconds that a prompt takes beside its work."""
        return self.known()[1]

    def known(self) -> tuple[float, float]:
        """Rate and overhead, in one call: every prediction asks for both."""
        if self._faith and self._start is not None and self._start.line.fits != self._fitted_for:
            self._fit()
        return self._rate, self._overhead_s

    def restart(self, start: Siblings) -> None:
        """These siblings are the start from now on; what was observed stays."""
        self._start = start
        self._fit()

    def observe(self, z: float, x: float, y: float, now: Monotonic) -> None:
        """`x` tokens of work, and the overhead if `z` is 1, took `y` seconds.

        `y` is brought within a factor of what was expected: one hidden stall cannot bend the line.
        """
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
        self._own += gain * (log(self._rate) - self._own)
        self._faith *= 1.0 - gain
        if self._faith < ALONE_BELOW:
            self._own /= 1.0 - self._faith
            self._faith = 0.0

    def _fit(self) -> None:
        """Least squares through the observations and two anchors, one on each axis."""
        rate, overhead_s = START_RATE_TOKENS_PER_S, START_OVERHEAD_S
        if self._start is not None:
            rate, overhead_s = self._start.rate, self._start.overhead_s
            self._fitted_for = self._start.line.fits
        prior = rate**self._faith * exp(self._own)
        szz = self._szz + 1.0
        szy = self._szy + overhead_s
        anchor = ANCHOR_S * prior
        sxx = self._sxx + anchor * anchor
        sxy = self._sxy + anchor * ANCHOR_S
        # Not below zero (Cauchy and Schwarz), nor near it: each anchor stands on one axis alone.
        spread = szz * sxx - self._szx * self._szx
        slope = (szz * sxy - self._szx * szy) / spread if spread > 0 else 1.0 / self._rate
        low, high = prior * RATE_RANGE[0], prior * RATE_RANGE[1]
        self._rate = high if slope * high <= 1.0 else max(low, 1.0 / slope)
        overhead_s = (szy - self._szx / self._rate) / szz
        self._overhead_s = min(max(overhead_s, OVERHEAD_RANGE_S[0]), OVERHEAD_RANGE_S[1])
        self.fits += 1


class Siblings:
    """What the endpoints of one engine and model have learned together.

    `rate` has the observations of all, each less its own endpoint's overhead; `overhead_s` is the
    mean of theirs. (In one line for all, what tells slow from fast would be taken for overhead.)
    `token_ratio` is real tokens per estimated token, `mean_work_tokens` the work of a mean prompt
    in equivalent tokens (`cardan.speed`). `line.fits` tells whether `rate` or `overhead_s` moved.
    """

    __slots__ = (
        "_estimated",
        "_real",
        "line",
        "mean_work_tokens",
        "overhead_s",
        "token_ratio",
    )

    def __init__(self) -> None:
        self.line = Line()
        self.overhead_s = START_OVERHEAD_S
        self.mean_work_tokens = START_MEAN_WORK_TOKENS
        self.token_ratio = 1.0
        self._estimated = self._real = RATIO_ANCHOR_TOKENS

    @property
    def rate(self) -> float:
        """Tokens of work per second of an endpoint that has not answered yet."""
        return self.line.rate

    def learn_line(self, z: float, x: float, y: float, overhead_s: float, now: Monotonic) -> None:
        """What one of them observed (`Line.observe`), and the overhead that it knows since."""
        if z:
            self.overhead_s += MEAN_GAIN * (overhead_s - self.overhead_s)
        self.line.observe(0.0, x, y - z * overhead_s, now)

    def learn_work(self, tokens: float) -> None:
        """A prompt turned out to be this much work."""
        self.mean_work_tokens += MEAN_GAIN * (tokens - self.mean_work_tokens)

    def learn_tokens(self, estimated: float, real: float) -> None:
        """A prompt of `estimated` tokens had `real` ones."""
        low, high = TOKEN_RATIO_RANGE
        self._estimated = self._estimated * RATIO_KEEP + estimated
        self._real = self._real * RATIO_KEEP + min(max(real, low * estimated), high * estimated)
        self.token_ratio = min(max(self._real / self._estimated, low), high)
