"""Recorded workloads: files of four kinds in, one value out, and prompts made from it.

A public trace says when a request came and how long it was, and never what it said. `read_trace`
turns each kind of file into `TraceRequest` values; `PromptWriter` gives every block of a prompt
its own fixed text, so that prompts share prefixes exactly where the recorded ones did.
"""

from cardan_sim.traces.prompts import PromptForm, PromptWriter, WireRequest
from cardan_sim.traces.read import FORMATS, read_trace
from cardan_sim.traces.request import BlockPrompt, RecordedBody, TraceError, TraceRequest

__all__ = [
    "FORMATS",
    "BlockPrompt",
    "PromptForm",
    "PromptWriter",
    "RecordedBody",
    "TraceError",
    "TraceRequest",
    "WireRequest",
    "read_trace",
]
