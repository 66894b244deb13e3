"""vLLM's /v1/messages and /v1/responses: the two routes whose events have names."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from cardan_sim.serve.makes.base import Frames
from cardan_sim.serve.reply import Reply, Totals, named_sse

if TYPE_CHECKING:
    from cardan_sim.engine import Ended


def stop_reason(reply: Reply) -> str:
    """Anthropic's word for why an answer ended."""
    return "end_turn" if reply.ask.limit is None else "max_tokens"


def whole_message(reply: Reply, totals: Totals) -> dict[str, Any]:
    """The body of an Anthropic message."""
    return {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": reply.text_of(0)}],
        "model": reply.model,
        "stop_reason": stop_reason(reply),
        "usage": _message_usage(totals),
    }


def _message_usage(totals: Totals) -> dict[str, int]:
    return {
        "input_tokens": totals.prompt,
        "output_tokens": totals.generated,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": totals.cached,
    }


class MessageFrames(Frames):
    """The seven kinds of events of an Anthropic stream."""

    def opening(self) -> list[bytes]:
        """The message and its one block begin."""
        reply = self.reply
        message: dict[str, Any] = {
            "id": reply.id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": reply.model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": reply.prompt_tokens, "output_tokens": 0},
        }
        block = {"type": "text", "text": ""}
        return [
            named_sse({"type": "message_start", "message": message}),
            named_sse({"type": "content_block_start", "content_block": block, "index": 0}),
        ]

    def token(self, choice: int, token_id: int) -> list[bytes]:
        """One delta."""
        delta = {"type": "text_delta", "text": self.reply.say(choice, token_id)}
        return [named_sse({"type": "content_block_delta", "delta": delta, "index": 0})]

    def last(self, choice: int, token_id: int | None, ended: Ended) -> list[bytes]:
        """The last delta looks like the others."""
        del ended
        return [] if token_id is None else self.token(choice, token_id)

    def closing(self, totals: Totals) -> list[bytes]:
        """Block, usage and message end; there is no [DONE]."""
        delta = {"stop_reason": stop_reason(self.reply), "stop_sequence": None}
        usage = _message_usage(totals)
        return [
            named_sse({"type": "content_block_stop", "index": 0}),
            named_sse({"type": "message_delta", "delta": delta, "usage": usage}),
            named_sse({"type": "message_stop"}),
        ]


def _item(item_id: str, text: str | None) -> dict[str, Any]:
    """The one output item: without text while it is under way."""
    return {
        "id": item_id,
        "content": [] if text is None else [_part(text)],
        "role": "assistant",
        "status": "in_progress" if text is None else "completed",
        "type": "message",
        "phase": None,
    }


def _part(text: str, logprobs: list[object] | None = None) -> dict[str, Any]:
    return {"annotations": [], "text": text, "type": "output_text", "logprobs": logprobs}


def _response(reply: Reply, item: dict[str, Any] | None, totals: Totals | None) -> dict[str, Any]:
    body = reply.ask.body
    cut = totals is not None and reply.ask.limit is not None
    status = "in_progress" if totals is None else "incomplete" if cut else "completed"
    return {
        "id": reply.id,
        "created_at": reply.created,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata"),
        "model": reply.model,
        "object": "response",
        "output": [] if item is None else [item],
        "parallel_tool_calls": True,
        "temperature": float(body.get("temperature") or 0.0),
        "tool_choice": "none",
        "tools": [],
        "top_p": 1.0,
        "background": False,
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": None,
        "previous_response_id": None,
        "prompt": None,
        "reasoning": None,
        "service_tier": "auto",
        "status": status,
        "text": None,
        "top_logprobs": None,
        "truncation": "disabled",
        "usage": None if totals is None else _response_usage(totals),
        "user": None,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "input_messages": None,
        "output_messages": None,
    }


def _response_usage(totals: Totals) -> dict[str, Any]:
    return {
        "input_tokens": totals.prompt,
        "input_tokens_details": {
            "cached_tokens": totals.cached,
            "cache_write_tokens": 0,
            "input_tokens_per_turn": [],
            "cached_tokens_per_turn": [],
        },
        "output_tokens": totals.generated,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            "tool_output_tokens": 0,
            "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": [],
        },
        "total_tokens": totals.prompt + totals.generated,
    }


def whole_response(reply: Reply, totals: Totals) -> dict[str, Any]:
    """The body of an OpenAI response."""
    item = _item("msg_" + secrets.token_hex(8), reply.text_of(0))
    return _response(reply, item, totals)


class ResponseFrames(Frames):
    """The ten kinds of events of a response stream, numbered."""

    ended_as = "response.completed"

    def __init__(self, reply: Reply) -> None:
        """One item, one part."""
        super().__init__(reply)
        self._item_id = "msg_" + secrets.token_hex(8)
        self._number = -1

    def _event(self, kind: str, **members: object) -> bytes:
        self._number += 1
        return named_sse(members | {"sequence_number": self._number, "type": kind})

    def _place(self) -> dict[str, Any]:
        return {"content_index": 0, "item_id": self._item_id, "output_index": 0}

    def response(self, item: dict[str, Any] | None, totals: Totals | None) -> dict[str, Any]:
        """The response as it stands."""
        return _response(self.reply, item, totals)

    def item(self, text: str | None) -> dict[str, Any]:
        """The output item as it stands."""
        return _item(self._item_id, text)

    def part(self, text: str) -> dict[str, Any]:
        """The part that is being filled."""
        return _part(text, [])

    def opening(self) -> list[bytes]:
        """The response, its item and its part begin."""
        begun = self.response(None, None)
        item = self.item(None)
        return [
            self._event("response.created", response=begun),
            self._event("response.in_progress", response=begun),
            self._event("response.output_item.added", item=item, output_index=0),
            self._event("response.content_part.added", **self._place(), part=self.part("")),
        ]

    def token(self, choice: int, token_id: int) -> list[bytes]:
        """One delta."""
        text = self.reply.say(choice, token_id)
        kind = "response.output_text.delta"
        return [self._event(kind, **self._place(), delta=text, logprobs=[])]

    def last(self, choice: int, token_id: int | None, ended: Ended) -> list[bytes]:
        """The last delta looks like the others."""
        del ended
        return [] if token_id is None else self.token(choice, token_id)

    def closing(self, totals: Totals) -> list[bytes]:
        """Part, item and response end; there is no [DONE]."""
        text = self.reply.text_of(0)
        item = self.item(text)
        place = self._place()
        whole = self.response(item, totals)
        return [
            self._event("response.output_text.done", **place, logprobs=[], text=text),
            self._event("response.content_part.done", **place, part=_part(text)),
            self._event("response.output_item.done", item=item, output_index=0),
            self._event(self.ended_as, response=whole),
        ]
