"""What one simulated server is told at its start: the engine's spec and the server's manners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cardan_sim.engine import EngineSpec

Task = Literal["generate", "embed", "both"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything but the engine's own spec; flags of the real servers where they have them.

    cache_report: usage tells cached tokens (--enable-prompt-tokens-details, --enable-cache-report).
    echo_request_id: --enable-request-id-headers of vLLM.
    load_tracking: --enable-server-load-tracking of vLLM; without it /load says 0.
    metrics: --enable-metrics of SGLang; vLLM always has them.
    dev_mode: the administration routes that vLLM has with VLLM_SERVER_DEV_MODE=1.
    scale_out: vLLM's --enable-scale-out routes answer instead of 403.
    auto_tools: --enable-auto-tool-choice of vLLM.
    default_output: tokens of an answer when the client names no limit; it then ends with "stop".
    """

    spec: EngineSpec
    host: str
    port: int
    served_model_name: str
    api_key: str | None = None
    task: Task = "both"
    cache_report: bool = True
    echo_request_id: bool = False
    load_tracking: bool = True
    metrics: bool = True
    dev_mode: bool = True
    scale_out: bool = False
    auto_tools: bool = True
    default_output: int = 128
    startup_delay_s: float = 0.0
    shutdown_timeout_s: float = 0.0
    keep_alive_s: float = 5.0
    sse_keep_alive_s: float = 0.0
    seed: int = 0

    @property
    def generates(self) -> bool:
        """It answers with text."""
        return self.task != "embed"

    @property
    def embeds(self) -> bool:
        """It answers with vectors and scores."""
        return self.task != "generate"
