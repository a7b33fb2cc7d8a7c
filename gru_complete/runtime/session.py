"""A text while it is typed: the states read so far are kept, so that each key costs a few steps of the model.

A key that extends the text reads one more byte; a backspace returns to a state that was kept and reads on from there.
Both give the same answers as reading the whole text again. Within a word, what the model has predicted for its
segmentations (``segmentation.py``) is kept too, so that a key needs predictions only for the few that it adds.
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
from gru_complete.runtime.words import Word, most_likely_words
from gru_complete.text.letters import is_mark
from gru_complete.text.prompts import read_typed

SUGGESTED_WORDS = 5
"""The most words of a suggestion: what can be read at a glance."""
SUGGESTED_TOKENS = 16
"""The most tokens drawn for it, so that a suggestion takes milliseconds."""
CANDIDATES = 6
"""The most words listed."""
_EXPANSIONS = 24  # the most boundaries that the search for words expands: what a key may cost
_MIN_PROBABILITY = 0.001  # of a word that is listed

_WORD = re.compile(r"\s*\S+")

_BLOCK_BYTES = 128  # between places where states are kept; a backspace reads no more than that again
_FINE_BYTES = 16  # the same near the end of the text, where the next backspaces happen
_NEAR_BYTES = 2 * _BLOCK_BYTES  # within this distance of the end every state is kept, also that of each key
_MAX_PLACES = 256  # farther back; above it, every second state of the older half is dropped
_MAX_OPENED = 4  # segments whose segmentations are kept


class Stale(Exception):
    """The text has changed in the meantime; the answer is no longer needed."""


class Candidate(NamedTuple):
    """A word that may come next.

    Attributes:
        word: the whole word, including the letters typed already.
        rest: what follows the text so far.
        probability: that this word comes next.
    """

    word: str
    rest: str
    probability: float


def _never() -> bool:
    return False


class _Interruptible(Predictor):
    """A model that raises ``Stale`` instead of predicting when its answer is no longer needed.

    Attributes:
        is_stale: called before each prediction.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor.stepper, predictor.mixture)
        self.is_stale: Callable[[], bool] = _never

    def log_probabilities(
        self, decoder_states: Sequence[DecoderState], overlay: Overlay | Sequence[Overlay | None] | None = None
    ) -> FloatArray:
        """Do what ``Predictor`` does, unless the answer is stale."""
        self._check()
        return super().log_probabilities(decoder_states, overlay)

    def scores(self, decoder_state: DecoderState, overlay: Overlay | None = None) -> FloatArray:
        """Do what ``Predictor`` does, unless the answer is stale."""
        self._check()
        return super().scores(decoder_state, overlay)

    def _check(self) -> None:
        if self.is_stale():
            raise Stale


