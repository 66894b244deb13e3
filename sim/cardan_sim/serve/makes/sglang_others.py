"""SGLang's /v1/messages and /v1/responses: fewer members than vLLM's, the same kinds of events."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from cardan_sim.serve.makes import vllm_others
from cardan_sim.serve.reply import Reply, Totals, named_sse

if TYPE_CHECKING:
    from cardan_sim.engine import Ended


def whole_message(reply: Reply, totals: Totals) -> dict[str, Any]:
    """The body of an Anthropic message; it never tells cached tokens."""
    return {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": reply.text_of(0)}],
        "model": reply.model,
        "stop_reason": vllm_others.stop_reason(reply),
        "usage": {"input_tokens": totals.prompt, "output_tokens": totals.generated},
    }


class MessageFrames(vllm_others.MessageFrames):
    """The events of an Anthropic stream, without what is null."""

    def opening(self) -> list[bytes]:
        """The message and its one block begin."""
        reply = self.reply
        message = {
            "id": reply.id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": reply.model,
            "usage": {"input_tokens": reply.prompt_tokens, "output_tokens": 0},
        }
        block = {"type": "text", "text": ""}
        return [
            named_sse({"type": "message_start", "message": message}),
            named_sse({"type": "content_block_start", "index": 0, "content_block": block}),
        ]

    def closing(self, totals: Totals) -> list[bytes]:
        """Block, usage and message end."""
        delta = {"stop_reason": vllm_others.stop_reason(self.reply)}
        usage = {"output_tokens": totals.generated}
        return [
            named_sse({"type": "content_block_stop", "index": 0}),
            named_sse({"type": "message_delta", "delta": delta, "usage": usage}),
            named_sse({"type": "message_stop"}),
        ]


def _item(item_id: str, text: str | None) -> dict[str, Any]:
    return {
        "id": item_id,
        "content": [] if text is None else [_part(text)],
        "role": "assistant",
        "status": "in_progress" if text is None else "completed",
        "type": "message",
        "phase": "final_answer",
    }


def _part(text: str) -> dict[str, Any]:
    return {"annotations": [], "text": text, "type": "output_text", "logprobs": None}


def _response(
    reply: Reply, item: dict[str, Any] | None, totals: Totals | None, text: dict[str, Any] | None
) -> dict[str, Any]:
    body = reply.ask.body
    cut = totals is not None and reply.ask.limit is not None
    status = "in_progress" if totals is None else "incomplete" if cut else "completed"
    temperature = body.get("temperature")
    return {
        "id": reply.id,
        "object": "response",
        "created_at": reply.created,
        "model": reply.model,
        "output": [] if item is None else [item],
        "status": status,
        "usage": None if totals is None else _usage(totals),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": None if temperature is None else float(temperature),
        "text": text,
        "top_p": None,
        "truncation": "disabled",
        "user": None,
        "metadata": {},
    }


def _usage(totals: Totals) -> dict[str, Any]:
    return {
        "input_tokens": totals.prompt,
        "input_tokens_details": {"cached_tokens": totals.cached, "cache_write_tokens": 0},
        "output_tokens": totals.generated,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": totals.prompt + totals.generated,
    }


def whole_response(reply: Reply, totals: Totals) -> dict[str, Any]:
    """The body of an OpenAI response."""
    item = _item("msg_" + secrets.token_hex(16), reply.text_of(0))
    return _response(reply, item, totals, {"format": {"type": "text"}})


class ResponseFrames(vllm_others.ResponseFrames):
    """The events of a response stream; one that hit its limit ends as incomplete."""

    def __init__(self, reply: Reply) -> None:
        """One item, one part."""
        super().__init__(reply)
        self._item_id = "msg_" + secrets.token_hex(16)
        if reply.ask.limit is not None:
            self.ended_as = "response.incomplete"

    def response(self, item: dict[str, Any] | None, totals: Totals | None) -> dict[str, Any]:
        """The response as it stands."""
        text = None if totals is None else {"format": {"type": "text"}}
        return _response(self.reply, item, totals, text)

    def item(self, text: str | None) -> dict[str, Any]:
        """The output item as it stands."""
        return _item(self._item_id, text)

    def part(self, text: str) -> dict[str, Any]:
        """The part that is being filled."""
        return _part(text)

    def last(self, choice: int, token_id: int | None, ended: Ended) -> list[bytes]:
        """The last delta looks like the others."""
        del ended
        return [] if token_id is None else self.token(choice, token_id)
