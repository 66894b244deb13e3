"""A tokenizer that costs next to nothing and keeps what routing depends on.

A token is four bytes of text, its id their hash within the vocabulary. Hence:

- the ids of a prefix of a text are a prefix of the ids of the text, but for the last one;
- every message of a chat starts on a token boundary (it is padded with NUL), so a conversation
  that grows keeps all earlier ids, whatever the lengths of its turns;
- every generated token is four ASCII bytes of text, so an answer that comes back as the
  assistant's turn has exactly the ids the engine generated and decoded, and finds its blocks.

Ids are kept as `array("I")`: hashing a block is then hashing a slice of memory.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Knuth's multiplicative hash (2^32 over the golden ratio): without it a vocabulary of 2,048 would
# see eleven bits of each four bytes, and texts that differ would be one.
_MIX: Final = 2_654_435_761

# Three letters and the space before them, so that answers read as words.
_SAYINGS: Final = """
the and for are but not you all any can had her was one our out day get has him his how
man new now old see two way who boy did its let put say she too use big map net run set
sky sea sun ice oak elm fir fox owl bee ant cat dog hen cow pig ram ewe bat cod eel koi
red tan dry wet hot low far top end mid few own odd add ask bid buy cut dig eat fly hum
jog kit lap mix nod pay row sew tie vow win yet ace ale arc arm art ash awe
"""
WORDS: Final[tuple[str, ...]] = tuple(f" {word}" for word in _SAYINGS.split())


def encode(text: str, vocab_size: int) -> array[int]:
    """Token ids of a text, about one for each four bytes."""
    return encode_bytes(text.encode("utf-8", "surrogatepass"), vocab_size)


def encode_bytes(raw: bytes, vocab_size: int) -> array[int]:
    """Token ids of raw UTF-8; the last token is padded with NUL."""
    words = array("I")
    words.frombytes(raw + b"\0" * (-len(raw) % 4))
    return array("I", [(word * _MIX >> 21) % vocab_size for word in words])


def encode_chat(messages: Iterable[tuple[str, str]], vocab_size: int) -> array[int]:
    """Token ids of a conversation of (role, text), ready for the assistant to go on."""
    ids = array("I")
    for role, text in messages:
        ids += encode_bytes(_header(role), vocab_size)
        ids += encode(text, vocab_size)
        ids += encode_bytes(_END, vocab_size)
    ids += encode_bytes(_header("assistant"), vocab_size)
    return ids


_END: Final = b"<e>\n"


def _header(role: str) -> bytes:
    return b"<|" + role.encode("utf-8", "surrogatepass") + b"|>"


class Vocabulary:
    """The words an engine can say, and the text of any id."""

    def __init__(self, vocab_size: int) -> None:
        """Work out the ids of the words once; some coincide in a very small vocabulary."""
        self.size = vocab_size
        texts: dict[int, str] = {}
        for word in WORDS:
            texts.setdefault(encode(word, vocab_size)[0], word)
        self._texts: Final = texts
        self.sayable: Final[tuple[int, ...]] = tuple(texts)

    def text(self, token_id: int) -> str:
        """The four characters of an id; ids that are no word of ours get a made-up syllable."""
        known = self._texts.get(token_id)
        return known if known is not None else _syllable(token_id)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a sequence of ids."""
        return "".join(map(self.text, ids))


def _syllable(token_id: int) -> str:
    """A stable pronounceable stand-in: the tokenizer is not invertible, and need not be."""
    rest, first = divmod(token_id, len(_CONSONANTS))
    rest, vowel = divmod(rest, len(_VOWELS))
    return f" {_CONSONANTS[first]}{_VOWELS[vowel]}{_CONSONANTS[rest % len(_CONSONANTS)]}"


_CONSONANTS: Final = "bdfgklmnprstvz"
_VOWELS: Final = "aeiou"
