"""A gRPC client of the gateway, as the docs show it."""

from __future__ import annotations

import grpc
from cardan_router.pb.cardan.v1 import inference_pb2 as inference
from cardan_router.pb.cardan.v1 import inference_pb2_grpc, prompt_pb2


async def generate(target: str, model: str, text: str, tokens: int) -> tuple[int, dict[str, str]]:
    """One streamed chat: pieces that came, and the receipt's endpoint and key."""
    request = inference.GenerateRequest(
        model=model,
        chat=prompt_pb2.Chat(messages=[prompt_pb2.Message(role="user", content=text)]),
        sampling=prompt_pb2.Sampling(max_tokens=tokens),
        explain=True,
    )
    receipt: dict[str, str] = {}
    pieces = 0
    async with grpc.aio.insecure_channel(target) as channel:
        async for response in inference_pb2_grpc.InferenceStub(channel).Generate(request):
            if response.HasField("receipt"):
                receipt = {"endpoint": response.receipt.endpoint, "key": response.receipt.key}
            pieces += len(response.choices)
    return pieces, receipt
