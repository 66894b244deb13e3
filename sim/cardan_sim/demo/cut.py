"""How the bundled slice was cut: whole conversations, drawn by hash, nothing else chosen.

    python -m cardan_sim.demo.cut conversation_trace.jsonl.gz

The published trace has 12,031 requests in an hour. Taking its first minutes would cut most
conversations short, and with them the reuse of prefixes, which comes minutes later. So every
sixteenth conversation is kept whole and the rest dropped: a conversation is the requests with the
same second block (the first is one system prompt for everybody). Prompts over 32,768 tokens are
left out, as on engines that serve contexts of that length. The first 600 of what is left are the
slice; its lines are the published ones, byte for byte.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from cardan_sim.arguments import Parser

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KEEP_ONE_IN: Final = 16
MAX_INPUT_TOKENS: Final = 32_768
REQUESTS: Final = 600
SLICE: Final = Path(__file__).parent / "data" / "conversation_slice.jsonl.gz"


class _Line(msgspec.Struct):
    input_length: int
    hash_ids: list[int]


def kept_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of the slice, as published."""
    kept = 0
    for line in lines:
        record = msgspec.json.decode(line, type=_Line)
        if record.input_length <= MAX_INPUT_TOKENS and _drawn(record.hash_ids):
            yield line
            kept += 1
            if kept == REQUESTS:
                return


def _drawn(hash_ids: list[int]) -> bool:
    """Whether a conversation is one of those kept. A prompt of one block is a beginning only."""
    if len(hash_ids) < 2:
        return False
    digest = hashlib.sha256(b"cardan demo %d" % hash_ids[1]).digest()
    return int.from_bytes(digest[:4], "big") % KEEP_ONE_IN == 0


def cut(source: Path) -> bytes:
    """The slice as it is bundled: gzip without a time, so that the same input is the same file."""
    with gzip.open(source, "rb") as file:
        return gzip.compress(b"".join(kept_lines(file)), compresslevel=9, mtime=0)


def main(argv: list[str] | None = None) -> int:
    """Write the slice next to the demo."""
    parser = Parser(prog="python -m cardan_sim.demo.cut", description=cut.__doc__)
    parser.add_argument("trace", type=Path, help="Mooncake's conversation_trace.jsonl.gz")
    packed = cut(parser.parse_args(argv).trace)
    SLICE.write_bytes(packed)
    sys.stdout.write(f"{SLICE}: {len(packed):,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
