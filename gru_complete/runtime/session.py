"""A text while it is typed: the contexts read so far are kept, so that each key costs a few steps of the model.

A key that goes on with the text reads one byte more; a backspace goes back to a context that was kept and reads on from
there. Both answer as reading the whole text anew would.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from gru_complete.runtime import wordbreaks
from gru_complete.runtime.completer import Completer, Context
from gru_complete.runtime.options import CompletionOptions, SamplingOptions
from gru_complete.runtime.words import Word, likeliest_words

OFFERED_WORDS = 5
"""Words that are offered at most: what can be read at a glance."""
OFFERED_TOKENS = 16
"""Tokens that are drawn for them at most, so that an offer takes milliseconds."""
CANDIDATES = 6
_EXPANSIONS = 24  # of the search for them: what a key may cost
_LEAST_PROBABILITY = 0.001  # of a candidate that is shown

_BEFORE_WORD = wordbreaks.State(wordbreaks.BEFORE, b"")
_WORD = re.compile(r"\s*\S+")

_BLOCK_BYTES = 1024  # of a long text between two looks at whether its offer is still wanted
_LAST_BLOCK_BYTES = 128  # near the text's end, where backspaces come
_MOST_KEPT = 128  # contexts; then every second of the older half is forgotten


class Stale(Exception):
    """The text has changed since; what was asked about it is no longer wanted."""


class Candidate(NamedTuple):
    """A word that may come next.

    Attributes:
        word: the whole word, with its letters that are typed already.
        rest: what follows the text so far.
        probability: that this word comes next.
    """

    word: str
    rest: str
    probability: float


def _never() -> bool:
    return False


class TypingSession:
    """Answers, for a text that changes by a few characters at a time, what may follow it.

    Args:
        completer: the model.
        options: where an offer ends; it is greedy whatever they say of sampling.
        before: a text that was read already and comes before what is typed; nothing, if omitted.
    """

    def __init__(self, completer: Completer, options: CompletionOptions, before: Context | None = None) -> None:
        self._completer = completer
        self._options = options.changed(
            max_tokens=min(options.max_tokens, OFFERED_TOKENS),
            sampling=SamplingOptions(temperature=0),
            beam=0,
        )
        self._text = b""
        self._lengths = [0]
        self._contexts = [completer.read(b"", None if before is None else _forked(before))]

    def context(self, text: bytes, is_stale: Callable[[], bool] = _never) -> Context:
        """Read a text, from where it departs from the one read before.

        Args:
            text: all that is typed.
            is_stale: asked now and then whether the answer is still wanted.

        Raises:
            Stale: it is not. What was read until then is kept.
        """
        kept = bisect_right(self._lengths, common_prefix_length(self._text, text))
        del self._lengths[kept:], self._contexts[kept:]
        self._text = text[: self._lengths[-1]]
        while (start := self._lengths[-1]) < len(text):
            if is_stale():
                raise Stale
            is_near_end = len(text) - start <= 2 * _BLOCK_BYTES
            end = min(len(text), start + (_LAST_BLOCK_BYTES if is_near_end else _BLOCK_BYTES))
            self._contexts.append(self._completer.read(text[start:end], _forked(self._contexts[-1])))
            self._lengths.append(end)
            self._text = text[:end]
            if len(self._lengths) > _MOST_KEPT:
                del self._lengths[1 : _MOST_KEPT // 2 : 2], self._contexts[1 : _MOST_KEPT // 2 : 2]
        return self._contexts[-1]

    def offer(self, text: bytes, is_stale: Callable[[], bool] = _never) -> str:
        """Continue a text greedily: a few words, to the end of the line or where the options end it.

        Bytes that are no UTF-8 (the rest of a character that the text breaks off in) come as Python's surrogates.

        Raises:
            Stale: the answer is no longer wanted.
        """
        stream = self._completer.stream(self.context(text, is_stale), self._options)
        written = ""
        for piece in stream:
            written += _text(piece)
            if len(offered := first_words(written)) < len(written):
                return offered
            if is_stale():
                raise Stale
        is_cut = stream.result is not None and stream.result.stop_reason == "max_tokens"
        return (_without_last_word(written) if is_cut else written).rstrip()

    def candidates(self, text: bytes, is_stale: Callable[[], bool] = _never) -> list[Candidate]:
        """The likeliest words that finish the word begun, or start the next, the likeliest first.

        Raises:
            Stale: the answer is no longer wanted.
        """
        context = self.context(text, is_stale)
        hypotheses = self._completer.hypotheses(context)
        found = [_candidate(word) for word in likeliest_words(hypotheses, CANDIDATES, max_expansions=_EXPANSIONS)]
        space = float(hypotheses.next_bytes()[ord(" ")])
        if is_stale():
            raise Stale
        if len(found) < CANDIDATES or space > found[-1].probability:  # the word typed may be finished
            after_space = self._completer.hypotheses(self._completer.read(b" ", _forked(context)))
            found += [
                _candidate(word, " ", space)
                for word in likeliest_words(after_space, CANDIDATES, max_expansions=_EXPANSIONS)
            ]
        offered = [candidate for candidate in found if candidate.rest and candidate.probability >= _LEAST_PROBABILITY]
        return sorted(offered, key=lambda candidate: -candidate.probability)[:CANDIDATES]


def _candidate(found: Word, before: str = "", probability: float = 1.0) -> Candidate:
    """A word found after text that is not typed yet, which has this probability."""
    return Candidate(_text(found.word), before + _text(found.completion), probability * found.probability)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _forked(context: Context) -> Context:
    """The same context, so that reading on from it leaves it as it is."""
    return context if context.overlay is None else context._replace(overlay=context.overlay.fork())


def common_prefix_length(one: bytes, other: bytes) -> int:
    """How many bytes two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # slices are compared far more quickly than bytes one by one
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def first_word(text: str) -> str:
    """The first word with white space before it and what sticks to it; in scripts without spaces one character."""
    match = _WORD.match(text)
    if match is None:
        return text
    word = match[0]
    start = len(word) - len(word.lstrip())
    alone = next((index for index in range(start, len(word)) if _stands_alone(word[index])), len(word))
    return word[: max(alone, start + 1)]


def _stands_alone(character: str) -> bool:
    """Whether a character is of a script that puts no spaces between words."""
    return isinstance(wordbreaks.read(_BEFORE_WORD, character.encode("utf-8", "surrogateescape")), wordbreaks.End)


def first_words(text: str) -> str:
    """The first ``OFFERED_WORDS`` words, none from beyond the line's end; a newline before the first is passed over."""
    end = 0
    for index, match in enumerate(_WORD.finditer(text)):
        if index == OFFERED_WORDS or (index and "\n" in match[0]):
            return text[:end]
        end = match.end()
    return text


def _without_last_word(text: str) -> str:
    """Leave out a last word that may not be finished, unless there is no other."""
    words = _WORD.findall(text)
    return "".join(words[:-1]) if len(words) > 1 else text