class TypingSession:
    """Predicts what may follow a text that changes by a few characters at a time.

    Args:
        completer: the model.
        options: where a suggestion ends. It is greedy, whatever they say about sampling.
        before: a text that was read already and comes before what is typed; nothing if omitted.
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
        self._states = [completer.read(b"", before)]
        self._opened: list[Hypotheses] = []

    def read(self, text: bytes, is_stale: Callable[[], bool] = _never) -> PromptState:
        """Read a text, from where it differs from the previous one.

        Args:
            text: everything typed so far.
            is_stale: called now and then; True means that the answer is no longer needed.

        Raises:
            Stale: ``is_stale`` returned True. What was read until then is kept.
        """
        text = read_typed(text, self._completer.normal_form)
        kept = bisect_right(self._lengths, common_prefix_length(self._text, text))
        del self._lengths[kept:], self._states[kept:]
        self._text = text[: self._lengths[-1]]
        while (start := self._lengths[-1]) < len(text):
            if is_stale():
                raise Stale
            step = _BLOCK_BYTES if len(text) - start > _BLOCK_BYTES else _FINE_BYTES
            end = min(len(text), start - start % step + step)
            self._states.append(self._completer.read(text[start:end], self._states[-1]))
            self._lengths.append(end)
            self._text = text[:end]
            if end % _BLOCK_BYTES == 0:
                self._forget_some()
        return self._states[-1]

    def _forget_some(self) -> None:
        """Keep one state in each block, and fewer far back, so that their number is bounded for any length of text."""
        near = bisect_right(self._lengths, self._lengths[-1] - _NEAR_BYTES)
        places = [index for index in range(near) if self._lengths[index] % _BLOCK_BYTES == 0]
        if len(places) > _MAX_PLACES:
            del places[1 : _MAX_PLACES // 2 : 2]
        places += range(near, len(self._lengths))
        self._lengths = [self._lengths[index] for index in places]
        self._states = [self._states[index] for index in places]

    def _hypotheses(self, prompt_state: PromptState) -> Hypotheses:
        """The segmentations of the last segment, which share predictions with others that begin at the same place."""
        start = prompt_state.decoder_state
        kept = next((hypotheses for hypotheses in self._opened if hypotheses.start is start), None)
        opened = self._completer.hypotheses(prompt_state) if kept is None else kept.for_segment(prompt_state.segment)
        self._opened = [opened, *(hypotheses for hypotheses in self._opened if hypotheses is not kept)][:_MAX_OPENED]
        return opened

    def suggest(self, text: bytes, is_stale: Callable[[], bool] = _never) -> str:
        """Continue a text greedily: a few words, to the end of the line or where the options end it.

        Bytes that are not UTF-8 (the rest of a character within which the text ends) are returned as Python's
        surrogates.

        Args:
            text: everything typed so far.
            is_stale: as in ``read``.

        Raises:
            Stale: the answer is no longer needed.
            ModelError: the model's scores are not finite.
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
        """Return the most likely words that finish the current word or start the next one, the most likely first.

        Args:
            text: everything typed so far.
            is_stale: as in ``read``.

        Raises:
            Stale: the answer is no longer needed.
            ModelError: the model's scores are not finite.
        """
        self._predictor.is_stale = is_stale
        hypotheses = self._hypotheses(self.read(text, is_stale))
        words = [_candidate(word) for word in most_likely_words(hypotheses, CANDIDATES, max_expansions=_EXPANSIONS)]
        # Only within a word are the words after a space not among them: the word typed may be finished.
        is_in_word = wordbreaks.word_prefix(hypotheses.segment)[1].place == wordbreaks.INSIDE
        space = float(hypotheses.next_bytes()[ord(" ")]) if is_in_word else 0.0
        if is_in_word and (len(words) < CANDIDATES or space > words[-1].probability):
            after_space = self._hypotheses(self.read(text + b" ", is_stale))
            words += [
                _candidate(word, " ", space)
                for word in most_likely_words(after_space, CANDIDATES, max_expansions=_EXPANSIONS)
            ]
        listed = [candidate for candidate in words if candidate.rest and candidate.probability >= _MIN_PROBABILITY]
        return sorted(listed, key=lambda candidate: -candidate.probability)[:CANDIDATES]


def _candidate(word: Word, before: str = "", probability: float = 1.0) -> Candidate:
    """A word that follows text which is not typed yet and has this probability."""
    return Candidate(_text(word.word), before + _text(word.completion), probability * word.probability)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def common_prefix_length(first: bytes, second: bytes) -> int:
    """Return the number of bytes with which both texts begin."""
    low, high = 0, min(len(first), len(second))
    while low < high:  # comparing slices is far faster than comparing bytes
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def first_word(text: str) -> str:
    """Return the first word, with white space before it and punctuation next to it.

    Without spaces between words, it is the first character with its marks.
    """
    match = _WORD.match(text)
    if match is None:
        return text
    word = match[0]
    start = len(word) - len(word.lstrip())
    end = next((index for index in range(start, len(word)) if wordbreaks.is_piece(word[index])), len(word))
    if end > start:
        return word[:end]
    return next((word[:index] for index in range(start + 1, len(word)) if not is_mark(word[index])), word)


def first_words(text: str) -> str:
    """Return the first ``SUGGESTED_WORDS`` words, none after the end of the line; a newline may come before them."""
    end = 0
    for index, match in enumerate(_WORD.finditer(text)):
        if index == SUGGESTED_WORDS or (index and "\n" in match[0]):
            return text[:end]
        end = match.end()
    return text


def _without_last_word(text: str) -> str:
    """Leave out the last word, which may be unfinished, unless it is the only one."""
    words = _WORD.findall(text)
    return "".join(words[:-1]) if len(words) > 1 else text
