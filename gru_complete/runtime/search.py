"""The most likely texts: beam search, and completions that differ instead of the same one several times.

A beam holds the most likely texts of equally many tokens. Each is continued by every token, and the most likely of the
results are the next beam. These are texts, not token sequences: continuations with the same bytes are merged, and their
probabilities are added (what follows is then predicted after the more likely of their segmentations). A text that has
come to its end (``boundaries.py``, the document end, or its length) leaves the beam. Its probability is that of the
text *and* its end: of all tokens together that would show it to be past the end, not of one of them.

Every token makes a text less likely, so long texts would always lose. Texts are therefore compared by log probability
divided by a power of their length (Wu et al. 2016, arXiv:1609.08144, equation 14).

Shapes: V vocab_size, D distinct texts that may come next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np

from gru_complete.arrays import FloatArray, IntArray
from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime.boundaries import TextCutter
from gru_complete.runtime.characters import CompletionEncoder, is_complete
from gru_complete.runtime.constraints import without
from gru_complete.runtime.continuations import Continuations
from gru_complete.runtime.draft import unfinished_word
from gru_complete.runtime.first_tokens import FirstTokens
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.predictor import DecoderState, Predictor
from gru_complete.runtime.prompt_state import PromptState
from gru_complete.runtime.repeats import repeating
from gru_complete.runtime.sampling import damaged_scores
from gru_complete.runtime.vocabulary import Vocabulary

if TYPE_CHECKING:
    from gru_complete.runtime.novel import NovelGuard


LENGTH_POWER = 0.65  # Wu et al. found 0.6 to 0.7 best
CANDIDATES = 8  # continuations examined for each text of the beam: many of them end it, or give the same text
TRIES = 10  # completions drawn for each one requested before the search for different ones is given up


class FoundText(NamedTuple):
    """A finished text.

    Attributes:
        data: the completion, UTF-8.
        tokens: the number of tokens in its most likely segmentation, including those past its end.
        log_probability: natural, of the text and its end, at temperature 1 and before all filters, summed over the
            segmentations that the search met.
        score: the log probability over a power of the length; texts are compared by it.
        stop_reason: "until", "stop", "max_tokens", "document_end" or "novel".
    """

    data: bytes
    tokens: int
    log_probability: float
    score: float
    stop_reason: str


class SearchStart(NamedTuple):
    """Where a search starts: the end of a prompt, and what may come first.

    Attributes:
        texts: what the first token may add to the prompt, D byte strings; b"" is the document end.
        log_probabilities: of each, ``(D,)``; -inf where it may not come.
        behind: returns, for the index of a text, where the most likely token that adds it begins, and that token.
        pending: the first bytes of a character that the prompt does not finish.
        tail: the last characters of the prompt, without those bytes; ``no_repeat`` counts them.
        overlay: what was learnt from the prompt.
    """

    texts: Sequence[bytes]
    log_probabilities: FloatArray
    behind: Callable[[int], tuple[DecoderState, int]]
    pending: bytes = b""
    tail: str = ""
    overlay: Overlay | None = None

    @classmethod
    def from_prompt(cls, prompt: PromptState, first_tokens: FirstTokens, mask: FloatArray) -> SearchStart:
        """Start after a prompt.

        Args:
            prompt: what is continued.
            first_tokens: what may come first.
            mask: added to their log probabilities, ``(D,)``: 0 where a text may come, -inf where it may not.
        """

        def behind(index: int) -> tuple[DecoderState, int]:
            choice = max(first_tokens.choices(index), key=lambda choice: choice.share)
            return first_tokens.rows[choice.row].decoder_state, choice.token

        log_probabilities = first_tokens.log_probabilities + mask
        return cls(first_tokens.texts, log_probabilities, behind, prompt.pending, prompt.whole_tail, prompt.overlay)


def beam_search(
    predictor: Predictor,
    vocabulary: Vocabulary,
    start: SearchStart,
    *,
    cutter: TextCutter,
    options: CompletionOptions,
    guard: NovelGuard | None = None,
) -> list[FoundText]:
    """Find the most likely completions.

    Args:
        predictor: the model.
        vocabulary: its tokens.
        start: the end of the prompt.
        cutter: finds the end of a completion that follows the prompt; not changed.
        options: only ``max_tokens``, ``beam`` and ``no_repeat`` count.
        guard: keeps the completions from copying the corpus, if anything does.

    Returns:
        ``options.beam`` different texts, or fewer if there are no more, the best first.

    Raises:
        ModelError: the model's scores are not finite.
    """
    finished = _Finished(options.beam, start.pending)
    num_words = options.words_not_repeated
    prompt = start.tail.encode() + start.pending
    word_prefix = unfinished_word(prompt)
    root = _Beam(0.0, 0, "", start.pending, prompt, cutter)
    # 1. The first token, by the text it adds.
    beams, steps = _extend([root], [start.log_probabilities], Continuations(start.texts), num_words, finished)
    ends = [start.behind(place) for _, place in steps]  # for each beam, where its last token begins, and that token
    # 2. Token after token, all beams as the rows of one product.
    for _ in range(1, options.max_tokens):
        if not beams or finished.beats(beams[0]):
            break
        decoder_states = predictor.step_many([before for before, _ in ends], [token for _, token in ends])
        scores = predictor.log_probabilities(decoder_states, start.overlay)
        rows = [row + vocabulary.masks.after(beam.pending) for row, beam in zip(scores, beams, strict=True)]
        if guard is not None:
            forbidden = [guard.forbidden(word_prefix, beam.written[len(prompt) :]) for beam in beams]
            beams, rows, decoder_states = _without_copies(beams, rows, decoder_states, forbidden, finished)
            if not beams:
                break
        beams, steps = _extend(beams, rows, vocabulary.continuations, num_words, finished)
        ends = [(decoder_states[parent], token) for parent, token in steps]
    # 3. What has not come to its end by then ends here.
    else:
        for beam in beams:
            finished.add(beam, beam.log_probability, beam.tokens, beam.cutter.copy(), "max_tokens")
    return finished.best()


class HasData(Protocol):
    """A completion of some kind."""

    @property
    def data(self) -> bytes:
        """Its text, UTF-8."""
        ...


C = TypeVar("C", bound=HasData)


def distinct(completions: Iterable[C], n: int) -> Iterator[C]:
    """Yield the first n completions whose texts differ; fewer if ``TRIES * n`` of them have no more."""
    seen: set[bytes] = set()
    for completion in islice(completions, TRIES * n):
        if completion.data not in seen:
            seen.add(completion.data)
            yield completion
            if len(seen) == n:
                return


class _Beam(NamedTuple):
    """A text that is not finished; its last token is not read yet."""

    log_probability: float
    tokens: int
    text: str  # the certain part of the completion
    pending: bytes  # the first bytes of an unfinished character
    written: bytes  # the end of the prompt and all bytes that follow it
    cutter: TextCutter  # after the text; a copy is fed


class _Finished:
    """The texts that have come to their end.

    Args:
        width: the number of texts wanted.
        pending: the first bytes of a character that the prompt does not finish.
    """

    def __init__(self, width: int, pending: bytes) -> None:
        self.width = width
        self._pending = pending
        self._texts: dict[bytes, FoundText] = {}

    def add(
        self, beam: _Beam, log_probability: float, tokens: int, cutter: TextCutter, reason: str, certain: str = ""
    ) -> None:
        """Add a text that has ended.

        Args:
            beam: the text before its last token.
            log_probability: including its end.
            tokens: including its end.
            cutter: after the end.
            reason: why it ended, if the cutter does not know.
            certain: what the cutter has let through since.
        """
        text = beam.text + certain
        if cutter.reason is None:
            text += cutter.finish()
        reason = cutter.reason or reason
        data = CompletionEncoder(self._pending).encode(text)
        same = self._texts.get(data)
        if same is not None:
            if same.log_probability >= log_probability:
                tokens, reason = same.tokens, same.stop_reason
            log_probability = float(np.logaddexp(log_probability, same.log_probability))
        score = _score(log_probability, tokens)
        self._texts[data] = FoundText(data, tokens, log_probability, score, reason)

    def best(self) -> list[FoundText]:
        """Return the best texts, the best first."""
        return sorted(self._texts.values(), key=lambda text: (-text.score, text.data))[: self.width]

    def beats(self, beam: _Beam) -> bool:
        """Whether enough texts are better than this one is so far."""
        best = self.best()
        return len(best) == self.width and best[-1].score >= _score(beam.log_probability, beam.tokens)


def _extend(
    beams: Sequence[_Beam],
    rows: Sequence[FloatArray],
    continuations: Continuations,
    num_words: int,
    finished: _Finished,
) -> tuple[list[_Beam], list[tuple[int, int]]]:
    """Continue each text with everything that may come, and keep the most likely results.

    Args:
        beams: the texts.
        rows: for each, the log probability of each continuation, -inf where it may not come, ``(D,)``.
        continuations: D byte strings.
        num_words: this many words in a row may not occur twice; 0 for no limit.
        finished: receives the texts that end.

    Returns:
        The new texts, and for each of them which text it continues and how: (index of the beam, of the continuation).
    """
    totals = []
    for beam, row in zip(beams, rows, strict=True):
        if not math.isfinite(row.max()):
            raise damaged_scores()
        if not beam.pending:
            row = _without_ends(beam, row, continuations, finished)
            if blocked := repeating(beam.written, num_words, continuations.index):
                row = without(row, blocked)
        totals.append(beam.log_probability + row.astype(np.float64))
    scores = np.concatenate(totals)
    children: dict[bytes, tuple[_Beam, tuple[int, int]]] = {}
    for position in _largest(scores, CANDIDATES * finished.width):
        parent, place = divmod(int(position), len(continuations.texts))
        child = _continued(beams[parent], continuations.texts[place], float(scores[position]), finished)
        if child is None:
            continue
        if child.written in children:
            same, step = children[child.written]
            total = float(np.logaddexp(same.log_probability, child.log_probability))
            children[child.written] = same._replace(log_probability=total), step
        elif len(children) < finished.width:
            children[child.written] = child, (parent, place)
    best = sorted(children.values(), key=lambda pair: -pair[0].log_probability)
    return [beam for beam, _ in best], [step for _, step in best]


def _without_copies(
    beams: Sequence[_Beam],
    rows: Sequence[FloatArray],
    decoder_states: Sequence[DecoderState],
    forbidden: Sequence[Sequence[int]],
    finished: _Finished,
) -> tuple[list[_Beam], list[FloatArray], list[DecoderState]]:
    """Forbid tokens; a text that has none left ends.

    Args:
        beams: the texts.
        rows: for each, the log probabilities of the tokens, ``(V,)``.
        decoder_states: for each, where it ends.
        forbidden: for each, the tokens that may not come.
        finished: receives the texts that end.

    Returns:
        What is left of ``beams``, ``rows`` and ``decoder_states``.
    """
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
    """Return the beam with more text; None if it came to its end, and ``finished`` received it."""
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
    """Finish the text by all continuations together whose first character is past its end; return the others' row.

    Any single token that may begin the next sentence is unlikely; that one of them comes may be all but certain.
    """
    chances: FloatArray = np.bincount(continuations.first, np.exp(row), len(continuations.characters)).astype(float)
    chances[0] = 0
    for number in _largest(chances, CANDIDATES):
        cutter = beam.cutter.copy()
        character = continuations.characters[number]
        certain = cutter.feed(character)
        # A word without spaces may end after the character; that depends on the rest of each continuation.
        if cutter.reason and not certain.endswith(character) and chances[number] > 0:
            total = beam.log_probability + math.log(chances[number])
            finished.add(beam, total, beam.tokens + 1, cutter, cutter.reason, certain)
            row = np.where(continuations.first == number, -np.inf, row)
    return row


def _largest(scores: FloatArray, count: int) -> IntArray:
    """Return the indices of the largest scores above -inf, the largest first, equals in order."""
    if count < len(scores):
        indices = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    else:
        indices = np.arange(len(scores))
    indices = indices[scores[indices] > -np.inf]
    return indices[np.argsort(-scores[indices], kind="stable")][:count]


def _score(log_probability: float, tokens: int) -> float:
    return log_probability / math.pow((5 + tokens) / 6, LENGTH_POWER)
