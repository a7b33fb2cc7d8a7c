"""How many keys whole-word suggestions save, and how often the next word is among them.

A simulated user writes a text that the model has not seen. At evenly spaced words of it, the user types what comes
before the word (white space, punctuation) and then its letters, character by character. Before each key the model is
asked for the likeliest whole words, as ``complete --words`` lists them for the text so far. As soon as one of the first
K is what the text goes on with, to the end of the word, the user takes it with one key, which also writes the space
after the word. So the savings of Trnka and McCoy (2008, "Evaluating word prediction") are::

    savings = 1 - (keys typed + one key for each suggestion taken) / characters

The characters are those of the words looked at and of what stands before each of them. The space that a suggestion
writes is a key less where a space follows in the text; where something else does, it vanishes again without a key, as
the keyboards of telephones do it before punctuation. The text so far is always right: words before the one looked at
are read as they stand, and what ``complete`` would learn from them is learnt.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gru_complete.evaluation.intervals import Interval, ratio_interval, share_interval
from gru_complete.runtime.completer import Completer, PromptState
from gru_complete.runtime.segmentation import Hypotheses
from gru_complete.runtime.wordbreaks import spans, word_prefix
from gru_complete.runtime.words import is_among

SUGGESTION_COUNTS = (1, 3)
"""So many suggestions the user looks at."""
RANKS = (1, 3, 5)
"""Among so many suggestions the next word is looked for, before any of its letters is typed."""
NUM_WORDS = 2_000


class TypedWord(NamedTuple):
    """How the simulated user wrote one word.

    Attributes:
        characters: of the word and of what stands before it.
        keys: for each of ``SUGGESTION_COUNTS``, the keys typed and the one that accepted a suggestion, less the space
            that it wrote.
        is_next: for each of ``RANKS``, whether the whole word was suggested.
    """

    characters: int
    keys: tuple[int, ...]
    is_next: tuple[bool, ...]


@dataclass(frozen=True)
class KeystrokesReport:
    """What suggestions are worth.

    Args:
        num_words: looked at.
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
        """What stands under ``keystroke_savings`` and ``next_word`` in ``eval --json``."""
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
    progress: Callable[[int], object] | None = None,
) -> KeystrokesReport | None:
    """Let the simulated user write evenly spaced words.

    Args:
        completer: the model.
        documents: texts that it has not seen, each read from its start.
        num_words: how many words; at most as many as there are.
        progress: is told 1 after each word.

    Returns:
        What the suggestions are worth; None of texts without words.
    """
    typed = []
    for context, before, word, following in _places(completer, documents, num_words):
        typed.append(_write(completer, context, before, word, following))
        if progress is not None:
            progress(1)
    return KeystrokesReport.from_words(typed) if typed else None


def count_words(documents: Sequence[str], num_words: int = NUM_WORDS) -> int:
    """How many words ``evaluate_keystrokes`` looks at."""
    return min(num_words, sum(1 for document in documents for _ in spans(document)))


def _places(completer: Completer, documents: Sequence[str], number: int) -> Iterator[tuple[PromptState, str, str, str]]:
    """Evenly spaced words: the context after the word before, what follows it, the word, and the character after it."""
    words = [list(spans(document)) for document in documents]
    total = sum(map(len, words))
    number = min(number, total)
    places = iter([(2 * index + 1) * total // (2 * number) for index in range(number)])
    place = next(places, total)
    first = 0
    for document, own in zip(documents, words, strict=True):
        context = completer.read(b"")
        read = 0
        while place < first + len(own):
            index = place - first
            begin = own[index - 1][1] if index else 0
            start, end = own[index]
            context = completer.read(document[read:begin].encode(), context)
            read = begin
            yield context, document[begin:start], document[start:end], document[end : end + 1]
            place = next(places, total)
        first += len(own)


def _write(completer: Completer, context: PromptState, before: str, word: str, following: str) -> TypedWord:
    """Write one word after a context, the characters before it included."""
    text = before + word
    keys: dict[int, int] = {}
    is_next: tuple[bool, ...] = ()
    hypotheses: Hypotheses | None = None
    for position, character in enumerate(text):
        asked = {number for number in SUGGESTION_COUNTS if number not in keys}
        if position == len(before):
            asked.update(RANKS)
        elif position > len(before) and not asked:
            break
        # After a whole word only those are suggested that it may be the beginning of.
        if asked and (position >= len(before) or not word_prefix(context.segment)[0]):
            if hypotheses is not None and hypotheses.start is context.decoder_state:
                hypotheses = hypotheses.for_segment(context.segment)
            else:
                hypotheses = completer.hypotheses(context)
            counts = sorted(asked)
            found = dict(zip(counts, is_among(hypotheses, text[position:].encode(), counts), strict=True))
            for number in SUGGESTION_COUNTS:
                if number not in keys and found[number]:
                    keys[number] = position + 1 - (following == " ")
            if position == len(before):
                is_next = tuple(found[number] for number in RANKS)
        context = completer.read(character.encode(), context)
    return TypedWord(len(text), tuple(keys.get(number, len(text)) for number in SUGGESTION_COUNTS), is_next)
