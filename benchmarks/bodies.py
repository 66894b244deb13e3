"""Request bodies of the benchmark: OpenAI chat requests whose prompts share prefixes in groups.

Three quarters of each prompt are shared within its group (a long system prompt, a short question),
so a cache-aware policy has something to find. A *distinct* body carries a mark at the very start of
its prompt that the load generator overwrites with a counter: no block of its prompt then repeats.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
from pathlib import Path

import msgspec

from benchmarks.cache import cache_dir

MARK = "#" * 16  # replaced by the load generator's counter
SHARED = 0.75  # of the prompt, within its group
FRAME_BYTES = 260  # JSON around the two texts, about; the size wanted is of the whole body
WORDS = 4000


class Bodies(msgspec.Struct, frozen=True):
    """One file of request bodies: `count` of about `size_bytes`, sharing prefixes in `groups`."""

    size_bytes: int
    count: int
    groups: int
    stream: bool = False
    distinct: bool = False

    @property
    def name(self) -> str:
        """A name that changes with any field and with the generator's own source."""
        source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
        kind = ("stream" if self.stream else "plain") + ("-distinct" if self.distinct else "")
        return f"{self.size_bytes}-{self.count}-{self.groups}-{kind}-{source}.bodies"

    def file(self) -> Path:
        """The file of these bodies, written on first use: records of u32 length and JSON."""
        path = cache_dir("bodies") / self.name
        if not path.exists():
            aside = path.with_suffix(".part")
            aside.write_bytes(b"".join(struct.pack("<I", len(b)) + b for b in self.make()))
            aside.rename(path)
        return path

    def make(self) -> list[bytes]:
        """The bodies themselves; the same every time."""
        words = _words(random.Random(0))
        text_bytes = self.size_bytes - FRAME_BYTES
        shared_bytes = int(text_bytes * SHARED)
        shared = [_text(shared_bytes, words, random.Random(g)) for g in range(self.groups)]
        own_bytes = max(32, text_bytes - shared_bytes)
        return [
            self._body(shared[i % self.groups], _text(own_bytes, words, random.Random(77_777 + i)))
            for i in range(self.count)
        ]

    def _body(self, shared: str, own: str) -> bytes:
        system = MARK + shared if self.distinct else shared
        body = {
            "model": "mock-model",
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": own},
            ],
            "max_tokens": 50,
            "temperature": 0.7,
            "stream": self.stream,
        }
        return json.dumps(body).encode()


def _words(rng: random.Random) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["".join(rng.choices(letters, k=rng.randint(3, 9))) for _ in range(WORDS)]


def _text(size_bytes: int, words: list[str], rng: random.Random) -> str:
    # Words are at least 4 bytes with their space, so this many always suffice.
    return " ".join(rng.choices(words, k=size_bytes // 4 + 1))[:size_bytes]


PLAIN = {
    1: Bodies(1024, 512, 16),
    32: Bodies(32 * 1024, 256, 16),
    200: Bodies(200 * 1024, 64, 8),
}
STREAM = Bodies(1024, 512, 16, stream=True)
DISTINCT = Bodies(32 * 1024, 64, 64, distinct=True)
