"""What a text is made of, lines or sentences, and how these begin most often."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from gru_complete.text.abbreviations import first_bytes, whole_lines
from gru_complete.text.letters import is_unspaced, mark_class
from gru_complete.text.terminators import SPACED_TERMINATORS, UNSPACED_TERMINATORS, WIDE_FULL_STOPS

READ_BYTES = 1 << 20
"""Of a text, that many bytes say what it is made of."""

FEW_SENTENCES = 0.2  # ends of sentences per line
MANY_PLAIN_LINES = 0.3  # of the lines: they end in no sentence, at no margin, and before no blank line
FEW_BLANK_LINES = 0.02
NEARLY_ALL_LINES = 0.9
MIN_MARGIN = 40  # characters; shorter lines were not broken at a margin
MIN_BEGINNINGS = 3  # a prompt that the text has at least this often, and at least in this share of the lines:
MIN_BEGINNING_SHARE = 0.005
MAX_BEGINNING = 30  # characters

_MARKS = f"[{''.join(sorted(SPACED_TERMINATORS))}]+"
_UNSPACED_MARKS = f"[{''.join(sorted(UNSPACED_TERMINATORS | WIDE_FULL_STOPS))}]+"
_CLOSERS = r"[\"')\]}”’“‘»«›‹」』）】〉》]*"
_SENTENCE_END = re.compile(
    rf"(?:(?<=[\w{mark_class()}\"')\]}}”’»])\s?{_MARKS}{_CLOSERS}(?:\s+|$)|{_UNSPACED_MARKS}{_CLOSERS}\s*)"
)
_LAST_SENTENCE_END = re.compile(_SENTENCE_END.pattern + r"\Z")
_WORD = re.compile(rf"\w[\w{mark_class()}]*")
_FIRST_WORD = re.compile(r"\W*\w\S*\s")
_MARGIN_PERCENTILE = 98
_LONGEST_END = 20  # characters


class Units(NamedTuple):
    """What a text is made of.

    Attributes:
        until: "line" or "sentence": where a completion ends unless it is told otherwise.
        start: the white space before each unit in which the text is written: a newline, or a blank line.
        beginning: how a line or sentence of this text begins most often; empty if none begins like others.
    """

    until: str
    start: str
    beginning: str


def find_units(blocks: Iterable[bytes]) -> Units:
    """Find out whether a text is one of lines, such as a list, a log, a shell history or CSV.

    It is if it has few sentences. It also is if it has hardly a blank line, and either nearly all lines begin with the
    same mark or with a digit, or many lines are plain. In prose, a line ends with a sentence or at the margin, where
    the next word did not fit; a plain line does neither.

    Args:
        blocks: the text, of which the first ``READ_BYTES`` are used.
    """
    text = "".join(whole_lines(first_bytes(blocks, READ_BYTES)))
    lines = [line.rstrip() for line in text.split("\n")]
    until = "line" if _is_of_lines(lines) else "sentence"
    has_paragraphs = until == "sentence" and lines.count("") >= FEW_BLANK_LINES * len(lines)
    start = "\n\n" if has_paragraphs else "\n"
    return Units(until, start, _frequent_beginning(lines if until == "line" else _sentences(lines)))


def _is_of_lines(lines: list[str]) -> bool:
    """Whether a text is one of lines; see ``find_units``."""
    written = [line for line in lines if line]
    num_sentences = sum(len(_SENTENCE_END.findall(line)) for line in written)
    if num_sentences < FEW_SENTENCES * len(written):
        return True
    if len(lines) - len(written) >= FEW_BLANK_LINES * len(lines):
        return False
    first_characters = Counter("0" if line[0].isdecimal() else line[0] for line in written)
    first, number = first_characters.most_common(1)[0]
    if number >= NEARLY_ALL_LINES * len(written) and not (first.isalpha() or first.isspace()):
        return True
    return _count_plain_lines(written) >= MANY_PLAIN_LINES * len(written)


def _count_plain_lines(written: list[str]) -> int:
    """How many lines end neither with a sentence nor at the margin."""
    margin = float(np.percentile([len(line) for line in written], _MARGIN_PERCENTILE))
    number = 0
    for line, following in zip(written, written[1:], strict=False):
        is_broken = margin >= MIN_MARGIN and len(line) + 1 + len(following.split(maxsplit=1)[0]) > margin
        number += not (is_broken or _LAST_SENTENCE_END.search(line[-_LONGEST_END:]))
    return number


def _sentences(lines: list[str]) -> list[str]:
    """The sentences that begin at a line's start after a blank line or another sentence's end, or within a line."""
    found = []
    is_start = True
    for line in lines:
        *finished, rest = _SENTENCE_END.split(line)
        found += finished[not is_start :]
        if rest and (finished or is_start):
            found.append(rest)
        is_start = not rest
    return found


def _frequent_beginning(texts: list[str]) -> str:
    """The first word that most texts begin with, as a prompt; else what most begin with up to their first word."""
    enough = max(MIN_BEGINNINGS, MIN_BEGINNING_SHARE * len(texts))
    for beginning in (_first_word, _up_to_first_word):
        counts = Counter(filter(None, map(beginning, texts)))
        frequent = [(-count, text) for text, count in counts.items() if count >= enough]
        if frequent:
            return min(frequent)[1]
    return ""


def _first_word(text: str) -> str:
    """The first word with all up to the next space, or the first characters where no spaces part words."""
    match = _WORD.search(text)
    if match is None:
        return ""
    if is_unspaced(match[0][0]):
        return text[: match.start() + 2]
    match = _FIRST_WORD.match(text)
    return match[0] if match and len(match[0]) <= MAX_BEGINNING and match[0].isprintable() else ""


def _up_to_first_word(text: str) -> str:
    """What comes before the first letter, and that word: for lines without spaces, such as ``{"id":17}``."""
    match = _WORD.search(text)
    beginning = text[: match.end()][:MAX_BEGINNING] if match else ""
    return beginning if beginning.isprintable() else ""
