"""The numbers of the demo, and where each comes from."""

from __future__ import annotations

from typing import Final

import msgspec

from cardan_sim.demo.cut import SLICE
from cardan_sim.replay.schedule import Pace
from cardan_sim.replay.session import Replay
from cardan_sim.traces import TraceRequest, read_trace

BASELINE: Final = "round-robin"
OURS: Final = "dualmap"


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet is and what it is given to do.

    Llama-3.1-8B on an H100 is the best measured row of the cost table; the engines run in real
    time, so no figure is scaled. Five seconds to the first token are the SLO of the papers on this
    trace and the gateway's default. 33 requests a second are a tenth more than eight such engines
    serve well when they take turns: the engine model alone, without sockets, then keeps 95 % of
    the requests within the SLO at 27 req/s, 91 % at 30, 78 % at 33 and 54 % at 39. Answers end
    after 100 tokens (the recorded ones have 348 in the mean), so that both runs fit in a minute
    and a half.
    """

    model: str = "llama-3.1-8b"
    gpu: str = "h100"
    engine: str = "vllm"
    engines: int = 8
    requests: int = 600
    rate_rps: float = 33.0
    max_output_tokens: int = 100
    slo_ttft_s: float = 5.0

    def in_words(self) -> str:
        """One paragraph for whoever reads the figures."""
        return (
            f"{self.engines} simulated {self.engine} engines ({self.model} on {self.gpu}, real "
            f"time), {self.requests} requests of Mooncake's conversation trace at "
            f"{self.rate_rps:g} req/s, answers cut to {self.max_output_tokens} tokens, SLO "
            f"{self.slo_ttft_s:g} s to the first token. Engines and gateway start afresh, with "
            f"empty caches, for each policy; policies have their default options."
        )


def load_slice(setting: Setting) -> list[TraceRequest]:
    """The bundled requests, as many as asked for."""
    return read_trace(SLICE)[: setting.requests]


def replay_of(
    setting: Setting,
    policy: str,
    requests: list[TraceRequest],
    gateway: str,
    engines: dict[str, str],
) -> Replay:
    """The replay of the slice through a gateway; `engines`, by name, tell who served what."""
    return Replay(
        label=display_name(policy),
        trace="a slice of Mooncake's conversation_trace",
        requests=requests,
        pace=Pace(rate_rps=setting.rate_rps),
        endpoint=gateway,
        model=setting.model,
        max_output_tokens=setting.max_output_tokens,
        engines=engines,
        slo_ttft_s=setting.slo_ttft_s,
        timeout_s=60.0,
    )


def display_name(policy: str) -> str:
    """What a policy is called in tables."""
    return f"Cardan ({policy})" if policy == OURS else policy
