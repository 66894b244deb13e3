"""vLLM's chat and text completions: the bodies and the events, member by member."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cardan_sim.serve.makes.base import Frames
from cardan_sim.serve.reply import DONE, Reply, Template, Totals, sse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan_sim.engine import Ended
    from cardan_sim.serve.tools import ToolCall


def finish_reason(reply: Reply, ended: Ended) -> str:
    """Why a choice ended, in OpenAI's words."""
    tool = reply.ask.tool
    if tool is not None and 4 * ended.generated >= len(tool.arguments):
        return "tool_calls"
    return ended.reason


def tool_call(reply: Reply, tool: ToolCall, choice: int) -> dict[str, Any]:
    """The call `tool` as a choice makes it."""
    return {
        "id": f"chatcmpl-tool-{reply.id[-8:]}{choice}",
        "type": "function",
        "function": {"name": tool.name, "arguments": reply.text_of(choice)},
    }


def _usage(totals: Totals, details: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "prompt_tokens": totals.prompt,
        "total_tokens": totals.prompt + totals.generated,
        "completion_tokens": totals.generated,
        "prompt_tokens_details": details,
        "completion_tokens_details": None,
    }


def whole_chat(
    reply: Reply, ends: Sequence[Ended], totals: Totals, block_size: int
) -> dict[str, Any]:
    """The body of a chat completion."""
    created = totals.prompt // block_size * block_size - totals.cached
    details = {
        "cached_tokens": totals.cached,
        "created_cache_tokens": max(0, created),
        "multimodal_tokens": None,
    }
    return {
        "id": reply.id,
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.model,
        "choices": [_chat_choice(reply, index, end) for index, end in enumerate(ends)],
        "service_tier": None,
        "system_fingerprint": reply.extra,
        "usage": _usage(totals, details if reply.cache_report else None),
        "prompt_logprobs": None,
        "prompt_token_ids": list(reply.ask.prompts[0]) if reply.ask.return_ids else None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def _chat_choice(reply: Reply, index: int, end: Ended) -> dict[str, Any]:
    tool = reply.ask.tool
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if tool else reply.text_of(index),
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": None,
    }
    if tool:
        message["tool_calls"] = [tool_call(reply, tool, index)]
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(reply, end),
        "stop_reason": None,
        "token_ids": reply.tokens[index] if reply.ask.return_ids else None,
        "routed_experts": None,
    }


