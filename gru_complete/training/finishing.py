"""From the last checkpoint to a model: the better weights, the n-gram mixture, what is measured."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from gru_complete.config import Config
from gru_complete.errors import ModelError
from gru_complete.model.directory import LoadedModel
from gru_complete.model.manifest import Manifest
from gru_complete.ngrams.evidence import total_nats
from gru_complete.ngrams.mixture import NGramMixture
from gru_complete.nn.language_model import export_weights, load_weights
from gru_complete.text.shards import documents
from gru_complete.text.xz import CONTEXT_BYTES, xz_bits_per_byte
from gru_complete.training.base import Prepared
from gru_complete.training.beginnings import first_tokens
from gru_complete.training.checkpoint import CheckpointStore, LoopState
from gru_complete.training.learner import Learner
from gru_complete.training.loop import TuningSplit
from gru_complete.training.mixing import (
    fit_beginnings,
    fit_mixture,
    sample_beginnings,
    with_tuning_split,
)
from gru_complete.training.pace import NO_LIMIT, Allowance
from gru_complete.training.scoring import score_tokens
from gru_complete.training.tokenized_corpus import TokenizedCorpus

REPORT_TOKENS = 30_000  # of the held-out split, for the line at the end; `eval` scores all of it
MEASURED_BYTES = 4_000  # of the tuning split (the validation split), for the caller's measure

Measure = Callable[[LoadedModel, Sequence[str]], Mapping[str, float]]
"""Finds figures of a model, given documents that neither its network nor its counts have seen, if these suffice."""


def load_the_better(store: CheckpointStore, learner: Learner, tuning: TuningSplit, last: LoopState) -> float:
    """Leave the better of the last and the best checkpoint in the learner, which holds the last.

    Args:
        store: has the checkpoints.
        learner: holds the last one.
        tuning: the split that decides.
        last: where the training ended.

    Returns:
        Bits per byte of the tuning split under the better one.
    """
    last_bits = tuning.score(learner).bits_per_byte
    if last.best_step in (0, last.step) or last.best_step not in store.steps():
        return last_bits
    last_weights = export_weights(learner.model)
    try:
        store.load(last.best_step, learner)
    except ModelError:
        return last_bits
    best_bits = tuning.score(learner).bits_per_byte
    if best_bits <= last_bits:
        return best_bits
    load_weights(learner.model, last_weights)
    return last_bits


def fit_and_measure(
    config: Config,
    learner: Learner,
    corpus: TokenizedCorpus,
    prepared: Prepared,
    measure: Measure | None = None,
    *,
    allowance: Allowance = NO_LIMIT,
    counting_seconds: float = 0.0,
) -> tuple[NGramMixture | None, dict[str, float]]:
    """Fit the n-gram mixture on the tuning split, and measure the model there.

    The counts take in the tuning split after the mixing weights were fitted on it. ``tuning_bits_per_byte`` comes from
    its first ``ONLINE_TRIAL_TOKENS`` tokens, before the counts take them in, but with the mixing weights fitted there:
    unlike ``held_out_bits_per_byte`` it does not come from text that nothing was fitted on.

    Args:
        config: with every automatic value filled in.
        learner: holds the network.
        corpus: the text.
        prepared: the n-gram counts of the training split, and the base.
        measure: what else to measure.
        allowance: the time for all this. If there is too little, less is measured, and the counts may lack the tuning
            split.
        counting_seconds: what it takes to count the training split, if nothing else runs.

    Returns:
        The mixture, None without counts, and the figures.
    """
    num_bytes = allowance.part_of(MEASURED_BYTES)
    counts, base = prepared.counts, prepared.base
    if counts is None:
        return None, _measure_unseen(measure, num_bytes, learner, corpus, None)
    tuning = corpus.streams["tuning"]
    mixture, tried, static_nats = fit_mixture(
        learner.model,
        counts,
        tuning,
        config.ngrams,
        device=learner.device,
        allowance=allowance,
        start=None if base is None or base.mixture is None else base.mixture.mixing,
    )
    bits = static_nats / np.log(2) / len(corpus.tokenizer.decode(tried.tolist()))
    metrics = {"tuning_bits_per_byte": bits} | _measure_unseen(measure, num_bytes, learner, corpus, mixture)
    if not mixture.mixing.are_of_counts_alone:
        prompts = first_tokens(corpus.tokenizer, tuning, corpus.text.start, number=mixture.ngrams.order)
        num_given = 1 if corpus.text.start else 0  # what stands before a prompt is not to be predicted
        beginnings = fit_beginnings(learner.model, mixture, prompts, device=learner.device, num_given=num_given)
        mixture = mixture._replace(beginnings=beginnings)
    if not allowance.suffices_for(counting_seconds):
        return mixture, metrics
    return mixture._replace(ngrams=with_tuning_split(counts, corpus, config.ngrams)), metrics


def _measure_unseen(
    measure: Measure | None, num_bytes: int, learner: Learner, corpus: TokenizedCorpus, mixture: NGramMixture | None
) -> dict[str, float]:
    """The caller's figures of the model, on ``num_bytes``, as it is before its counts take in the tuning split."""
    if measure is None:
        return {}
    manifest = Manifest(
        learner.model.architecture, {"abbreviations": corpus.text.abbreviations}, {}, {}, files={}, tool_version=""
    )
    weights, tokenizer = export_weights(learner.model), corpus.tokenizer
    model = LoadedModel(Path(), manifest, weights, tokenizer, fingerprint="", mixture=mixture)
    tuning, header = corpus.streams["tuning"], corpus.headers["tuning"]
    max_tokens = 1 + num_bytes * len(tuning) // header.num_bytes
    sample = sample_beginnings(documents(np.asarray(tuning)), max_tokens)
    texts = [tokenizer.decode(document.tolist()).decode(errors="ignore") for document in sample]
    return dict(measure(model, [text.rpartition(" ")[0] for text in texts]))  # the last word may be cut


def measure_held_out(
    corpus: TokenizedCorpus, learner: Learner, mixture: NGramMixture | None, *, allowance: Allowance = NO_LIMIT
) -> dict[str, float]:
    """Bits per byte on the first ``REPORT_TOKENS`` of the held-out split: of the model, the counts alone and xz.

    If completions learn from the current document, what the split costs with that is measured too.

    Args:
        corpus: the text.
        learner: holds the network.
        mixture: the n-gram mixture; None if the network is to work alone.
        allowance: the time for it; if there is too little, fewer tokens are scored.
    """
    if "held_out" not in corpus.streams:
        return {}
    stream = np.asarray(corpus.streams["held_out"][: allowance.part_of(REPORT_TOKENS)], dtype=np.int64)
    tokenizer = corpus.tokenizer
    text = tokenizer.decode(stream.tolist())
    context = tokenizer.decode(corpus.streams["training"][-CONTEXT_BYTES // 2 :].tolist())
    metrics: dict[str, float] = {"held_out_bytes": len(text)}
    variants = {"held_out_bits_per_byte": False}
    if mixture is not None and mixture.adapts:
        variants["held_out_adapted_bits_per_byte"] = True
    for name, adapted in variants.items():
        scores = score_tokens(learner.model, documents(stream), mixture=mixture, adapted=adapted, device=learner.device)
        metrics[name] = scores.total_nats / np.log(2) / len(text)
    if mixture is not None:
        metrics["ngrams_bits_per_byte"] = total_nats(mixture.ngrams, stream) / np.log(2) / len(text)
    return metrics | {"xz_bits_per_byte": xz_bits_per_byte(context, text)}
