"""Which tokens each step reads: a pure function of (seed, step), so that a resumed run reads the same ones.

The token stream is read as a ring by B rows side by side. Row b of epoch e starts near the b-th of B equal parts,
rotated by an offset drawn for the epoch, and there at the start of a paragraph if one is nearby.

A corpus of one file has a single document start, yet every prompt is one. So the first input of a row is the document
end instead of the token before it, and now and then a row is interrupted likewise where a paragraph starts: the model
resets its state there and learns to predict text without a past, as it must when it is used.

Shapes: B rows, T tokens per chunk, N tokens of the stream, V vocab_size.
"""

import hashlib
import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gru_complete.arrays import TokenIds
from gru_complete.errors import CorpusError
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer

SEARCH_TOKENS = 512  # how far from its place a row may begin
INTERRUPTED_SHARE = 1 / 16  # of the chunks of a row, where a paragraph starts in them
SAMPLED_TOKENS = 1_000_000
MIN_PARAGRAPH_SHARE = 1 / 1000  # of the tokens; in a text with fewer, lines count as paragraphs


def derived_seed(seed: int, *parts: object) -> int:
    """A 63-bit seed for one purpose, e.g. ``derived_seed(seed, "dropout", step)``; the same on every machine."""
    digest = hashlib.sha256(repr((seed, *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@dataclass(frozen=True)
class Batches:
    """The chunks of a token stream, addressed by step.

    Args:
        stream: token ids, ``(N,)``, usually memory-mapped.
        ends_paragraph: for each token id, whether a paragraph starts after it, ``(V,)``.
        batch_size: rows read in parallel.
        seq_len: tokens per chunk.
        seed: seed of the offsets and of the interruptions.

    Raises:
        CorpusError: the stream cannot give every row two tokens.
    """

    stream: TokenIds
    ends_paragraph: npt.NDArray[np.bool_]
    batch_size: int
    seq_len: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse a stream that is too short."""
        if len(self.stream) < 2 * self.batch_size:
            message = f"{len(self.stream)} tokens are too few for batch_size={self.batch_size}"
            raise CorpusError(message, hint="use a larger corpus or a smaller training.batch_size")

    @property
    def steps_per_epoch(self) -> int:
        """Chunks that read the whole stream once; the last one may run a little over into the next row's part."""
        return max(1, len(self.stream) // self.tokens_per_step)

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one update reads: B times T."""
        return self.batch_size * self.seq_len

    def chunk(self, step: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """What the update number ``step`` (from 1) reads: ``(tokens, targets)``, both ``(B, T)`` int64."""
        epoch, index = divmod(step - 1, self.steps_per_epoch)
        positions = self._row_starts(epoch)[:, None] + index * self.seq_len + np.arange(self.seq_len + 1)[None, :]
        window = self.stream[positions % len(self.stream)].astype(np.int64)
        tokens, targets = window[:, :-1].copy(), window[:, 1:]
        if index == 0:
            tokens[:, 0] = DOCUMENT_END
        draw = random.Random(derived_seed(self.seed, "interruptions", step)).random
        for row in range(self.batch_size):
            if draw() < INTERRUPTED_SHARE:
                starts = self.ends_paragraph[tokens[row]]
                place = int(np.argmax(starts))
                if starts[place]:
                    tokens[row, place] = DOCUMENT_END
        return tokens, targets

    def _row_starts(self, epoch: int) -> npt.NDArray[np.int64]:
        length = len(self.stream)
        turn = derived_seed(self.seed, "order", epoch) % length
        starts = (turn + np.arange(self.batch_size) * length // self.batch_size) % length
        search = np.arange(min(SEARCH_TOKENS, length // self.batch_size))
        at_end = self.ends_paragraph[self.stream[(starts[:, None] + search) % length]]
        shift: npt.NDArray[np.int64] = np.argmax(at_end, axis=1)  # 0, the place itself, where no paragraph ends nearby
        return starts + shift


def paragraph_ends(tokenizer: Tokenizer, stream: TokenIds) -> npt.NDArray[np.bool_]:
    """After which token ids a paragraph starts, or a line if the stream has no blank lines to speak of, ``(V,)``."""
    ends_paragraph = np.array([not piece or piece.endswith(b"\n\n") for piece in tokenizer.pieces])
    if np.count_nonzero(ends_paragraph[stream[:SAMPLED_TOKENS]]) >= MIN_PARAGRAPH_SHARE * len(stream[:SAMPLED_TOKENS]):
        return ends_paragraph
    return np.array([not piece or piece.endswith(b"\n") for piece in tokenizer.pieces])
