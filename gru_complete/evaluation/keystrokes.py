"""How many keys whole-word suggestions save, and how often the next word is among them.

A simulated user writes a text that the model has not seen. At evenly spaced words of the text, the user types whatever
comes before the word (white space, punctuation) and then its letters, one at a time. Before each key the model lists
the most likely whole words, as ``complete --words`` does. As soon as one of the first K completes the word, the user
accepts it with one key, which also types the space after the word. The savings are those of Trnka and McCoy (2008,
"Evaluating word prediction: framing keystroke savings")::

    savings = 1 - (keys typed + one key for each accepted suggestion) / characters

The characters are those of the sampled words and of what comes before each of them. The space that a suggestion types
saves a key if the text has a space there; otherwise it disappears again at no cost, as telephone keyboards do it before
punctuation. The text before a sampled word is always the true one, and the model learns from it if ``complete``
would.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gru_complete.evaluation.intervals import Interval, ratio_interval, share_interval
from gru_complete.evaluation.places import places_in_parts
from gru_complete.evaluation.progress import Progress
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.prompt_state import PromptState
from gru_complete.runtime.segmentation import Hypotheses
from gru_complete.runtime.wordbreaks import spans, word_prefix
from gru_complete.runtime.words import is_among

SUGGESTION_COUNTS = (1, 3)
"""K: how many suggestions the user sees."""
RANKS = (1, 3, 5)
"""How many suggestions may hold the next word before any of its letters is typed."""
NUM_WORDS = 2_000


class TypedWord(NamedTuple):
    """How the simulated user wrote one word.

    Attributes:
        characters: of the word and of what comes before it.
        keys: for each of ``SUGGESTION_COUNTS``, the keys typed and the one that accepted a suggestion, less the space
            that it typed.
        is_next: for each of ``RANKS``, whether the whole word was suggested.
    """

    characters: int
    keys: tuple[int, ...]
    is_next: tuple[bool, ...]


class SampledWord(NamedTuple):
    """A word of the text and its surroundings.

    Attributes:
        prompt_state: the model after the end of the word before.
        before: what comes between the two words.
        word: the word.
        following: the character after it; empty at the end of a document.
    """

    prompt_state: PromptState
    before: str
    word: str
    following: str


@dataclass(frozen=True)
class KeystrokesReport:
    """What suggestions are worth.

    Args:
        num_words: words that the user wrote.
        savings: the share of keys saved, by the number of suggestions.
        next_word: how often the whole next word is among the first suggestions, by their number.
    """

    num_words: int
    savings: dict[int, Interval]
    next_word: dict[int, Interval]

    @classmethod
    def from_words(cls, typed: Sequence[TypedWord]) -> "KeystrokesReport":
        """Sum up some words, at least one."""
        characters = [word.characters for word in typed]
        savings = {}
        for index, number in enumerate(SUGGESTION_COUNTS):
            keys, low, high = ratio_interval([word.keys[index] for word in typed], characters)
            savings[number] = Interval(1 - keys, 1 - high, 1 - low)
        hits = {number: sum(word.is_next[index] for word in typed) for index, number in enumerate(RANKS)}
        next_word = {number: share_interval(count, len(typed)) for number, count in hits.items()}
        return cls(len(typed), savings, next_word)

    def to_json(self) -> dict[str, Any]:
        """The values of ``keystroke_savings`` and ``next_word`` in ``eval --json``."""
        return {
            "keystroke_savings": {
                **{str(number): interval.value for number, interval in self.savings.items()},
                "intervals": {str(number): interval.to_json() for number, interval in self.savings.items()},
                "num_words": self.num_words,
            },
            "next_word": {
                **{f"top{number}": interval.value for number, interval in self.next_word.items()},
                "intervals": {f"top{number}": interval.to_json() for number, interval in self.next_word.items()},
                "num_words": self.num_words,
            },
        }


def evaluate_keystrokes(
    completer: Completer,
    documents: Sequence[str],
    *,
    num_words: int = NUM_WORDS,
    progress: Progress | None = None,
) -> KeystrokesReport | None:
    """Let the simulated user write evenly spaced words.

    Args:
        completer: the model.
        documents: texts that the model has not seen, each read from its start.
        num_words: how many words; at most as many as there are.
        progress: called with 1 after each word.

    Returns:
        What the suggestions are worth; None if the texts have no words.
    """
    typed = []
    for sampled in _sample_words(completer, documents, num_words):
        typed.append(_type_word(completer, sampled))
        if progress is not None:
            progress(1)
    return KeystrokesReport.from_words(typed) if typed else None


def count_words(documents: Sequence[str], num_words: int = NUM_WORDS) -> int:
    """Return how many words ``evaluate_keystrokes`` will write."""
    return min(num_words, sum(1 for document in documents for _ in spans(document)))


def _sample_words(completer: Completer, documents: Sequence[str], num_words: int) -> Iterator[SampledWord]:
    """Read the documents and stop before evenly spaced words."""
    words = [list(spans(document)) for document in documents]
    places = places_in_parts(list(map(len, words)), num_words)
    for document, document_words, indices in zip(documents, words, places, strict=True):
        prompt_state = completer.read(b"")
        read = 0
        for index in indices:
            begin = document_words[index - 1][1] if index else 0
            start, end = document_words[index]
            prompt_state = completer.read(document[read:begin].encode(), prompt_state)
            read = begin
            yield SampledWord(prompt_state, document[begin:start], document[start:end], document[end : end + 1])


def _type_word(completer: Completer, sampled: SampledWord) -> TypedWord:
    """Write one word, and the characters before it, with as few keys as the suggestions allow."""
    prompt_state, before, word, following = sampled
    text = before + word
    keys: dict[int, int] = {}
    is_next: tuple[bool, ...] = ()
    hypotheses: Hypotheses | None = None
    for position, character in enumerate(text):
        counts = {number for number in SUGGESTION_COUNTS if number not in keys}
        if position == len(before):
            counts.update(RANKS)
        elif position > len(before) and not counts:
            break
        # Right after a whole word, only words that begin with it are suggested: none of them is the next word.
        if counts and (position >= len(before) or not word_prefix(prompt_state.segment)[0]):
            if hypotheses is not None and hypotheses.start is prompt_state.decoder_state:
                hypotheses = hypotheses.for_segment(prompt_state.segment)
            else:
                hypotheses = completer.hypotheses(prompt_state)
            ascending = sorted(counts)
            is_suggested = dict(zip(ascending, is_among(hypotheses, text[position:].encode(), ascending), strict=True))
            for number in SUGGESTION_COUNTS:
                if number not in keys and is_suggested[number]:
                    keys[number] = position + 1 - (following == " ")
            if position == len(before):
                is_next = tuple(is_suggested[number] for number in RANKS)
        prompt_state = completer.read(character.encode(), prompt_state)
    return TypedWord(len(text), tuple(keys.get(number, len(text)) for number in SUGGESTION_COUNTS), is_next)
