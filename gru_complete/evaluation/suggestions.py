"""What asking for confidence costs and gains: the trade between offering more and being right.

At evenly spaced places of a text that the model has not seen, it is asked what comes next (``runtime/offers.py``); an
offer is accepted if the text goes on with all of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gru_complete.evaluation.intervals import Interval, mean_interval, share_interval
from gru_complete.runtime.completer import Completer, PromptState
from gru_complete.runtime.suggestions import SuggestedCharacter, suggest

CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
NUM_POSITIONS = 500


@dataclass(frozen=True)
class Tradeoff:
    """What one confidence gives.

    Args:
        confidence: the least probability of an offer.
        suggested: the share of places with an offer.
        accepted: the share of offers that the text goes on with.
        mean_length: characters in an offer, the mean; 0 without offers.
        saved: characters that are not typed, the mean over all places: those of an accepted offer less the key that
            takes it.
    """

    confidence: float
    suggested: Interval
    accepted: Interval
    mean_length: float
    saved: Interval

    def to_json(self) -> dict[str, Any]:
        """All figures; each interval as value, low and high."""
        return {
            "confidence": self.confidence,
            "offered": self.suggested.to_json(),
            "accepted": self.accepted.to_json(),
            "length": self.mean_length,
            "saved": self.saved.to_json(),
        }


@dataclass(frozen=True)
class SuggestionsReport:
    """The trade for confidences in steps, at so many places of a text."""

    num_positions: int
    tradeoffs: tuple[Tradeoff, ...]


def evaluate_suggestions(
    completer: Completer,
    documents: Sequence[str],
    *,
    confidences: Sequence[float] = CONFIDENCES,
    num_positions: int = NUM_POSITIONS,
    progress: Callable[[int], object] | None = None,
) -> SuggestionsReport:
    """Ask for offers at evenly spaced places.

    Args:
        completer: the model.
        documents: texts that it has not seen, each read from its start to each of its places; not all empty.
        confidences: what to ask for.
        num_positions: how many places; at most as many as there are characters.
        progress: is told 1 at each place.
    """
    least = min(confidences)
    outcomes: list[list[tuple[int, bool]]] = [[] for _ in confidences]  # how long, and whether the text goes on so
    count = 0
    for context, following in _places(completer, documents, num_positions):
        characters = list(suggest(completer.hypotheses(context), least))
        count += 1
        if progress is not None:
            progress(1)
        for confidence, found in zip(confidences, outcomes, strict=True):
            text = _text([character for character in characters if character.probability >= confidence])
            if text:
                found.append((len(text), following.startswith(text)))
    tradeoffs = [_tradeoff(confidence, found, count) for confidence, found in zip(confidences, outcomes, strict=True)]
    return SuggestionsReport(count, tuple(tradeoffs))


def _places(completer: Completer, documents: Sequence[str], number: int) -> Iterator[tuple[PromptState, str]]:
    """What was read at each place, and the text that follows."""
    num_chars = sum(map(len, documents))
    number = min(number, num_chars)
    places = iter([(2 * index + 1) * num_chars // (2 * number) for index in range(number)])
    place = next(places, num_chars)
    start = 0
    for document in documents:
        context = completer.read(b"")
        read = 0
        while place < start + len(document):
            context = completer.read(document[read : place - start].encode(), context)
            read = place - start
            yield context, document[read:]
            place = next(places, num_chars)
        start += len(document)


def _text(characters: Sequence[SuggestedCharacter]) -> str:
    return b"".join(character.data for character in characters).decode()


def _tradeoff(confidence: float, found: Sequence[tuple[int, bool]], count: int) -> Tradeoff:
    saved = [float(length - 1) if is_right else 0.0 for length, is_right in found]
    return Tradeoff(
        confidence,
        suggested=share_interval(len(found), count),
        accepted=share_interval(sum(is_right for _, is_right in found), len(found)),
        mean_length=sum(length for length, _ in found) / len(found) if found else 0.0,
        saved=mean_interval(saved + [0.0] * (count - len(found))),
    )
