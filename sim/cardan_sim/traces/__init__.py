"""Recorded workloads: files of five kinds in, one value out, and prompts made from it.

A public trace says when a request came and how long it was, and never what it said. `read_trace`
turns each kind of file into `TraceRequest` values (`read_sessions` one into `Session`s);
`PromptWriter` gives every block of a prompt its own fixed text, so that prompts share prefixes
exactly where the recorded ones did.
"""

from cardan_sim.traces.prompts import PromptForm, PromptWriter, WireRequest
from cardan_sim.traces.read import FORMATS, read_trace
from cardan_sim.traces.request import BlockPrompt, RecordedBody, TraceError, TraceRequest
from cardan_sim.traces.sessions import Session, Turn, read_sessions

__all__ = [
    "FORMATS",
    "BlockPrompt",
    "PromptForm",
    "PromptWriter",
    "RecordedBody",
    "Session",
    "TraceError",
    "TraceRequest",
    "Turn",
    "WireRequest",
    "read_sessions",
    "read_trace",
]
