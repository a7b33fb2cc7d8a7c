"""Which tokens may come next so that the output is text: valid UTF-8 without control characters.

A token is a byte string: either whole characters, or (byte fallback) a single byte of a character that has no token of
its own. Once a byte has begun a character, only bytes that continue it may follow until it is complete.

Shapes: V vocab_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from gru_complete.arrays import FloatArray

if TYPE_CHECKING:
    import numpy.typing as npt

CONTROL_CHARACTERS = bytes(byte for byte in range(0x20) if byte not in b"\t\n") + b"\x7f"

# The second byte of a character narrows for some first bytes (RFC 3629, section 4: no overlong forms, no surrogates,
# nothing above U+10FFFF). After C2 the bytes 80..9F would make the control characters U+0080..U+009F.
_SECOND_BYTES = {0xC2: (0xA0, 0xBF), 0xE0: (0xA0, 0xBF), 0xED: (0x80, 0x9F), 0xF0: (0x90, 0xBF), 0xF4: (0x80, 0x8F)}
_FIRST_BYTES = range(0xC2, 0xF5)
_ANY_CONTINUATION = (0x80, 0xBF)


def is_complete(pending: bytes) -> bool:
    """Whether bytes that ``CharacterMasks`` allows, at least one, end with a whole character."""
    first = pending[0]
    return first < 0x80 or len(pending) >= _length(first)


def unfinished(text: bytes) -> bytes:
    """Return the bytes of an unfinished character at the end of a text; b"" if there is none, or it is not UTF-8."""
    for size in range(1, min(3, len(text)) + 1):
        first = text[-size]
        if first in _FIRST_BYTES:
            pending = text[-size:]
            return b"" if is_complete(pending) or not _may_begin(pending) else pending
        if first & 0xC0 != 0x80:
            break
    return b""


@lru_cache(1 << 15)  # called with the same endings of pieces again and again
def continues(pending: bytes, text: bytes) -> bool:
    """Whether text may follow an unfinished character: it continues the character and is not a control character."""
    whole = pending + text
    return _is_text(whole) or (_may_begin(whole) and len(whole) < _length(whole[0]))


class CharacterMasks:
    """The tokens allowed after each beginning of a character, as arrays to add to the scores.

    Args:
        pieces: the bytes of each token; b"" for the document end.
        dtype: the type of the scores.
    """

    def __init__(self, pieces: Sequence[bytes], dtype: npt.DTypeLike = np.float32) -> None:
        self._vocab_size = len(pieces)
        self._dtype = dtype
        self._byte_tokens = {
            piece[0]: token for token, piece in enumerate(pieces) if len(piece) == 1 and piece[0] >= 0x80
        }
        whole = np.array([_is_text(piece) for piece in pieces], dtype=bool)
        for byte in _FIRST_BYTES:
            if byte in self._byte_tokens:
                whole[self._byte_tokens[byte]] = True
        self._between_characters = np.where(whole, 0, -np.inf).astype(dtype)
        self._inside: dict[tuple[int, int], FloatArray] = {}

    def after(self, pending: bytes) -> FloatArray:
        """Return 0 for each token that may follow the bytes of an unfinished character, else -inf, ``(V,)``."""
        if not pending:
            return self._between_characters
        low_high = _SECOND_BYTES.get(pending[0], _ANY_CONTINUATION) if len(pending) == 1 else _ANY_CONTINUATION
        if low_high not in self._inside:
            mask = np.full(self._vocab_size, -np.inf, dtype=self._dtype)
            for byte in range(low_high[0], low_high[1] + 1):
                if byte in self._byte_tokens:
                    mask[self._byte_tokens[byte]] = 0
            self._inside[low_high] = mask
        return self._inside[low_high]


class CompletionEncoder:
    """Encodes the text of a completion, without the bytes of its first character that belong to the prompt.

    Args:
        pending: the first bytes of a character that the prompt does not finish; b"" if it finishes all.
    """

    def __init__(self, pending: bytes) -> None:
        self._num_prompt_bytes = len(pending)

    def encode(self, text: str) -> bytes:
        """Return the next characters of the completion as bytes."""
        data = text.encode()
        if data and self._num_prompt_bytes:
            data, self._num_prompt_bytes = data[self._num_prompt_bytes :], 0
        return data


def _length(first: int) -> int:
    """The number of bytes of a character with this first byte."""
    return 2 if first < 0xE0 else 3 if first < 0xF0 else 4


def _may_begin(pending: bytes) -> bool:
    """Whether bytes are the beginning of a character, or all of it."""
    first = pending[0]
    if first not in _FIRST_BYTES or len(pending) > _length(first):
        return False
    low, high = _SECOND_BYTES.get(first, _ANY_CONTINUATION)
    return (len(pending) == 1 or low <= pending[1] <= high) and all(byte & 0xC0 == 0x80 for byte in pending[2:])


def _is_text(piece: bytes) -> bool:
    """Whether a piece is whole characters, none of them a control character (tab and newline are allowed)."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return False
    if text.isprintable():  # most are, and then there is no control character
        return True
    if b"\xc2" in piece and any("\x80" <= character <= "\x9f" for character in text):
        return False
    return piece.translate(None, CONTROL_CHARACTERS) == piece
