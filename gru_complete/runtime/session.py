"""A text while it is typed: the contexts read so far are kept, so that each key costs a few steps of the model.

A key that goes on with the text reads one byte more; a backspace goes back to a context that was kept and reads on from
there. Both answer as reading the whole text anew would. Within a word, what the model has said of its segmentations
(``segmentation.py``) is kept too, so that a key asks for the few that it adds.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gru_complete.arrays import FloatArray
from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime import wordbreaks
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions, SamplingOptions
from gru_complete.runtime.predictor import DecoderState, Predictor
from gru_complete.runtime.prompt_state import PromptState
from gru_complete.runtime.segmentation import Hypotheses
from gru_complete.runtime.words import Word, likeliest_words

SUGGESTED_WORDS = 5
"""Words that are offered at most: what can be read at a glance."""
SUGGESTED_TOKENS = 16
"""Tokens that are drawn for them at most, so that an offer takes milliseconds."""
CANDIDATES = 6
_EXPANSIONS = 24  # of the search for them: what a key may cost
_MIN_PROBABILITY = 0.001  # of a candidate that is shown

_BEFORE_WORD = wordbreaks.State(wordbreaks.BEFORE, b"")
_WORD = re.compile(r"\s*\S+")

_BLOCK_BYTES = 128  # between places where contexts are kept; a backspace reads no more than that again
_FINE_BYTES = 16  # the same near the text's end, where the next backspaces come
_NEAR_BYTES = 2 * _BLOCK_BYTES  # so near the end every context is kept, that of each key too
_MAX_PLACES = 256  # further back; then every second of the older half is forgotten
_MAX_OPENED = 4  # segments whose segmentations are kept


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


class _Interruptible(Predictor):
    """A model that is asked no further once its answer is not wanted: then it raises ``Stale``.

    Attributes:
        is_stale: asked before each prediction whether that is so.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor.stepper, predictor.mixture)
        self.is_stale: Callable[[], bool] = _never

    def log_probabilities(
        self, decoder_states: Sequence[DecoderState], overlay: Overlay | Sequence[Overlay | None] | None = None
    ) -> FloatArray:
        """As the model says."""
        self._check()
        return super().log_probabilities(decoder_states, overlay)

    def scores(self, decoder_state: DecoderState, overlay: Overlay | None = None) -> FloatArray:
        """As the model says."""
        self._check()
        return super().scores(decoder_state, overlay)

    def _check(self) -> None:
        if self.is_stale():
            raise Stale


