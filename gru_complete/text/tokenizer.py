"""Bytes to token ids and back, exactly, for all bytes.

A token is a byte string. Id 0 is the document end: it has no bytes and no text gives it (it sits in SentencePiece's
slot for unknown text, which byte fallback never uses). Ids 1 to 256 are the single bytes, and the pieces follow.

Text is first cut into segments, each a run of white space and the word after it, and every segment is encoded on its
own. So the ids of a text do not depend on how it is cut into blocks, and each distinct segment is encoded only once.
"""

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator

import numpy as np
import sentencepiece

from gru_complete.arrays import TokenIds, token_dtype
from gru_complete.errors import ModelError
from gru_complete.text.sentencepiece_model import FIRST_PIECE, checked_piece_names

DOCUMENT_END = 0
FIRST_BYTE = 1
MAX_SEGMENT_BYTES = 64


_BLOCK_BYTES = 1 << 20
_CACHED_SEGMENTS = 200_000
_SEGMENT = re.compile(rb"\s+\S*|\S+")  # in a bytes pattern, white space is that of ASCII
SPACE_MARK = "\u2581"  # SentencePiece writes a space so, and could not tell the two apart
TAB_MARK = "\u2409"  # we write a tab so, because SentencePiece's table of words and counts is separated by tabs
_NOT_FOR_SENTENCEPIECE = re.compile(f"([\udc80-\udcff{SPACE_MARK}{TAB_MARK}]+)")  # no UTF-8 decodes to \udcxx


def segments(text: bytes) -> Iterator[bytes]:
    """Cut text before each run of white space, and again where a segment would exceed 64 bytes."""
    for match in _SEGMENT.finditer(text):
        yield from _short_segments(match[0])


def _short_segments(segment: bytes) -> Iterator[bytes]:
    """Cut a segment after at most 64 bytes, if possible between characters, and the rest likewise.

    What lies before a cut does not depend on anything after the byte that follows it.
    """
    start = 0
    while len(segment) - start > MAX_SEGMENT_BYTES:
        longest = end = start + MAX_SEGMENT_BYTES
        while end > longest - 4 and segment[end] & 0xC0 == 0x80:
            end -= 1
        if segment[end] & 0xC0 == 0x80:  # no UTF-8
            end = longest
        yield segment[start:end]
        start = end
    yield segment[start:]


class Tokenizer:
    """A SentencePiece unigram model that reproduces every byte string exactly.

    Attributes:
        vocab_size: number of ids.
        pieces: the bytes of each id; empty for the document end.
        model_bytes: the model as stored.
        sha256: of ``model_bytes``, in hexadecimal.
    """

    def __init__(self, model_bytes: bytes) -> None:
        """Check and load a model that may come from a stranger.

        Raises:
            ModelError: it is damaged, or not of the kind that ``train_tokenizer`` makes.
        """
        names = checked_piece_names(model_bytes)
        processor = sentencepiece.SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(model_bytes)
            same = processor.GetPieceSize() == len(names) and list(map(processor.IdToPiece, range(len(names)))) == names
        except Exception as error:  # besides RuntimeError, damaged models have been seen to give UnicodeDecodeError
            raise ModelError(f"the tokenizer model cannot be loaded ({type(error).__name__})") from error
        if not same:
            raise ModelError("the tokenizer model cannot be loaded: its pieces are not what they seem")
        # All names at once: none has a NUL, as was checked.
        words = (
            "\0".join(names[FIRST_PIECE - 1 :]).replace(SPACE_MARK, " ").replace(TAB_MARK, "\t").encode().split(b"\0")
        )
        self.pieces: list[bytes] = [b"", *(bytes([value]) for value in range(256)), *words[1:]]
        self.vocab_size = len(self.pieces)
        self.model_bytes = model_bytes
        self.sha256 = hashlib.sha256(model_bytes).hexdigest()
        self._processor = processor
        self._dtype = token_dtype(self.vocab_size)
        self._packed_ids = _PackedIds(self)

    def encode(self, text: bytes) -> list[int]:
        """Token ids of a text; ``decode`` returns exactly the same text."""
        blocks = (text[start : start + _BLOCK_BYTES] for start in range(0, len(text), _BLOCK_BYTES))
        return [token for ids in self.encode_blocks(blocks) for token in ids.tolist()]

    def decode(self, ids: Iterable[int]) -> bytes:
        """The bytes of the tokens, joined."""
        return b"".join(map(self.pieces.__getitem__, ids))

    def encode_blocks(self, blocks: Iterable[bytes]) -> Iterator[TokenIds]:
        """Encode a text that comes in blocks; the ids do not depend on where it is cut.

        Yields:
            Ids in order, ``(N,)`` uint16, or uint32 if there are more ids than that.
        """
        carry = b""  # the last segment, which the next block may lengthen
        for block in blocks:
            ids, carry = self.encode_finished(carry + block)
            if len(ids):
                yield ids
        if carry:
            yield self._joined_ids([carry])

    def encode_finished(self, text: bytes) -> tuple[TokenIds, bytes]:
        """Encode all segments of a text but the last, which more text may lengthen.

        Returns:
            Ids in order, ``(N,)``, and the bytes of the last segment: at most 64, none only if there is no text.
        """
        finished = _SEGMENT.findall(text)
        last = b""
        if finished:
            *parts, last = _short_segments(finished.pop())
            finished += parts
        return self._joined_ids(finished), last

    def _joined_ids(self, segments: Iterable[bytes]) -> TokenIds:
        return np.frombuffer(b"".join(map(self._packed_ids.__getitem__, segments)), self._dtype)

    def encode_segment(self, segment: bytes) -> list[int]:
        """Ids of a short text encoded as a whole: the best pieces, or bytes where these would change the text."""
        ids: list[int] = []
        text = segment.decode("utf-8", "surrogateescape")
        for index, run in enumerate(_NOT_FOR_SENTENCEPIECE.split(text)):
            data = run.encode("utf-8", "surrogateescape")
            run_ids: list[int] = [] if index % 2 else self._processor.EncodeAsIds(run.replace("\t", TAB_MARK))
            if DOCUMENT_END in run_ids or self.decode(run_ids) != data:
                run_ids = [FIRST_BYTE + value for value in data]
            ids += run_ids
        return ids


class _PackedIds(dict[bytes, bytes]):
    """The ids of each segment, packed as bytes that need only be joined; cleared when it is full."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.encode = tokenizer.encode_segment
        self.typecode = token_dtype(tokenizer.vocab_size).char

    def __missing__(self, segment: bytes) -> bytes:
        if len(segment) > MAX_SEGMENT_BYTES:
            return b"".join(map(self.__getitem__, _short_segments(segment)))
        if len(self) >= _CACHED_SEGMENTS:
            self.clear()
        packed = self[segment] = array(self.typecode, self.encode(segment)).tobytes()
        return packed
