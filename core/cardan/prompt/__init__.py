"""The routing key: what a request's prompt is, cut in blocks and hashed.

`read_prompt` turns a parsed body into a `Prompt`: a chain of 64-bit hashes in which each element
names the whole prompt up to there. Equal elements mean equal prefixes, so the chain is all that
routing, shadow caches and the depth controller ever need of a prompt.

The canonical form and the hashes are frozen by golden vectors (`tests/core/golden`) and written
down in `docs/reference/routing-key.md`: gateways of different versions must agree on every key.
"""

from cardan.prompt.bodies import read_prompt
from cardan.prompt.chain import EMPTY, KeyConfig, Prompt
from cardan.prompt.prefix import prefix_request

__all__ = ["EMPTY", "KeyConfig", "Prompt", "prefix_request", "read_prompt"]
