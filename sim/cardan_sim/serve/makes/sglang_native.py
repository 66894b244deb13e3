"""SGLang's own /generate: a stream repeats the whole text in every event."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cardan_sim.serve.makes.base import Frames
from cardan_sim.serve.makes.sglang_openai import weight_versions
from cardan_sim.serve.reply import DONE, Reply, Totals, sse

if TYPE_CHECKING:
    from cardan_sim.engine import Ended
    from cardan_sim.serve.errors import ApiError


def _meta(reply: Reply, generated: int, cached: int) -> dict[str, Any]:
    return {
        "id": reply.id,
        "finish_reason": None,
        "prompt_tokens": reply.prompt_tokens,
        "weight_version": "default",
        "num_retractions": 0,
        "storage_prefetch_wait": 0.0,
        "storage_staging_wait": 0.0,
        "forward_entry_time": float(reply.created),
        "prefill_finished_time": float(reply.created),
        "queue_time": 0.0,
        "reasoning_tokens": 0,
        "completion_tokens": generated,
        "cached_tokens": cached,
        "cached_tokens_details": None,
        "dp_rank": None,
    }


def whole_native(reply: Reply, ended: Ended) -> dict[str, Any]:
    """The body of a native answer; the times of its stages are not simulated."""
    now = time.time()
    meta = _meta(reply, ended.generated, ended.cached)
    meta |= {
        "finish_reason": {"type": ended.reason, "length": ended.generated},
        "weight_versions": weight_versions(ended.generated),
        "e2e_latency": now - reply.created,
        "request_received_ts": float(reply.created),
        "first_token_latency": 0.0,
        "api_server_dispatch_finish_ts": float(reply.created),
        "request_finished_ts": now,
        "response_sent_to_client_ts": now,
    }
    if ended.generated > 1:
        meta["decode_throughput"] = 0.0
    return {"text": reply.text_of(0), "output_ids": reply.tokens[0], "meta_info": meta}


class NativeFrames(Frames):
    """A native stream."""

    def token(self, choice: int, token_id: int) -> list[bytes]:
        """All that was said so far."""
        reply = self.reply
        reply.say(choice, token_id)
        meta = _meta(reply, len(reply.tokens[0]), 0)
        if len(reply.tokens[0]) == 1:
            meta["response_sent_to_client_ts"] = time.time()
        return [sse({"text": reply.text_of(0), "output_ids": reply.tokens[0], "meta_info": meta})]

    def last(self, choice: int, token_id: int | None, ended: Ended) -> list[bytes]:
        """The whole answer again, as in one piece."""
        if token_id is not None:
            self.reply.say(choice, token_id)
        return [sse(whole_native(self.reply, ended))]

    def closing(self, totals: Totals) -> list[bytes]:
        """The end."""
        del totals
        return [DONE]

    def refused(self, error: ApiError) -> list[bytes]:
        """An empty answer whose finish reason is the refusal."""
        meta = {
            "id": self.reply.id,
            "finish_reason": {
                "type": "abort",
                "status_code": error.status,
                "message": error.message,
            },
            "weight_version": "default",
            "e2e_latency": 0.0,
            "weight_versions": weight_versions(0),
            "completion_tokens": 0,
            "response_sent_to_client_ts": time.time(),
        }
        return [sse({"text": "", "output_ids": [], "meta_info": meta}), DONE]
