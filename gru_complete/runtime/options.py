"""The options of a completion, with their defaults: without numpy, so that `--help` can show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gru_complete.errors import UsageError
from gru_complete.runtime.boundaries import UNTIL

NO_REPEAT = 3
"""In the Holmes stories, 1 word of 1,000 completes such a repetition within 400 bytes; with 2 instead of 3, 7 words."""
MAX_WORDS = 1000
"""The most words that are listed."""
MAX_COMPLETIONS = 10_000
"""The most completions of one prompt."""
MAX_BEAM = 100
MAX_NOVEL = 100


def check_range(name: str, value: float, low: float, high: float, *, open_below: bool = False) -> None:
    """Refuse a value outside a range, or NaN.

    Args:
        name: of the option, for the message.
        value: its value.
        low: the least value allowed.
        high: the greatest value allowed.
        open_below: refuse ``low`` itself, too.

    Raises:
        UsageError: names the value, the option and its range.
    """
    if low <= value <= high and not (open_below and value == low):
        return
    bounds = f"above {low} and at most {high}" if open_below else f"between {low} and {high}"
    raise UsageError(f"{name} must be {bounds}, not {value}")


class SamplingOptions:
    """How the next token is drawn; every value is checked when the options are made.

    Args:
        temperature: divides the scores; 0 takes the most likely token that is left (greedy).
        top_k: keep the k most likely tokens; 0 keeps all.
        top_p: keep the fewest most likely tokens with this total probability; 1 keeps all.
        min_p: keep tokens at least this many times as likely as the most likely one; 0 keeps all.
        repetition_penalty: divides positive scores of recent tokens and multiplies negative ones; 1 changes nothing.
        typical: keep the fewest tokens with this total probability, those first that are about as surprising as the
            text is on average (Meister et al. 2022, arXiv:2202.00666); 1 keeps all.

    Raises:
        UsageError: a value is outside its range.
    """

    def __init__(
        self,
        temperature: float = 0.7,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.05,
        repetition_penalty: float = 1.0,
        typical: float = 1.0,
    ) -> None:
        check_range("temperature", temperature, 0, 100)
        check_range("top-k", top_k, 0, 1_000_000)
        check_range("top-p", top_p, 0, 1, open_below=True)
        check_range("min-p", min_p, 0, 1)
        check_range("repetition penalty", repetition_penalty, 0.01, 100)
        check_range("typical", typical, 0, 1, open_below=True)
        self.temperature: Final = temperature
        self.top_k: Final = top_k
        self.top_p: Final = top_p
        self.min_p: Final = min_p
        self.repetition_penalty: Final = repetition_penalty
        self.typical: Final = typical


DEFAULT_SAMPLING = SamplingOptions()


class CompletionOptions:
    """What to write; every value is checked when the options are made.

    Args:
        max_tokens: the most tokens to draw.
        until: where to end, one of ``boundaries.UNTIL``; None where the model's own text ends: at a line or a sentence.
        stop: strings before which to end, UTF-8.
        sampling: how tokens are drawn.
        seed: of the random numbers.
        beam: the number of texts that beam search follows at once (``search.py``), whatever the temperature and the
            filters; 0 draws one token after the other.
        no_repeat: this many words in a row may not occur twice (``repeats.py``); 0 allows it. None means ``NO_REPEAT``
            where nothing is left to chance (``beam``, temperature 0), else 0.
        min_confidence: make the completion a suggestion (``suggestions.py``): the most likely text, as long as its
            probability at temperature 1 is at least this. Then ``sampling``, ``seed`` and ``no_repeat`` have no effect.
            None draws.
        logprobs: the number of most likely tokens to list for each token.
        novel: this many words in a row must not occur in the corpus, at least 2 (``novel.py``); 0 allows it.

    Raises:
        UsageError: a value is outside its range.
    """

    def __init__(
        self,
        max_tokens: int = 100,
        until: str | None = None,
        stop: Sequence[bytes] = (),
        sampling: SamplingOptions = DEFAULT_SAMPLING,
        seed: int = 0,
        beam: int = 0,
        no_repeat: int | None = None,
        min_confidence: float | None = None,
        logprobs: int = 0,
        novel: int = 0,
    ) -> None:
        if novel:
            check_range("novel", novel, 2, MAX_NOVEL)
        check_range("beam", beam, 0, MAX_BEAM)
        if no_repeat is not None:
            check_range("no-repeat", no_repeat, 0, 1000)
        if min_confidence is not None:
            check_range("min-confidence", min_confidence, 0, 1)
            if beam or logprobs:
                raise UsageError(f"min-confidence does not go with {'a beam' if beam else 'logprobs'}")
        check_range("logprobs", logprobs, 0, 1000)
        check_range("max-tokens", max_tokens, 1, 1_000_000)
        check_range("seed", seed, 0, 2**64 - 1)
        if until is not None and until not in UNTIL:
            raise UsageError(f"until must be one of {', '.join(UNTIL)}, not {until}")
        for text in stop:
            stop_text(text)
        self.max_tokens: Final = max_tokens
        self.until: Final = until
        self.stop: Final = stop
        self.sampling: Final = sampling
        self.seed: Final = seed
        self.beam: Final = beam
        self.no_repeat: Final = no_repeat
        self.min_confidence: Final = min_confidence
        self.logprobs: Final = logprobs
        self.novel: Final = novel

    def changed(self, **changes: Any) -> CompletionOptions:
        """Return the same options with some values changed."""
        return CompletionOptions(**{**vars(self), **changes})

    @property
    def words_not_repeated(self) -> int:
        """The effective value of ``no_repeat``."""
        if self.no_repeat is not None:
            return self.no_repeat
        return NO_REPEAT if self.beam or self.sampling.temperature == 0 else 0


def stop_text(stop: bytes) -> str:
    """Return a stop string as text.

    Raises:
        UsageError: it is empty or not UTF-8.
    """
    try:
        text = stop.decode()
    except UnicodeDecodeError:
        raise UsageError("a stop string is not valid UTF-8") from None
    if not text:
        raise UsageError("a stop string must not be empty")
    return text
