"""What a user's program does: the official client, a base URL, a stream.

Runs in a pod of its own, in an image without anything of ours.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import openai

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam


def main() -> int:
    """Ask for the models, then for eight tokens, whole and streamed; print what came."""
    client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=60)
    model = client.models.list().data[0].id
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
    create = client.chat.completions.create
    whole = create(model=model, messages=messages, max_tokens=8)
    stream = create(model=model, messages=messages, max_tokens=8, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    usage = whole.usage
    print(
        json.dumps(
            {
                "model": model,
                "text": whole.choices[0].message.content,
                "tokens": usage.completion_tokens if usage else 0,
                "streamed": "".join(pieces),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
