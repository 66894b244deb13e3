"""From bytes to the chain of block hashes.

    root = xxh3_64(version, kind of stream, model, adapter, cache salt, tenant)
    h_1  = xxh3_64(block_1, seed = root)
    h_k  = xxh3_64(block_k, seed = h_{k-1})

A seed chains without copying the block behind the previous hash (measured on 64 blocks of 2,048
bytes: 14 µs against 24 µs). The last piece may be shorter than a block; it is hashed like one and
ends the chain, so short prompts have a key and equal prompts have equal chains.

64-bit hashes of n blocks collide with probability n²/2^65: a million live blocks, 3e-8. A collision
costs a wrong prediction, never a wrong answer.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Annotated

import msgspec
import xxhash
from cardan.value import Value

if TYPE_CHECKING:
    from array import array

VERSION = b"cardan-key-1"
"""Part of every root. It changes with anything that changes a chain, and then all keys move."""

BREAK = b"\xff"
"""A byte that UTF-8 never contains, not even for lone surrogates: nothing in a text can fake it."""


class KeyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How prompts become keys. All gateways of a fleet must use the same.

    A block is `block_bytes` of text or `block_tokens` token ids; the defaults go together at four
    bytes a token, which English and code have (measured per endpoint later, see `cardan.speed`).
    512 tokens is the block of the published traces and a multiple of every engine's block. At most
    `max_blocks` are hashed: 128 KiB, beyond which prefixes that are still shared are rare.
    `isolate_tenants` keeps tenants from sharing a prefix.
    """

    block_bytes: Annotated[int, msgspec.Meta(ge=64)] = 2048
    block_tokens: Annotated[int, msgspec.Meta(ge=16)] = 512
    max_blocks: Annotated[int, msgspec.Meta(ge=1, le=64)] = 64
    isolate_tenants: bool = False

    @property
    def limit_bytes(self) -> int:
        """Bytes of text beyond which nothing is read."""
        return self.max_blocks * self.block_bytes

    @property
    def limit_tokens(self) -> int:
        """Token ids beyond which nothing is read."""
        return self.max_blocks * self.block_tokens

    @property
    def bytes_per_token(self) -> float:
        """What the two block sizes say of a token's size."""
        return self.block_bytes / self.block_tokens


class Prompt(Value):
    """A prompt as routing sees it.

    `chain` holds the chained hash of each block, at most 64; the first `full_blocks` stand for
    whole blocks, one more for a shorter tail. `tokens` estimates the whole prompt, also what lies
    beyond the chain. `block_tokens` is what one full block stands for.
    """

    chain: tuple[int, ...]
    tokens: float
    block_tokens: int
    full_blocks: int

    def __repr__(self) -> str:
        head = f"{self.chain[0]:016x}" if self.chain else "-"
        return f"<Prompt {head} blocks={len(self.chain)} tokens={self.tokens:.0f}>"


EMPTY = Prompt((), 0.0, KeyConfig().block_tokens, 0)
"""No prompt is known: the call has none, or nobody needed it read."""


@functools.lru_cache(maxsize=1024)  # the same few models and salts in every request
def root_hash(kind: bytes, names: tuple[str, ...]) -> int:
    """The seed of a chain: what must be equal before any block may be compared."""
    return xxhash.xxh3_64_intdigest(BREAK.join([VERSION, kind, *map(utf8, names)]))


def text_chain(stream: bytes, root: int, config: KeyConfig) -> tuple[int, ...]:
    """Hash a canonical text stream, up to the configured number of blocks."""
    return _chain(stream, root, config.block_bytes, config.limit_bytes)


def ids_chain(ids: array[int], root: int, config: KeyConfig) -> tuple[int, ...]:
    """Hash token ids, an array of unsigned 32-bit integers, as little-endian words."""
    if sys.byteorder == "big":
        ids = ids[:]
        ids.byteswap()
    return _chain(ids.tobytes(), root, 4 * config.block_tokens, 4 * config.limit_tokens)


def _chain(data: bytes, root: int, block: int, limit: int) -> tuple[int, ...]:
    if len(data) <= block:
        return (xxhash.xxh3_64_intdigest(data, root),) if data else ()
    view = memoryview(data)[:limit]
    chain = []
    link = root
    for start in range(0, len(view), block):
        link = xxhash.xxh3_64_intdigest(view[start : start + block], link)
        chain.append(link)
    return tuple(chain)


def utf8(text: str) -> bytes:
    """UTF-8, and for the lone surrogates that JSON can spell, what UTF-8 would be for them."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
