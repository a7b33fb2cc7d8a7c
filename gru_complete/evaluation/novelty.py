"""How much of what a model writes is copied word for word from its training text, compared with what people write.

Even text that nobody copied shares runs of words with any other text of its kind: set phrases, names, the language
itself. So the figures of generated text mean nothing without those of human text, the held-out split: at the same
places, and at each place the same number of words. The network is also measured alone, since it is the n-gram model
that knows phrases by heart; and the base, if there was one, whose share comes from the language and not from the text.

Words and runs are those of ``text/verbatim.py``. Each figure is a mean over texts, which are far from each other in the
corpus and so nearly independent, with its 95 % interval. Where all texts have the same share, the normal approximation
would give an interval of width 0; then every text counts as one trial with that share.

Shapes: N tokens of the stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gru_complete.arrays import TokenIds
from gru_complete.errors import CorpusError
from gru_complete.evaluation.intervals import Interval, mean_interval, share_interval
from gru_complete.evaluation.places import evenly_spaced
from gru_complete.evaluation.progress import Progress
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
"""In words."""
PROMPT_TOKENS = 200
"""How many tokens the model reads before each place, at most."""


@dataclass(frozen=True)
class CopyingStatistics:
    """How much of some texts is in the corpus.

    Args:
        num_texts: how many texts.
        num_words: in all texts together.
        longest_run: the length in words of a text's longest run of words that is in the corpus, the mean over texts.
        max_run: the length of the longest run of any text.
        shares: which share of a text's runs is in the corpus, the mean over texts, by the length of the run: those of
            ``RUN_LENGTHS`` that at least one text is long enough for.
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
            "longest_run": {**self.longest_run.to_json(), "max": self.max_run},
            "copied": {str(length): share.to_json() for length, share in self.shares.items()},
        }


@dataclass(frozen=True)
class NoveltyReport:
    """What is copied, by whom.

    Attributes:
        generated: by the model.
        generated_by_network: by its network alone; None for a model without n-grams.
        held_out: by people.
        generated_by_base: what the model that the training started from has in common with the corpus, of which it has
            read nothing; None without one.
    """

    generated: CopyingStatistics
    generated_by_network: CopyingStatistics | None
    held_out: CopyingStatistics
    generated_by_base: CopyingStatistics | None = None

    def to_json(self) -> dict[str, Any]:
        """The value of ``novelty`` in ``eval --json``."""
        others = {"generated_without_counts": self.generated_by_network, "generated_by_base": self.generated_by_base}
        return {
            "tokens_per_text": NUM_TOKENS,
            "generated": self.generated.to_json(),
            **{name: figures.to_json() for name, figures in others.items() if figures is not None},
            "held_out": self.held_out.to_json(),
        }


def evaluate_novelty(
    model: LoadedModel,
    stream: TokenIds,
    *,
    base: LoadedModel | None = None,
    num_texts: int = NUM_TEXTS,
    num_tokens: int = NUM_TOKENS,
    progress: Progress | None = None,
) -> NoveltyReport:
    """Let a model continue a text at evenly spaced places, and compare with how the text itself continues.

    Args:
        model: the model; its run directory holds its training text.
        stream: tokens of text that the model has not seen, documents between document ends, ``(N,)``.
        base: the model that its training started from, which continues the text, too.
        num_texts: at how many places; fewer if the text is short.
        num_tokens: how far, with the default settings of ``complete``.
        progress: called with 1 for each text that was written.

    Raises:
        UsageError: there is no run directory.
        CorpusError: the text is too short.
    """
    corpus = corpus_words(model.path, model.tokenizer, SEEN_PARTS)
    prompts, continuations = _sample_places(model, stream, num_texts, num_tokens)
    texts = {"held_out": continuations, "generated": _generate(model, prompts, num_tokens, progress)}
    if model.mixture is not None:
        texts["by_network"] = _generate(model._replace(mixture=None), prompts, num_tokens, progress)
    if base is not None:
        texts["by_base"] = _generate(base, prompts, num_tokens, progress)
    hashes = {writer: [word_hashes(_whole_words(text)) for text in written] for writer, written in texts.items()}
    lengths = [min(map(len, same_place)) for same_place in zip(*hashes.values(), strict=True)]
    if not any(lengths):
        raise CorpusError("the text is too short to be continued", hint="give more text, or hold out more")
    statistics = {
        writer: measure_copying(
            corpus, [text[:length] for text, length in zip(written, lengths, strict=True) if length]
        )
        for writer, written in hashes.items()
    }
    alone, by_base = statistics.get("by_network"), statistics.get("by_base")
    return NoveltyReport(statistics["generated"], alone, statistics["held_out"], by_base)