def whole_text(reply: Reply, ends: Sequence[Ended], totals: Totals) -> dict[str, Any]:
    """The body of a text completion."""
    details = {
        "cached_tokens": totals.cached,
        "created_cache_tokens": None,
        "multimodal_tokens": None,
    }
    return {
        "id": reply.id,
        "object": "text_completion",
        "created": reply.created,
        "model": reply.model,
        "choices": [_text_choice(reply, index, end) for index, end in enumerate(ends)],
        "service_tier": None,
        "system_fingerprint": reply.extra,
        "usage": _usage(totals, details if reply.cache_report else None),
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def _text_choice(reply: Reply, index: int, end: Ended) -> dict[str, Any]:
    ids = reply.ask.return_ids
    return {
        "index": index,
        "text": reply.text_of(index),
        "logprobs": None,
        "finish_reason": end.reason,
        "stop_reason": None,
        "token_ids": reply.tokens[index] if ids else None,
        "prompt_logprobs": None,
        "prompt_token_ids": list(reply.ask.prompts[index // reply.ask.n]) if ids else None,
        "routed_experts": None,
    }


class _OpenAiFrames(Frames):
    """What chat and text streams have in common.

    The event of the last token also tells why it is the last; the fingerprint is on it, or on
    the usage event when there is one.
    """

    kind: str

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self._templates = [
            Template(self._event(self._choice(index, Template.HOLE)))
            for index in range(len(reply.ids))
        ]
        ask = reply.ask
        self._plain = not (ask.continuous_usage or ask.return_ids or ask.tool)

    def _event(self, choice: dict[str, Any] | None) -> dict[str, Any]:
        reply = self.reply
        event = {
            "id": reply.id,
            "object": self.kind,
            "created": reply.created,
            "model": reply.model,
            "choices": [] if choice is None else [choice],
        }
        if reply.ask.continuous_usage and choice is not None:
            event["usage"] = self._usage_so_far()
        return event

    def _usage_so_far(self) -> dict[str, Any]:
        prompt, generated = self.reply.prompt_tokens, self.reply.generated
        return {
            "prompt_tokens": prompt,
            "total_tokens": prompt + generated,
            "completion_tokens": generated,
            "completion_tokens_details": None,
        }

    def _choice(self, index: int, text: str, token_id: int | None = None) -> dict[str, Any]:
        raise NotImplementedError

    def token(self, choice: int, token_id: int) -> list[bytes]:
        """One event; the plain ones are filled into a template."""
        text = self.reply.say(choice, token_id)
        if self._plain:
            return [self._templates[choice].fill(text)]
        return [sse(self._event(self._choice(choice, text, token_id)))]

    def last(self, choice: int, token_id: int | None, ended: Ended) -> list[bytes]:
        """The token and the reason in one event."""
        text = "" if token_id is None else self.reply.say(choice, token_id)
        document = self._choice(choice, text, token_id)
        document["finish_reason"] = finish_reason(self.reply, ended)
        document["stop_reason"] = None
        event = self._event(document)
        if not self.reply.ask.include_usage:
            event["system_fingerprint"] = self.reply.extra
        return [sse(event)]

    def closing(self, totals: Totals) -> list[bytes]:
        """The usage event, if asked for, and the end."""
        reply = self.reply
        if not reply.ask.include_usage:
            return [DONE]
        event = self._event(None)
        event["usage"] = {
            "prompt_tokens": totals.prompt,
            "total_tokens": totals.prompt + totals.generated,
            "completion_tokens": totals.generated,
        }
        if reply.cache_report:
            event["usage"]["prompt_tokens_details"] = self._details(totals)
        event["system_fingerprint"] = reply.extra
        return [sse(event), DONE]

    def _details(self, totals: Totals) -> dict[str, Any]:
        return {"cached_tokens": totals.cached}


class ChatFrames(_OpenAiFrames):
    """A chat stream: the role of every choice first, then tokens."""

    kind = "chat.completion.chunk"

    def opening(self) -> list[bytes]:
        """The role event of every choice."""
        return [sse(self._role(index)) for index in range(len(self.reply.ids))]

    def _role(self, index: int) -> dict[str, Any]:
        ask = self.reply.ask
        choice = {
            "index": index,
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }
        event = self._event(choice)
        event["prompt_token_ids"] = list(ask.prompts[0]) if ask.return_ids else None
        event["prompt_text"] = None
        return event

    def _choice(self, index: int, text: str, token_id: int | None = None) -> dict[str, Any]:
        ids = self.reply.ask.return_ids and token_id is not None
        tool = self.reply.ask.tool
        return {
            "index": index,
            "delta": {"content": text} if tool is None else self._delta(tool, index, text),
            "logprobs": None,
            "finish_reason": None,
            "token_ids": [token_id] if ids else None,
        }

    def _delta(self, tool: ToolCall, index: int, text: str) -> dict[str, Any]:
        """A piece of a tool call; the first one names the function."""
        call: dict[str, Any] = {"index": 0, "function": {"arguments": text}}
        if len(self.reply.tokens[index]) <= 1:
            call |= tool_call(self.reply, tool, index)
            call["function"]["arguments"] = text
        return {"tool_calls": [call]}

    def _details(self, totals: Totals) -> dict[str, Any]:
        return {"cached_tokens": totals.cached, "created_cache_tokens": 0}


class CompletionFrames(_OpenAiFrames):
    """A text stream."""

    kind = "text_completion"

    def _choice(self, index: int, text: str, token_id: int | None = None) -> dict[str, Any]:
        ids = self.reply.ask.return_ids and token_id is not None
        return {
            "index": index,
            "text": text,
            "logprobs": None,
            "finish_reason": None,
            "stop_reason": None,
            "prompt_token_ids": None,
            "token_ids": [token_id] if ids else None,
        }