class TypingSession:
    """Answers, for a text that changes by a few characters at a time, what may follow it.

    Args:
        completer: the model.
        options: where an offer ends; it is greedy whatever they say of sampling.
        before: a text that was read already and comes before what is typed; nothing, if omitted.
    """

    def __init__(self, completer: Completer, options: CompletionOptions, before: PromptState | None = None) -> None:
        self._predictor = _Interruptible(completer.predictor)
        self._completer = completer.with_predictor(self._predictor)
        self._options = options.changed(
            max_tokens=min(options.max_tokens, SUGGESTED_TOKENS),
            sampling=SamplingOptions(temperature=0),
            beam=0,
        )
        self._text = b""
        self._lengths = [0]
        self._prompt_states = [completer.read(b"", before)]
        self._opened: list[Hypotheses] = []

    def read(self, text: bytes, is_stale: Callable[[], bool] = _never) -> PromptState:
        """Read a text, from where it departs from the one read before.

        Args:
            text: all that is typed.
            is_stale: asked now and then whether the answer is still wanted.

        Raises:
            Stale: it is not. What was read until then is kept.
        """
        kept = bisect_right(self._lengths, common_prefix_length(self._text, text))
        del self._lengths[kept:], self._prompt_states[kept:]
        self._text = text[: self._lengths[-1]]
        while (start := self._lengths[-1]) < len(text):
            if is_stale():
                raise Stale
            step = _BLOCK_BYTES if len(text) - start > _BLOCK_BYTES else _FINE_BYTES
            end = min(len(text), start - start % step + step)
            self._prompt_states.append(self._completer.read(text[start:end], self._prompt_states[-1]))
            self._lengths.append(end)
            self._text = text[:end]
            if end % _BLOCK_BYTES == 0:
                self._forget_some()
        return self._prompt_states[-1]

    def _forget_some(self) -> None:
        """Keep one context in each block, and fewer far back, so that they are bounded however long the text is."""
        near = bisect_right(self._lengths, self._lengths[-1] - _NEAR_BYTES)
        places = [index for index in range(near) if self._lengths[index] % _BLOCK_BYTES == 0]
        if len(places) > _MAX_PLACES:
            del places[1 : _MAX_PLACES // 2 : 2]
        places += range(near, len(self._lengths))
        self._lengths = [self._lengths[index] for index in places]
        self._prompt_states = [self._prompt_states[index] for index in places]

    def _hypotheses(self, prompt_state: PromptState) -> Hypotheses:
        """The segmentations of the last segment, which share what is known of others that begin where it does."""
        known = next((one for one in self._opened if one.start is prompt_state.decoder_state), None)
        opened = self._completer.hypotheses(prompt_state) if known is None else known.for_segment(prompt_state.segment)
        self._opened = [opened, *(one for one in self._opened if one is not known)][:_MAX_OPENED]
        return opened

    def suggest(self, text: bytes, is_stale: Callable[[], bool] = _never) -> str:
        """Continue a text greedily: a few words, to the end of the line or where the options end it.

        Bytes that are no UTF-8 (the rest of a character that the text breaks off in) come as Python's surrogates.

        Raises:
            Stale: the answer is no longer wanted.
        """
        self._predictor.is_stale = is_stale
        prompt_state = self.read(text, is_stale)
        stream = self._completer.stream(prompt_state, self._options, self._hypotheses(prompt_state))
        written = ""
        for piece in stream:
            written += _text(piece)
            if len(suggested := first_words(written)) < len(written):
                return suggested
            if is_stale():
                raise Stale
        is_cut = stream.result is not None and stream.result.stop_reason == "max_tokens"
        return (_without_last_word(written) if is_cut else written).rstrip()

    def candidates(self, text: bytes, is_stale: Callable[[], bool] = _never) -> list[Candidate]:
        """The likeliest words that finish the word begun, or start the next, the likeliest first.

        Raises:
            Stale: the answer is no longer wanted.
        """
        self._predictor.is_stale = is_stale
        hypotheses = self._hypotheses(self.read(text, is_stale))
        found = [_candidate(word) for word in likeliest_words(hypotheses, CANDIDATES, max_expansions=_EXPANSIONS)]
        space = float(hypotheses.next_bytes()[ord(" ")])
        if len(found) < CANDIDATES or space > found[-1].probability:  # the word typed may be finished
            after_space = self._hypotheses(self.read(text + b" ", is_stale))
            found += [
                _candidate(word, " ", space)
                for word in likeliest_words(after_space, CANDIDATES, max_expansions=_EXPANSIONS)
            ]
        suggested = [candidate for candidate in found if candidate.rest and candidate.probability >= _MIN_PROBABILITY]
        return sorted(suggested, key=lambda candidate: -candidate.probability)[:CANDIDATES]


def _candidate(found: Word, before: str = "", probability: float = 1.0) -> Candidate:
    """A word found after text that is not typed yet, which has this probability."""
    return Candidate(_text(found.word), before + _text(found.completion), probability * found.probability)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


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
        if index == SUGGESTED_WORDS or (index and "\n" in match[0]):
            return text[:end]
        end = match.end()
    return text


def _without_last_word(text: str) -> str:
    """Leave out a last word that may not be finished, unless there is no other."""
    words = _WORD.findall(text)
    return "".join(words[:-1]) if len(words) > 1 else text
