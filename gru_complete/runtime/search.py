"""The likeliest texts: beam search, and different completions instead of the same one several times.

A beam is the likeliest texts of equally many tokens. Each is continued by every token, and of all that, the likeliest
texts are the next beam: text, not tokens, for candidates of the same bytes are one, and their probabilities are added
(what follows is then predicted after the likelier of their segmentations). A text that has come to its end, by
``boundaries.py``, by the document's end or by length, leaves the beam. Its probability is that of the text *and* its
end: of all tokens together that show it to be past the end, not of one of them.

Every token makes a text less likely, so long texts would always lose. They are compared by log probability over a power
of their length (Wu et al. 2016, arXiv:1609.08144, equation 14).

Shapes: V vocab_size, N texts that may come next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np

from gru_complete.arrays import FloatArray, IntArray
from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime.boundaries import TextCutter
from gru_complete.runtime.characters import CharacterMasks, is_complete
from gru_complete.runtime.draft import unfinished_word
from gru_complete.runtime.first_tokens import FirstTokens
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.predictor import DecoderState, Predictor
from gru_complete.runtime.repeats import places, repeating
from gru_complete.runtime.sampling import damaged_scores, without

if TYPE_CHECKING:
    from gru_complete.runtime.novel import NovelGuard


LENGTH_POWER = 0.65  # Wu et al. found 0.6 to 0.7 best
CANDIDATES = 8  # continuations looked at for each text of the beam: many of them end it, or are the same text
TRIES = 10  # completions drawn for one that is asked for, before there seem to be no others


@dataclass(frozen=True)
class FoundText:
    """A finished text.

    Attributes:
        text: the completion, UTF-8.
        tokens: how many it has in its likeliest segmentation, with those past its end.
        log_probability: natural, of the text and its end: at temperature 1, nothing filtered, summed over the
            segmentations that were met.
        score: the same over a power of the length, by which texts are compared.
        stop_reason: "until", "stop", "max_tokens" or "document_end".
    """

    text: bytes
    tokens: int
    log_probability: float
    score: float
    stop_reason: str


class FirstStep(NamedTuple):
    """What may come first.

    Attributes:
        texts: what each adds to the text, N byte strings; b"" is the document's end.
        log_probabilities: of each, ``(N,)``; -inf where it may not come.
        behind: gives, for one of them, where its likeliest token begins, and that token.
        pending: the first bytes of a character that the text before did not finish.
    """

    texts: Sequence[bytes]
    log_probabilities: FloatArray
    behind: Callable[[int], tuple[DecoderState, int]]
    pending: bytes = b""

    @classmethod
    def from_first_tokens(cls, first_tokens: FirstTokens, mask: FloatArray, pending: bytes) -> FirstStep:
        """Make one of what the segmentations of a text's end say; the mask is 0 where a text may come, else -inf."""

        def behind(index: int) -> tuple[DecoderState, int]:
            choice = max(first_tokens.choices(index), key=lambda choice: choice.share)
            return first_tokens.rows[choice.row].decoder_state, choice.token

        return cls(first_tokens.texts, first_tokens.log_probabilities + mask, behind, pending)


def beam_search(
    predictor: Predictor,
    vocabulary: Continuations,
    masks: CharacterMasks,
    start: FirstStep,
    *,
    before: str,
    cutter: TextCutter,
    overlay: Overlay | None,
    options: CompletionOptions,
    guard: NovelGuard | None = None,
) -> list[FoundText]:
    """Find the likeliest completions.

    Args:
        predictor: the model.
        vocabulary: its tokens.
        masks: which of them may come.
        start: what may come first.
        before: the last characters of the prompt, which ``no_repeat`` looks at.
        cutter: finds the end of a completion that follows the prompt; not changed.
        overlay: what the prompt has said.
        options: of these, ``max_tokens``, ``beam`` and ``no_repeat`` count.
        guard: what keeps the completions from copying the corpus, if anything does.

    Returns:
        ``options.beam`` different texts, or fewer where there are no more, the best first.

    Raises:
        ModelError: the model's scores are not finite.
    """
    finished = _Finished(options.beam, of_prompt=len(start.pending))
    words = options.words_not_repeated
    prompt = before.encode() + start.pending
    root = _Beam(0.0, 0, "", start.pending, prompt, cutter)
    beams, steps = _grown([root], [start.log_probabilities], Continuations(start.texts), words, finished)
    word_prefix = unfinished_word(prompt)
    ends = [start.behind(place) for _, place in steps]
    for _ in range(1, options.max_tokens):
        if not beams or finished.beats(beams[0]):
            break
        decoder_states = predictor.step_many([decoder_state for decoder_state, _ in ends], [token for _, token in ends])
        scores = predictor.log_probabilities(decoder_states, overlay)
        rows = [row + masks.after(beam.pending) for row, beam in zip(scores, beams, strict=True)]
        if guard is not None:
            tokens = [guard.forbidden(word_prefix, beam.written[len(prompt) :]) for beam in beams]
            beams, rows, decoder_states = _without_copies(beams, rows, decoder_states, tokens, finished)
            if not beams:
                break
        beams, steps = _grown(beams, rows, vocabulary, words, finished)
        ends = [(decoder_states[parent], token) for parent, token in steps]
    else:
        for beam in beams:
            finished.add(beam, beam.log_probability, beam.tokens, beam.cutter.copy(), "max_tokens")
    return finished.best()


