"""Abbreviations of a corpus: words that a period follows inside sentences."""

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache

from gru_complete.text.corpus import BLOCK_BYTES
from gru_complete.text.letters import mark_class


def find_abbreviations(blocks: Iterable[bytes]) -> list[str]:
    """Find the short words that a period follows without ending a sentence, like "Mr".

    The idea is Punkt's (Kiss and Strunk 2006, doi:10.1162/coli.2006.32.4.485): an abbreviation and its period belong
    together. Here: words of 2 to 5 letters and marks, seen at least 10 times, of which 90 % are directly followed by a
    period, white space and a letter on the same line. Single letters are always treated as abbreviations. Only words
    with capitals or small letters count: elsewhere the verbs that end sentences would (Korean 있다., Hindi है.).

    Args:
        blocks: text, of which the first 16 MiB are used.

    Returns:
        At most 200 words, the most frequent first.
    """
    words: Counter[str] = Counter()
    abbreviated: Counter[str] = Counter()
    for text in whole_lines(first_bytes(blocks, _ABBREVIATION_BYTES)):
        word, word_and_period = _patterns(mark_class() if _has_marks(text) else "")
        words.update(word.findall(text))
        abbreviated.update(word_and_period.findall(text))
        if len(words) > _MAX_WORDS_COUNTED:
            words = Counter(dict(words.most_common(_MAX_WORDS_COUNTED // 2)))
            abbreviated = Counter({word: count for word, count in abbreviated.items() if word in words})
    frequent = [
        (count, word)
        for word, count in abbreviated.items()
        if words[word] >= 10 and count >= 0.9 * words[word] and word.lower() != word.upper()
    ]
    return [word for _, word in sorted(frequent, key=lambda pair: (-pair[0], pair[1]))[:200]]


def _has_marks(text: str) -> bool:
    return _BEYOND_LATIN.search(text) is not None and re.search(f"[{mark_class()}]", text) is not None


_BEYOND_LATIN = re.compile("[\u0300-\u1fff\u20d0-\u20ff\u2ce0-\U0010ffff]")  # where marks may be: found faster


@lru_cache
def _patterns(marks: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A short word, and one with a period after which the sentence may go on; slower if words may have marks."""
    letter = r"[^\W\d_]"
    if not marks:
        return re.compile(rf"\b{letter}{{2,5}}\b"), re.compile(rf"\b{letter}{{2,5}}(?=\.[ \t]+{letter})")
    word = rf"(?<![\w{marks}]){letter}(?:{letter}|[{marks}]){{1,4}}"
    return re.compile(rf"{word}(?![\w{marks}])"), re.compile(rf"{word}(?=\.[ \t]+{letter})")


_MAX_WORDS_COUNTED = 200_000
_ABBREVIATION_BYTES = 16 << 20


def first_bytes(blocks: Iterable[bytes], num_bytes: int) -> Iterator[bytes]:
    """The first ``num_bytes`` of a text."""
    for block in blocks:
        yield block[:num_bytes]
        num_bytes -= len(block)
        if num_bytes <= 0:
            return


def whole_lines(blocks: Iterable[bytes]) -> Iterator[str]:
    """Decode blocks and cut them at line ends, if there are any."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    carry = ""
    for block in blocks:
        text = carry + decoder.decode(block)
        cut = text.rfind("\n") + 1
        if cut == 0 and len(text) > BLOCK_BYTES:  # a giant line: a word at the cut may be missed
            cut = len(text)
        carry = text[cut:]
        yield text[:cut]
    yield carry + decoder.decode(b"", True)
