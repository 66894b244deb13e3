"""The simulated engine: how vLLM and SGLang schedule, without a clock, a socket or a GPU.

    engine = Engine(make_spec("vllm", "llama-3.1-8b", gpu="h100"), seed=1)
    engine.submit(Request("a", encode("hello", engine.spec.vocab_size), max_output=8), now=0.0)
    while (at := engine.next_event_at()) is not None:
        for event in engine.advance(at): ...

`engine.py` explains the scheduling, `blocks.py` the prefix cache, `costs.py` the durations;
`quiet.py` is the same engine for simulations, which do not want to hear of every token.
"""

from cardan_sim.engine.costs import MODELS, find_model
from cardan_sim.engine.engine import Engine
from cardan_sim.engine.errors import BadSpecError, EngineError, UnknownModelError
from cardan_sim.engine.prompts import NamedPrompt
from cardan_sim.engine.quiet import QuietEngine
from cardan_sim.engine.request import Ended, Event, Load, Request, Token
from cardan_sim.engine.spec import EngineSpec, Make, make_spec
from cardan_sim.engine.tokens import encode, encode_chat

__all__ = [
    "MODELS",
    "BadSpecError",
    "Ended",
    "Engine",
    "EngineError",
    "EngineSpec",
    "Event",
    "Load",
    "Make",
    "NamedPrompt",
    "QuietEngine",
    "Request",
    "Token",
    "UnknownModelError",
    "encode",
    "encode_chat",
    "find_model",
    "make_spec",
]
