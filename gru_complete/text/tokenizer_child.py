"""The child process of ``train_tokenizer``: text on standard input, a SentencePiece model on standard output."""

import io
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator

import sentencepiece

from gru_complete.text.tokenizer import FIRST_PIECE, REFUSED_SAMPLE, SPACE_MARK, TAB_MARK, segments

NUM_THREADS = 2  # fixed: sums in another order would give another vocabulary on another machine
MAX_WORDS = 50_000
# The two marks, the character for which SentencePiece drops a sentence (U+2585), NUL and bytes that are no UTF-8.
_NOT_FOR_TRAINING = re.compile(f"[{SPACE_MARK}{TAB_MARK}\u2585\0\udc80-\udcff]+")
_SOURCE_PLACE = re.compile(r"^.*?\.cc\(\d+\)\s*(\[.*?\])?\s*", re.DOTALL)


def train(text: bytes, vocab_size: int) -> bytes:
    """Train a unigram model with ``vocab_size`` pieces besides the bytes and the document end, or as many as it can.

    Every segment is a word of its own: what encoding will never join, training does not join either. Only the
    ``MAX_WORDS`` most frequent ones are used: the time grows with their number, and the others teach little.
    """
    counts = Counter(_words(text))
    table = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_WORDS]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=(f"{word}\t{count}" for word, count in table),
        input_format="tsv",
        model_writer=model,
        model_type="unigram",
        vocab_size=vocab_size + FIRST_PIECE,
        hard_vocab_limit=False,
        character_coverage=_character_coverage(table, vocab_size),
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        byte_fallback=True,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=NUM_THREADS,
        minloglevel=2,
    )
    return model.getvalue()


def _words(text: bytes) -> Iterator[str]:
    for segment in segments(text):
        word = segment.decode("utf-8", "surrogateescape")
        yield from filter(None, (part.replace("\t", TAB_MARK) for part in _NOT_FOR_TRAINING.split(word)))


def _character_coverage(table: list[tuple[str, int]], vocab_size: int) -> float:
    """The share of the text whose characters get pieces of their own; the rarest, and what does not fit, stay bytes.

    SentencePiece takes the most frequent characters until their share is reached, and fails when they do not fit.
    """
    counts: Counter[str] = Counter()
    for word, count in table:
        for char in word:
            counts[char] += count
    frequent = sum(count for _, count in counts.most_common(max(vocab_size // 2, 1)))
    return min(0.9995, (frequent - 0.5) / max(sum(counts.values()), 1))


def main() -> int:
    """Read, train, write; a refusal by SentencePiece becomes one line without the places in its sources."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    text = sys.stdin.buffer.read()
    try:
        model_bytes = train(text, int(sys.argv[1]))
    except (RuntimeError, OSError) as error:
        print(_SOURCE_PLACE.sub("", str(error)) or "it is too short", file=sys.stderr)
        return REFUSED_SAMPLE
    sys.stdout.buffer.write(model_bytes)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
