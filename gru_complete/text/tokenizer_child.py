"""The child process of ``train_tokenizer``: text on standard input, a SentencePiece model on standard output."""

import io
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator

import sentencepiece

from gru_complete.text.sentencepiece_model import FIRST_PIECE
from gru_complete.text.tokenizer import SPACE_MARK, TAB_MARK, segments

REFUSED_SAMPLE = 3  # the exit code if SentencePiece refuses the sample
NUM_THREADS = 2  # fixed: sums in another order would give another vocabulary on another machine
MAX_WORDS = 100_000
ALPHABET_SHARE = 0.9995  # of the text; rarer characters stay bytes
# The two marks, the character for which SentencePiece drops a sentence (U+2585), NUL and bytes that are no UTF-8.
_NOT_FOR_TRAINING = re.compile(f"[{SPACE_MARK}{TAB_MARK}\u2585\0\udc80-\udcff]+")
_SOURCE_PLACE = re.compile(r"^.*?\.cc\(\d+\)\s*(\[.*?\])?\s*", re.DOTALL)


def train(text: bytes, vocab_size: int) -> bytes:
    """Train a unigram model (Kudo 2018, arXiv:1804.10959) and return it serialised.

    Every segment is a word of its own: training joins nothing that encoding will never join.

    Args:
        text: the sample.
        vocab_size: pieces besides the bytes and the document end; fewer if the sample does not have that many.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=_repeated_rows(_word_table(text, vocab_size)),
        input_format="tsv",
        model_writer=model,
        model_type="unigram",
        vocab_size=vocab_size + FIRST_PIECE,
        hard_vocab_limit=False,
        character_coverage=1.0,
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


def _word_table(text: bytes, vocab_size: int) -> list[tuple[str, int]]:
    """Words and how often they occur, the most frequent first.

    They are cut at characters that stay bytes: the rarest, and those that do not fit into half of the vocabulary. Only
    the first ``MAX_WORDS`` are kept, so that a text of ever new words takes bounded memory. To save time, take a
    smaller sample, not a lower limit: without the rare words, the pieces fit the frequent ones too closely.
    """
    words = Counter(word for segment in segments(text) for word in _clean_words(segment))
    chars: Counter[str] = Counter()
    for word, count in words.items():
        for char in word:
            chars[char] += count
    wanted = ALPHABET_SHARE * sum(chars.values())
    alphabet = ""
    for char, count in chars.most_common(max(vocab_size // 2, 1)):
        if wanted > 0:
            alphabet += char
        wanted -= count
    in_alphabet = re.compile(f"[{re.escape(alphabet)}]+") if alphabet else _NOT_FOR_TRAINING
    table: Counter[str] = Counter()
    for word, count in words.items():
        for part in in_alphabet.findall(word):
            table[part] += count
    return sorted(table.items(), key=lambda item: (-item[1], item[0]))[:MAX_WORDS]


def _clean_words(segment: bytes) -> Iterator[str]:
    word = segment.decode("utf-8", "surrogateescape")
    return (part.replace("\t", TAB_MARK) for part in _NOT_FOR_TRAINING.split(word) if part)


def _repeated_rows(table: list[tuple[str, int]]) -> Iterator[str]:
    """The table as SentencePiece reads it, a text and its count per row; the counts of each word add up.

    Only a string that different characters follow can become a piece (a node of the suffix tree). So a word that occurs
    twice or more is given once before another word that begins with a space, at which SentencePiece cuts, and otherwise
    at the end of a row.
    """
    left = dict(table)
    followers = (word for word, count in table if re.match(r" \S", word) for _ in range(count // 2))
    for word, count in table:
        if count > 1 and (follower := next(followers, None)):
            left[word] -= 1
            left[follower] -= 1
            yield f"{word}{follower}\t1"
    for word, count in left.items():
        if count:
            yield f"{word}\t{count}"


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