def measure_copying(corpus: CorpusWords, texts: Sequence[Hashes]) -> CopyingStatistics:
    """Measure how much of some texts is in a corpus.

    Args:
        corpus: what may have been copied.
        texts: the hashes of each text's words; at least one text, none empty.
    """
    # All texts are looked up at once, separated by a hash that no word of the corpus has, so that no run spans two.
    joined = np.concatenate([part for text in texts for part in (text, np.zeros(1, np.uint64))])
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])[:-1].tolist()
    lengths = longest_runs(corpus, joined)
    longest = [int(lengths[start : start + len(text)].max()) for start, text in zip(starts, texts, strict=True)]
    shares = {}
    for length in RUN_LENGTHS:
        is_copied = copied_runs(corpus, joined, length)
        values = [
            float(is_copied[start : start + len(text) - length + 1].mean())
            for start, text in zip(starts, texts, strict=True)
            if len(text) >= length
        ]
        if values:
            shares[length] = _mean_share(values)
    return CopyingStatistics(len(texts), sum(map(len, texts)), mean_interval(longest), max(longest), shares)


def _mean_share(shares: Sequence[float]) -> Interval:
    """Average shares between 0 and 1, at least one."""
    interval = mean_interval(shares)
    if len(set(shares)) == 1:
        interval = share_interval(shares[0] * len(shares), len(shares))
    return Interval(interval.value, max(0.0, interval.low), min(1.0, interval.high))


def _sample_places(
    model: LoadedModel, stream: TokenIds, num_texts: int, num_tokens: int
) -> tuple[list[bytes], list[bytes]]:
    """Cut a text at evenly spaced places, each moved to the next end of a word.

    Args:
        model: the model that will continue the text.
        stream: the text, ``(N,)``.
        num_texts: at how many places; fewer if the text is short.
        num_tokens: how much of the text to return after each place.

    Returns:
        The text before each place and the text after it, both within one document.
    """
    pieces = model.tokenizer.pieces
    ends = np.flatnonzero(np.asarray(stream) == DOCUMENT_END)
    prompts, continuations = [], []
    for place in evenly_spaced(len(stream), max(1, min(num_texts, len(stream) // num_tokens))):
        while place < len(stream) - 1 and stream[place] != DOCUMENT_END and not pieces[stream[place]][:1].isspace():
            place += 1
        next_end = int(ends.searchsorted(place))
        begin = int(ends[next_end - 1]) + 1
        end = min(place + num_tokens, int(ends[next_end]))
        prompts.append(model.tokenizer.decode(stream[max(begin, place - PROMPT_TOKENS) : place].tolist()))
        continuations.append(model.tokenizer.decode(stream[place:end].tolist()))
    return prompts, continuations


def _generate(model: LoadedModel, prompts: Sequence[bytes], num_tokens: int, progress: Progress | None) -> list[bytes]:
    """Continue each prompt with the default settings of ``complete``.

    Args:
        model: the model.
        prompts: the texts to continue.
        num_tokens: how far.
        progress: called with 1 after each text.
    """
    remaining = iter(prompts)

    def take_prompt(waits: bool) -> bytes:
        for prompt in remaining:
            return prompt
        raise EOFError

    options = CompletionOptions(until="none", max_tokens=num_tokens)
    texts = []
    for completion in complete_each(Completer.from_model(model), take_prompt, options):
        texts.append(completion.data)
        if progress is not None:
            progress(1)
    return texts


def _whole_words(text: bytes) -> bytes:
    """Leave out a last word that may be unfinished."""
    return text[: len(text) - len(unfinished_word(text))]
