"""The trade-off of ``--min-confidence``: suggesting more often, or being right more often.

At evenly spaced places of a text that the model has not seen, the model suggests how the text continues
(``runtime/suggestions.py``). A suggestion counts as accepted if the text continues with all of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gru_complete.evaluation.intervals import Interval, mean_interval, share_interval
from gru_complete.evaluation.places import places_in_parts
from gru_complete.evaluation.progress import Progress
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.prompt_state import PromptState
from gru_complete.runtime.suggestions import SuggestedCharacter, suggest

CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
NUM_POSITIONS = 500


class Outcome(NamedTuple):
    """What came of one suggestion: its length in characters, and whether the text continues with it."""

    length: int
    is_accepted: bool


@dataclass(frozen=True)
class Tradeoff:
    """What one setting of ``--min-confidence`` gives.

    Args:
        confidence: the lowest probability that a suggestion may have.
        suggested: the share of places with a suggestion.
        accepted: the share of suggestions that the text continues with.
        mean_length: characters in a suggestion; 0 without suggestions.
        saved: characters saved at a place, on average: those of an accepted suggestion less the key that accepts it;
            0 where nothing was suggested or accepted.
    """

    confidence: float
    suggested: Interval
    accepted: Interval
    mean_length: float
    saved: Interval

    @classmethod
    def from_outcomes(cls, confidence: float, outcomes: Sequence[Outcome], num_positions: int) -> "Tradeoff":
        """Sum up the suggestions made at some of the places, of which there is at least one."""
        saved = [float(length - 1) if is_accepted else 0.0 for length, is_accepted in outcomes]
        return cls(
            confidence,
            suggested=share_interval(len(outcomes), num_positions),
            accepted=share_interval(sum(is_accepted for _, is_accepted in outcomes), len(outcomes)),
            mean_length=sum(length for length, _ in outcomes) / len(outcomes) if outcomes else 0.0,
            saved=mean_interval(saved + [0.0] * (num_positions - len(outcomes))),
        )

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
    """The trade-off at each of ``CONFIDENCES``, over ``num_positions`` places of a text."""

    num_positions: int
    tradeoffs: tuple[Tradeoff, ...]

    def to_json(self) -> list[dict[str, Any]]:
        """The value of ``offers`` in ``eval --json``."""
        return [tradeoff.to_json() | {"num_positions": self.num_positions} for tradeoff in self.tradeoffs]


def evaluate_suggestions(
    completer: Completer,
    documents: Sequence[str],
    *,
    confidences: Sequence[float] = CONFIDENCES,
    num_positions: int = NUM_POSITIONS,
    progress: Progress | None = None,
) -> SuggestionsReport:
    """Ask for suggestions at evenly spaced places.

    A suggestion for a higher confidence is the beginning of one for a lower confidence, so the model is asked once.

    Args:
        completer: the model.
        documents: texts that the model has not seen, each read from its start to each of its places; not all empty.
        confidences: the settings to compare.
        num_positions: how many places; at most as many as there are characters.
        progress: called with 1 at each place.
    """
    lowest = min(confidences)
    outcomes: dict[float, list[Outcome]] = {confidence: [] for confidence in confidences}
    num_asked = 0
    for prompt_state, following in _sample_places(completer, documents, num_positions):
        characters = list(suggest(completer.hypotheses(prompt_state), lowest))
        num_asked += 1
        if progress is not None:
            progress(1)
        for confidence in confidences:
            text = _join([character for character in characters if character.probability >= confidence])
            if text:
                outcomes[confidence].append(Outcome(len(text), following.startswith(text)))
    tradeoffs = (Tradeoff.from_outcomes(confidence, outcomes[confidence], num_asked) for confidence in confidences)
    return SuggestionsReport(num_asked, tuple(tradeoffs))


def _sample_places(
    completer: Completer, documents: Sequence[str], num_positions: int
) -> Iterator[tuple[PromptState, str]]:
    """Read the documents and stop at evenly spaced characters; yield the model there and the text that follows."""
    parts = places_in_parts(list(map(len, documents)), num_positions)
    for document, places in zip(documents, parts, strict=True):
        prompt_state = completer.read(b"")
        read = 0
        for place in places:
            prompt_state = completer.read(document[read:place].encode(), prompt_state)
            read = place
            yield prompt_state, document[read:]


def _join(characters: Sequence[SuggestedCharacter]) -> str:
    return b"".join(character.data for character in characters).decode()
