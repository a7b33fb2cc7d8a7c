"""From which odds on a word is unusual for a model: the threshold of `check`, measured as training ends.

Which odds are unusual depends on the text: where the next word can nearly be known, as in forms and reports, the odds
of correct words stay low. The threshold is therefore what one word in ``WORDS_PER_FINDING`` reaches in text that
neither the network nor the n-gram counts have seen: the tuning split (the validation split), as training ends.

A small split says little about something that rare. But odds are ratios of likelihoods, of a text with an error and of
one without; if the model is right, at most a share 1/x of words has odds of x or more (Markov's inequality). Tuning
splits come near that bound: ten times the odds of one word in 50 were reached by one word in 630 of the sample data,
and by one in 580 of a novel. So what one word in ``_WORDS_PER_MEASURED`` reaches is measured, and the threshold for
rarer words is taken to be proportionally greater.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from gru_complete.checking.error_model import WORD
from gru_complete.checking.unusual_words import DEFAULT_THRESHOLD, WordChecker
from gru_complete.model.directory import LoadedModel
from gru_complete.model.manifest import CHECK_THRESHOLD, Manifest
from gru_complete.runtime.completer import Completer

LEAST_THRESHOLD = 3.0
"""Where nearly every word is certain, lower odds are measured; at them as many findings are right words as errors."""

WORDS_PER_FINDING = 250
"""A page: how many words of ordinary text there are per finding, with a measured threshold."""

_WORDS_PER_MEASURED = 50
_MIN_WORDS = 300  # fewer say too little
_MIN_MEASURED = 0.03  # odds; lower ones take long to measure
_MAX_MEASURED = 1e6


def threshold_from_manifest(manifest: Manifest) -> float:
    """The odds from which on a word is unusual for a model: as measured, but not below ``LEAST_THRESHOLD``.

    Without a measured threshold that can be used, it is the default.
    """
    threshold = manifest.metrics.get(CHECK_THRESHOLD)  # anyone may write a manifest
    if isinstance(threshold, float) and 1e-6 <= threshold <= 1e12:
        return max(threshold, LEAST_THRESHOLD)
    return DEFAULT_THRESHOLD


def measure_threshold(model: LoadedModel, texts: Sequence[str]) -> dict[str, float]:
    """Measure the odds that about one word in ``WORDS_PER_FINDING`` reaches.

    Args:
        model: the model; neither its network nor its n-gram counts have seen the texts.
        texts: documents of the tuning split, or the beginning of one.

    Returns:
        The metric for the manifest that ``threshold_from_manifest`` reads; empty if the texts are too short.
    """
    num_words = sum(1 for text in texts for _ in WORD.finditer(text))
    if num_words < _MIN_WORDS:
        return {}
    checker = WordChecker(Completer.from_model(model), threshold=_MIN_MEASURED)
    greatest = [_MIN_MEASURED] * (num_words // _WORDS_PER_MEASURED)  # a heap
    for text in texts:
        for finding in checker.findings([text]):
            heapq.heappushpop(greatest, finding.alternatives[0].odds)
            checker.threshold = greatest[0]  # lower odds are no longer searched for
    threshold = WORDS_PER_FINDING / _WORDS_PER_MEASURED * min(greatest[0], _MAX_MEASURED)
    return {CHECK_THRESHOLD: float(f"{threshold:.4g}")}
