"""How much of what a model writes stands word for word in the text it learnt from, beside what people write.

Text that nobody copied has runs of words in common with any other of its kind: set phrases, names, the language itself.
So the figures of generated text mean nothing without those of human text that was held out: the same places, and at
each place the same number of words. The network alone is asked too, since it is the counts that know phrases by heart.

Words and runs are those of ``text/verbatim.py``. Each figure is a mean over texts, which are far apart and so nearly
independent, with its 95 % interval; where all texts agree, every text is a trial with that outcome.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gru_complete.arrays import TokenIds
from gru_complete.errors import CorpusError
from gru_complete.evaluation.intervals import Interval, mean_interval, share_interval
from gru_complete.model.corpus_words import SEEN_PARTS, corpus_words
from gru_complete.model.directory import LoadedModel
from gru_complete.runtime.batch import complete_each
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.draft import unfinished_word
from gru_complete.runtime.options import CompletionOptions
from gru_complete.text.tokenizer import DOCUMENT_END
from gru_complete.text.verbatim import CorpusWords, Hashes, copied_runs, longest_runs, word_hashes

NUM_TEXTS = 50
NUM_TOKENS = 100
RUN_LENGTHS = (4, 8, 12)
PROMPT_TOKENS = 200
"""Read before each place at most."""


@dataclass(frozen=True)
class CopyingStatistics:
    """How much of some texts stands in the corpus.

    Args:
        num_texts: how many.
        num_words: of all of them.
        longest_run: the words of each text's longest run that stands there, the mean.
        max_run: of all texts, the longest.
        shares: for each of ``RUN_LENGTHS`` that a text is long enough for, which share of its runs stands there, the
            mean.
    """

    num_texts: int
    num_words: int
    longest_run: Interval
    max_run: int
    shares: dict[int, Interval]

    def to_json(self) -> dict[str, Any]:
        """All figures; each interval as value, low and high."""
        return {
            "texts": self.num_texts,
            "words": self.num_words,
            "longest_run": {**self.longest_run._asdict(), "max": self.max_run},
            "copied": {str(length): share._asdict() for length, share in self.shares.items()},
        }


@dataclass(frozen=True)
class NoveltyReport:
    """What is copied: by the model, by its network alone (None where it is alone anyway), and by people."""

    generated: CopyingStatistics
    generated_by_network: CopyingStatistics | None
    held_out: CopyingStatistics

    def to_json(self) -> dict[str, Any]:
        """What stands under ``novelty`` in ``eval --json``."""
        without = self.generated_by_network
        return {
            "tokens_per_text": NUM_TOKENS,
            "generated": self.generated.to_json(),
            **({} if without is None else {"generated_without_counts": without.to_json()}),
            "held_out": self.held_out.to_json(),
        }


def evaluate_novelty(
    model: LoadedModel,
    stream: TokenIds,
    *,
    num_texts: int = NUM_TEXTS,
    num_tokens: int = NUM_TOKENS,
    progress: Callable[[int], object] | None = None,
) -> NoveltyReport:
    """Let a model go on at evenly spaced places of a text, and compare with how the text goes on.

    Args:
        model: the model; its run directory holds what it has learnt from.
        stream: tokens of text that it has not seen, documents between document ends, ``(N,)``.
        num_texts: at how many places; fewer where the text is short.
        num_tokens: how far, with the default settings of ``complete``.
        progress: is told 1 for each text that was written.

    Raises:
        UsageError: there is no run directory.
        CorpusError: the text is too short.
    """
    corpus = corpus_words(model.path, model.tokenizer, SEEN_PARTS)
    prompts, followings = _places(model, stream, num_texts, num_tokens)
    texts = {
        "held_out": followings,
        "generated": _generated(Completer.from_model(model), prompts, num_tokens, progress),
    }
    if model.mixture is not None:
        alone = Completer.from_model(model._replace(mixture=None))
        texts["without"] = _generated(alone, prompts, num_tokens, progress)
    hashes = {name: [word_hashes(_whole_words(text)) for text in found] for name, found in texts.items()}
    lengths = [min(map(len, same_place)) for same_place in zip(*hashes.values(), strict=True)]
    if not any(lengths):
        raise CorpusError("the text is too short to be gone on with", hint="give more text, or hold out more")
    figures = {
        name: measure_copying(corpus, [text[:length] for text, length in zip(found, lengths, strict=True) if length])
        for name, found in hashes.items()
    }
    return NoveltyReport(figures["generated"], figures.get("without"), figures["held_out"])


def measure_copying(corpus: CorpusWords, texts: Sequence[Hashes]) -> CopyingStatistics:
    """Measure how much of some texts, each the hashes of its words and not empty, stands in a corpus."""
    # A text is apart from the next by something that is no word of the corpus, so that all are looked for at once.
    joined = np.concatenate([part for text in texts for part in (text, np.zeros(1, np.uint64))])
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])[:-1].tolist()
    lengths = longest_runs(corpus, joined)
    longest = [int(lengths[start : start + len(text)].max()) for start, text in zip(starts, texts, strict=True)]
    shares = {}
    for length in RUN_LENGTHS:
        found = copied_runs(corpus, joined, length)
        values = [
            float(found[start : start + len(text) - length + 1].mean())
            for start, text in zip(starts, texts, strict=True)
            if len(text) >= length
        ]
        if values:
            interval = mean_interval(values)
            if len(set(values)) == 1:
                interval = share_interval(values[0] * len(values), len(values))
            shares[length] = Interval(interval.value, max(0.0, interval.low), min(1.0, interval.high))
    return CopyingStatistics(len(texts), sum(map(len, texts)), mean_interval(longest), max(longest), shares)


def _places(model: LoadedModel, stream: TokenIds, number: int, num_tokens: int) -> tuple[list[bytes], list[bytes]]:
    """Return what stands before and after evenly spaced places, each at the end of a word."""
    pieces = model.tokenizer.pieces
    number = max(1, min(number, len(stream) // num_tokens))
    ends = np.flatnonzero(np.asarray(stream) == DOCUMENT_END)
    prompts, followings = [], []
    for index in range(number):
        place = (2 * index + 1) * len(stream) // (2 * number)
        while place < len(stream) - 1 and stream[place] != DOCUMENT_END and not pieces[stream[place]][:1].isspace():
            place += 1
        before = int(ends.searchsorted(place))  # of the ends
        begin = int(ends[before - 1]) + 1
        end = min(place + num_tokens, int(ends[before]))
        prompts.append(model.tokenizer.decode(stream[max(begin, place - PROMPT_TOKENS) : place].tolist()))
        followings.append(model.tokenizer.decode(stream[place:end].tolist()))
    return prompts, followings


def _generated(
    completer: Completer, prompts: Sequence[bytes], num_tokens: int, progress: Callable[[int], object] | None
) -> list[bytes]:
    """Go on from each prompt with the default settings."""
    rest = iter(prompts)

    def take(waits: bool) -> bytes:
        for prompt in rest:
            return prompt
        raise EOFError

    texts = []
    for completion in complete_each(completer, take, CompletionOptions(until="none", max_tokens=num_tokens)):
        texts.append(completion.data)
        if progress is not None:
            progress(1)
    return texts


def _whole_words(text: bytes) -> bytes:
    """Leave out a last word that may not be finished."""
    return text[: len(text) - len(unfinished_word(text))]
