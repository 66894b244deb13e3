"""SGLang's chat and text completions: the bodies and the events, member by member."""

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
        "id": f"call_{reply.ids[choice][:24]}",
        "index": 0,
        "type": "function",
        "function": {"name": tool.name, "arguments": reply.text_of(choice)},
    }


def usage(prompt: int, generated: int, cached: int | None) -> dict[str, Any]:
    """The usage object; None for cached when the server does not report it."""
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + generated,
        "completion_tokens": generated,
        "prompt_tokens_details": None if cached is None else {"cached_tokens": cached},
        "reasoning_tokens": 0,
        "completion_tokens_details": None,
    }


def _cached(reply: Reply, cached: int) -> int | None:
    return cached if reply.cache_report else None


def weight_versions(generated: int) -> list[dict[str, Any]]:
    """Which weights said which tokens."""
    return [{"version": "default", "start": 0, "end": generated}]


def _metadata(ends: Sequence[Ended]) -> dict[str, Any]:
    return {
        "weight_version": "default",
        "weight_versions": weight_versions(ends[0].generated),
    }


def whole_chat(reply: Reply, ends: Sequence[Ended], totals: Totals) -> dict[str, Any]:
    """The body of a chat completion."""
    return {
        "id": reply.id,
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.model,
        "choices": [_chat_choice(reply, index, end) for index, end in enumerate(ends)],
        "usage": usage(totals.prompt, totals.generated, _cached(reply, totals.cached)),
        "metadata": _metadata(ends),
    }


def _chat_choice(reply: Reply, index: int, end: Ended) -> dict[str, Any]:
    tool = reply.ask.tool
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if tool else reply.text_of(index),
        "reasoning_content": None,
    }
    if tool:
        message["tool_calls"] = [tool_call(reply, tool, index)]
    choice = {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(reply, end),
        "matched_stop": None,
    }
    if reply.ask.return_ids:
        choice["prompt_token_ids"] = list(reply.ask.prompts[0])
        choice["response_token_ids"] = reply.tokens[index]
    return choice


def whole_text(reply: Reply, ends: Sequence[Ended], totals: Totals) -> dict[str, Any]:
    """The body of a text completion."""
    choices = [
        {
            "index": index,
            "text": reply.text_of(index),
            "logprobs": None,
            "finish_reason": end.reason,
            "matched_stop": None,
        }
        for index, end in enumerate(ends)
    ]
    return {
        "id": reply.id,
        "object": "text_completion",
        "created": reply.created,
        "model": reply.model,
        "choices": choices,
        "usage": usage(totals.prompt, totals.generated, _cached(reply, totals.cached)),
        "metadata": _metadata(ends),
    }


class ChatFrames(Frames):
    """A chat stream: a choice's role comes with its first token, its reason after all tokens."""

    def __init__(self, reply: Reply) -> None:
        """One template for each choice."""
        super().__init__(reply)
        hole = Template.HOLE
        self._templates = [
            Template(self._event(index, {"reasoning_content": None, "content": hole}))
            for index in range(len(reply.ids))
        ]
        self._ends: dict[int, Ended] = {}

    def _event(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        reply = self.reply
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": None,
            "finish_reason": None,
            "matched_stop": None,
        }
        return {
            "id": reply.ids[index],
            "object": "chat.completion.chunk",
            "created": reply.created,
            "model": reply.model,
            "choices": [choice],
        }

    def token(self, choice: int, token_id: int) -> list[bytes]:
        """One event, with the role before the first."""
        reply = self.reply
        first = not reply.tokens[choice]
        text = reply.say(choice, token_id)
        events = []
        if first:
            role = {"reasoning_content": None, "role": "assistant", "content": ""}
            events.append(sse(self._event(choice, role)))
        if reply.ask.tool or reply.ask.continuous_usage:
            events.append(sse(self._rich(choice, text)))
        else:
            events.append(self._templates[choice].fill(text))
        return events

    def _rich(self, choice: int, text: str) -> dict[str, Any]:
        """A token event with a tool call in it, or with the usage so far."""
        reply = self.reply
        delta: dict[str, Any] = {"reasoning_content": None}
        tool = reply.ask.tool
        if tool is not None:
            call: dict[str, Any] = {"index": 0, "function": {"arguments": text}}
            if len(reply.tokens[choice]) == 1:
                call = tool_call(reply, tool, choice)
                call["function"]["arguments"] = text
            delta["tool_calls"] = [call]
        else:
            delta["content"] = text
        event = self._event(choice, delta)
        if reply.ask.continuous_usage:
            event["usage"] = usage(reply.prompt_tokens, reply.generated, _cached(reply, 0))
        return event

    def last(self, choice: int, token_id: int | None, ended: Ended) -> list[bytes]:
        """A token like the others; the reason comes when all choices are through."""
        self._ends[choice] = ended
        return [] if token_id is None else self.token(choice, token_id)

    def closing(self, totals: Totals) -> list[bytes]:
        """The reasons, the usage if asked for, and the end."""
        reply = self.reply
        events = []
        for index, ended in sorted(self._ends.items()):
            event = self._event(index, {"reasoning_content": None})
            event["choices"][0]["finish_reason"] = finish_reason(reply, ended)
            events.append(sse(event))
        if reply.ask.include_usage:
            event = self._event(0, {}) | {"choices": []}
            event["usage"] = usage(totals.prompt, totals.generated, _cached(reply, totals.cached))
            events.append(sse(event))
        return [*events, DONE]


class CompletionFrames(Frames):
    """A text stream; every event has a usage member, null but for the last."""

    def __init__(self, reply: Reply) -> None:
        """One template for each choice."""
        super().__init__(reply)
        self._templates = [
            Template(self._event(index, Template.HOLE)) for index in range(len(reply.ids))
        ]

    def _event(self, index: int, text: str) -> dict[str, Any]:
        reply = self.reply
        choice = {
            "index": index,
            "text": text,
            "logprobs": None,
            "finish_reason": None,
            "matched_stop": None,
        }
        return {
            "id": reply.ids[index],
            "object": "text_completion",
            "created": reply.created,
            "model": reply.model,
            "choices": [choice],
            "usage": None,
        }

    def token(self, choice: int, token_id: int) -> list[bytes]:
        """One event."""
        return [self._templates[choice].fill(self.reply.say(choice, token_id))]

    def last(self, choice: int, token_id: int | None, ended: Ended) -> list[bytes]:
        """The token and the reason in one event."""
        text = "" if token_id is None else self.reply.say(choice, token_id)
        event = self._event(choice, text)
        event["choices"][0]["finish_reason"] = ended.reason
        return [sse(event)]

    def closing(self, totals: Totals) -> list[bytes]:
        """The usage, if asked for, and the end."""
        reply = self.reply
        if not reply.ask.include_usage:
            return [DONE]
        event = self._event(0, "") | {"choices": []}
        counts = usage(totals.prompt, totals.generated, _cached(reply, totals.cached))
        del counts["completion_tokens_details"]
        return [sse(event | {"usage": counts}), DONE]