class HasText(Protocol):
    """A completion of some kind."""

    @property
    def data(self) -> bytes:
        """What it says."""
        ...


C = TypeVar("C", bound=HasText)


def distinct(completions: Iterable[C], n: int) -> Iterator[C]:
    """Yield the first n completions that differ in their text, as they come; fewer if ``TRIES * n`` have no more."""
    seen: set[bytes] = set()
    for completion in islice(completions, TRIES * n):
        if completion.data not in seen:
            seen.add(completion.data)
            yield completion
            if len(seen) == n:
                return


class Continuations:
    """Byte strings that may come next, grouped by their first characters: made once for a vocabulary.

    Args:
        texts: the byte strings, N; b"" for the document's end.

    Attributes:
        texts: the same.
        index: where each is.
        characters: the different first characters; the first is "", for what does not begin with a whole one.
        first: which of them each text begins with, ``(N,)``.
    """

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.texts = texts
        self.index = places(texts)
        numbers = {"": 0}
        begins = [text[:4].decode(errors="ignore")[:1] for text in texts]
        self.first: IntArray = np.array([numbers.setdefault(character, len(numbers)) for character in begins], np.intp)
        self.characters = list(numbers)


class _Beam(NamedTuple):
    """A text that goes on; its last token is not read yet."""

    log_probability: float
    tokens: int
    text: str  # what is certain of the completion
    pending: bytes  # the first bytes of an unfinished character
    written: bytes  # the end of the prompt and all bytes that follow it
    cutter: TextCutter  # after the text; a copy is fed


class _Finished:
    """The texts that have come to their end."""

    def __init__(self, width: int, *, of_prompt: int) -> None:
        self.width = width
        self._of_prompt = of_prompt  # so many bytes of the first character are the prompt's
        self._found: dict[bytes, FoundText] = {}

    def add(
        self, beam: _Beam, log_probability: float, tokens: int, cutter: TextCutter, reason: str, certain: str = ""
    ) -> None:
        """Take a text that has ended.

        Args:
            beam: the text, as it was before the last token.
            log_probability: with its end.
            tokens: likewise.
            cutter: after the end.
            reason: why it ended, if the cutter does not know.
            certain: what the cutter has let through since.
        """
        text = beam.text + certain
        if cutter.reason is None:
            text += cutter.finish()
        reason = cutter.reason or reason
        data = text.encode()[self._of_prompt :]
        same = self._found.get(data)
        if same is not None:
            if same.log_probability >= log_probability:
                tokens, reason = same.tokens, same.stop_reason
            log_probability = float(np.logaddexp(log_probability, same.log_probability))
        score = _score(log_probability, tokens)
        self._found[data] = FoundText(data, tokens, log_probability, score, reason)

    def best(self) -> list[FoundText]:
        """Return the best texts."""
        return sorted(self._found.values(), key=lambda found: (-found.score, found.text))[: self.width]

    def beats(self, beam: _Beam) -> bool:
        """Say whether there are enough texts that are better than this one is so far."""
        best = self.best()
        return len(best) == self.width and best[-1].score >= _score(beam.log_probability, beam.tokens)


def _grown(
    beams: Sequence[_Beam],
    rows: Sequence[FloatArray],
    continuations: Continuations,
    words: int,
    finished: _Finished,
) -> tuple[list[_Beam], list[tuple[int, int]]]:
    """Continue each text with all that may come.

    Args:
        beams: the texts.
        rows: for each, the log probability of each continuation, -inf where it may not come, ``(N,)``.
        continuations: N byte strings.
        words: how many may not be repeated.
        finished: takes the texts that end.

    Returns:
        The likeliest texts, and for each which text it continues and how: (index of the beam, of the continuation).
    """
    totals = []
    for beam, row in zip(beams, rows, strict=True):
        if not math.isfinite(row.max()):
            raise damaged_scores()
        if not beam.pending:
            row = _without_ends(beam, row, continuations, finished)
            if blocked := repeating(beam.written, words, continuations.index):
                row = without(row, blocked)
        totals.append(beam.log_probability + row.astype(np.float64))
    scores = np.concatenate(totals)
    grown: dict[bytes, tuple[_Beam, tuple[int, int]]] = {}
    for position in _largest(scores, CANDIDATES * finished.width):
        parent, place = divmod(int(position), len(continuations.texts))
        beam = beams[parent]
        child = _continued(beam, continuations.texts[place], float(scores[position]), finished)
        if child is None:
            continue
        if child.written in grown:
            same, step = grown[child.written]
            total = float(np.logaddexp(same.log_probability, child.log_probability))
            grown[child.written] = same._replace(log_probability=total), step
        elif len(grown) < finished.width:
            grown[child.written] = child, (parent, place)
    best = sorted(grown.values(), key=lambda pair: -pair[0].log_probability)
    return [beam for beam, _ in best], [step for _, step in best]


def _without_copies(
    beams: Sequence[_Beam],
    rows: Sequence[FloatArray],
    decoder_states: Sequence[DecoderState],
    forbidden: Sequence[Sequence[int]],
    finished: _Finished,
) -> tuple[list[_Beam], list[FloatArray], list[DecoderState]]:
    """Forbid tokens; a text that nothing is left for has come to its end."""
    kept = []
    for beam, row, decoder_state, tokens in zip(beams, rows, decoder_states, forbidden, strict=True):
        row = row.copy()
        row[list(tokens)] = -np.inf
        if tokens and not row.max() > -np.inf:
            finished.add(beam, beam.log_probability, beam.tokens, beam.cutter.copy(), "novel")
        else:
            kept.append((beam, row, decoder_state))
    return [beam for beam, _, _ in kept], [row for _, row, _ in kept], [decoder_state for _, _, decoder_state in kept]


def _continued(beam: _Beam, text: bytes, log_probability: float, finished: _Finished) -> _Beam | None:
    """Return the beam with more text; None if it came to its end, which ``finished`` is told."""
    tokens = beam.tokens + 1
    cutter = beam.cutter.copy()
    if not text:
        finished.add(beam, log_probability, tokens, cutter, "document_end")
        return None
    pending, written = beam.pending + text, beam.written + text
    if not is_complete(pending):
        return _Beam(log_probability, tokens, beam.text, pending, written, beam.cutter)
    certain = cutter.feed(pending.decode())
    if cutter.reason:
        finished.add(beam, log_probability, tokens, cutter, cutter.reason, certain)
        return None
    return _Beam(log_probability, tokens, beam.text + certain, b"", written, cutter)


def _without_ends(beam: _Beam, row: FloatArray, continuations: Continuations, finished: _Finished) -> FloatArray:
    """Finish the text by all continuations at once whose first character is past its end; return the row without them.

    One token of many that may begin the next sentence is unlikely; that one of them comes may be all but certain.
    """
    chances: FloatArray = np.bincount(continuations.first, np.exp(row), len(continuations.characters)).astype(float)
    chances[0] = 0
    for number in _largest(chances, CANDIDATES):
        cutter = beam.cutter.copy()
        certain = cutter.feed(continuations.characters[number])
        if cutter.reason and chances[number] > 0:
            total = beam.log_probability + math.log(chances[number])
            finished.add(beam, total, beam.tokens + 1, cutter, cutter.reason, certain)
            row = np.where(continuations.first == number, -np.inf, row)
    return row


def _largest(scores: FloatArray, count: int) -> IntArray:
    """Return where the largest scores above -inf are, the largest first, of equals the first."""
    if count < len(scores):
        places = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    else:
        places = np.arange(len(scores))
    places = places[scores[places] > -np.inf]
    return places[np.argsort(-scores[places], kind="stable")][:count]


def _score(log_probability: float, tokens: int) -> float:
    return log_probability / math.pow((5 + tokens) / 6, LENGTH_POWER)
