"""What `eval` says about a text: its cost under a model, in units that compare across models and tokenizers.

The headline figure is static: the network and the n-gram model as trained, the state carried through each document from
zero, nothing learnt on the way. With it go the cost *adapted*, where an n-gram overlay that is empty at the start of
each document learns every token after it was scored, and the costs of the network alone and the n-gram model alone. All
tokens count, document ends included; bytes and characters are those of the text alone.

Shapes: N tokens of a stream.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch

from gru_complete.arrays import TokenIds
from gru_complete.errors import UsageError, printable
from gru_complete.evaluation.calibration import Calibration
from gru_complete.evaluation.gradients import GradientReport
from gru_complete.evaluation.keystrokes import KeystrokesReport, count_words, evaluate_keystrokes
from gru_complete.evaluation.marginal import SAMPLE_BYTES, MarginalCost, score_marginal
from gru_complete.evaluation.novelty import NoveltyReport
from gru_complete.evaluation.online_learning import OnlineCost, measure_online_learning
from gru_complete.evaluation.progress import Progress
from gru_complete.evaluation.suggestions import SuggestionsReport, evaluate_suggestions
from gru_complete.model.directory import LoadedModel
from gru_complete.model.run_dir import RunDir
from gru_complete.ngrams.evidence import total_nats
from gru_complete.ngrams.mixture import NGramMixture
from gru_complete.nn.language_model import LanguageModel, load_weights
from gru_complete.runtime.completer import Completer
from gru_complete.text.shards import ShardHeader, documents
from gru_complete.training.scoring import TokenScores, score_tokens

SUGGESTION_TEXT_BYTES = 1_000_000
"""How much of a text suggestions are measured on: as much as training holds out at most by default."""


@dataclass(frozen=True)
class EvaluationReport:
    """The figures of one text; a figure that was not asked for is None.

    Args:
        scores: static nats and hits, summed over all tokens.
        num_bytes: the size of the text in UTF-8.
        num_chars: the code points of the text.
        seconds: the time for static scoring.
        variant_nats: total nats by JSON key: "gru_only", "ngrams_only" and, unless it is in ``online_costs``,
            "adapted"; empty for a model without n-grams.
        online_costs: the costs with learning from the text, by ``online_learning.learners_key``; empty unless they were
            asked for.
        marginal: the cost of the beginning of the text, summed over segmentations.
        suggestions: the trade-off of suggesting more often or being right more often.
        gradients: how far back the network remembers.
        novelty: how much of what the model writes is copied from its training text.
        calibration: the calibration of the static predictions.
        keystrokes: what whole-word suggestions are worth; also None for a text without words.
        xz_bits_per_byte: what xz needs; None without the training text.
    """

    scores: TokenScores
    num_bytes: int
    num_chars: int
    seconds: float
    variant_nats: Mapping[str, float] = field(default_factory=dict)
    online_costs: Mapping[str, OnlineCost] = field(default_factory=dict)
    marginal: MarginalCost | None = None
    suggestions: SuggestionsReport | None = None
    gradients: GradientReport | None = None
    novelty: NoveltyReport | None = None
    calibration: Calibration | None = None
    keystrokes: KeystrokesReport | None = None
    xz_bits_per_byte: float | None = None

    @property
    def bits_per_byte(self) -> float:
        """Total nats / (ln 2 x bytes): the size of the text, compressed by an ideal coder that uses this model.

        Unlike the perplexity it does not depend on the tokenizer: longer tokens cost more each, but there are fewer.
        """
        return self.scores.total_nats / math.log(2) / self.num_bytes

    @property
    def nats_per_char(self) -> float:
        """Total nats / characters, the unit in which results on tiny Shakespeare are usually given."""
        return self.scores.total_nats / self.num_chars

    @property
    def perplexity(self) -> float:
        """exp(nats per token): only comparable between models with the same tokenizer."""
        return math.exp(self.scores.total_nats / self.scores.num_tokens)

    def to_json(self) -> dict[str, Any]:
        """The figures under the keys of ``eval --json``."""
        hits = {"top1": self.scores.top1, "top3": self.scores.top3, "top5": self.scores.top5}
        optional: dict[str, MarginalCost | SuggestionsReport | GradientReport | NoveltyReport | Calibration | None] = {
            "marginal": self.marginal,
            "offers": self.suggestions,
            "memory": self.gradients,
            "novelty": self.novelty,
            "calibration": self.calibration,
        }
        more: dict[str, Any] = {key: report.to_json() for key, report in optional.items() if report is not None}
        if self.keystrokes is not None:
            more |= self.keystrokes.to_json()
        if self.xz_bits_per_byte is not None:
            more["baselines"] = {"xz": self.cost(self.xz_bits_per_byte * math.log(2) * self.num_bytes)}
        return {
            "bits_per_byte": self.bits_per_byte,
            "nats_per_char": self.nats_per_char,
            "perplexity": self.perplexity,
            "num_bytes": self.num_bytes,
            "num_chars": self.num_chars,
            "num_tokens": self.scores.num_tokens,
            "next_token": {name: count / self.scores.num_tokens for name, count in hits.items()},
            "tokens_per_second": self.scores.num_tokens / self.seconds,
            **{name: self.cost(nats) for name, nats in self.variant_nats.items()},
            **{
                name: self.cost(cost.nats) | {"microseconds_per_token": 1e6 * cost.seconds / self.scores.num_tokens}
                for name, cost in self.online_costs.items()
            },
            **more,
        }

    def cost(self, nats: float) -> dict[str, float]:
        """Convert total nats to the units of the headline figures."""
        return {"bits_per_byte": nats / math.log(2) / self.num_bytes, "nats_per_char": nats / self.num_chars}


def network_from_model(model: LoadedModel, device: torch.device) -> LanguageModel:
    """Make the PyTorch module of a finished model."""
    module = LanguageModel(**model.manifest.arch._asdict())
    load_weights(module, model.weights)
    return module.to(device)


def evaluate(
    module: LanguageModel,
    stream: TokenIds,
    header: ShardHeader,
    *,
    mixture: NGramMixture | None = None,
    online: bool = False,
    chunk_len: int = 256,
) -> EvaluationReport:
    """Score a token stream, one document after the other.

    Args:
        module: the network.
        stream: token ids, documents between document ends, ``(N,)``.
        header: the sizes of the text.
        mixture: the model's n-grams, mixed into the network's predictions.
        online: whether to score with every set of online learners too, which takes about a millisecond for each token.
        chunk_len: tokens read at once; it changes time and memory, not the result.
    """
    device = module.embedding.device
    start = time.monotonic()
    texts = documents(stream)
    calibration = Calibration()
    scores = score_tokens(module, texts, mixture=mixture, chunk_len=chunk_len, device=device, observe=calibration.add)
    seconds = time.monotonic() - start
    variants: dict[str, float] = {}
    if mixture is not None:
        alone = score_tokens(module, texts, chunk_len=chunk_len, device=device)
        variants = {
            "gru_only": alone.total_nats,
            "ngrams_only": sum(total_nats(mixture.ngrams, text) for text in texts),
        }
        if not online:  # otherwise it is among the online costs
            adapted = score_tokens(module, texts, mixture=mixture, adapted=True, chunk_len=chunk_len, device=device)
            variants = {"adapted": adapted.total_nats} | variants
    online_costs = measure_online_learning(module, texts, mixture=mixture) if online else {}
    return EvaluationReport(
        scores, header.num_bytes, header.num_chars, seconds, variants, online_costs, calibration=calibration
    )


def measure_marginal(model: LoadedModel, stream: TokenIds, *, progress: Progress | None = None) -> MarginalCost:
    """Score the beginning of a text summed over segmentations, with the network and the n-grams as trained.

    Args:
        model: the model.
        stream: token ids, documents between document ends, ``(N,)``.
        progress: called with the number of bytes scored since the last call, in total ``SAMPLE_BYTES`` or fewer.
    """
    # Every token but the two ends has at least one byte, so a document that is cut here is longer than the sample.
    texts = (model.tokenizer.decode(document[: SAMPLE_BYTES + 2].tolist()) for document in documents(stream))
    predictor = Completer.from_model(model).predictor
    return score_marginal(predictor, model.tokenizer, texts, max_bytes=SAMPLE_BYTES, progress=progress)


def measure_suggestions(model: LoadedModel, stream: TokenIds, *, progress: Progress | None = None) -> SuggestionsReport:
    """Ask for suggestions, as ``complete`` makes them, in the first ``SUGGESTION_TEXT_BYTES`` of a text.

    Args:
        model: the model.
        stream: token ids, documents between document ends, ``(N,)``.
        progress: called with 1 at each place, of which there are ``NUM_POSITIONS`` or one for each character.
    """
    return evaluate_suggestions(Completer.from_model(model), _decode_beginning(model, stream), progress=progress)


def measure_keystrokes(
    model: LoadedModel, stream: TokenIds, progress_for: Callable[[int], AbstractContextManager[Progress | None]]
) -> KeystrokesReport | None:
    """Let a simulated user write words from the first ``SUGGESTION_TEXT_BYTES`` of a text.

    Args:
        model: the model.
        stream: token ids, documents between document ends, ``(N,)``.
        progress_for: called with the number of words; the context manager yields what is called with 1 after each.
    """
    texts = _decode_beginning(model, stream)
    with progress_for(count_words(texts)) as progress:
        return evaluate_keystrokes(Completer.from_model(model), texts, progress=progress)


def _decode_beginning(model: LoadedModel, stream: TokenIds) -> list[str]:
    """Decode the first ``SUGGESTION_TEXT_BYTES`` of a text, document by document."""
    texts = []
    num_left = SUGGESTION_TEXT_BYTES
    for document in documents(stream):
        data = model.tokenizer.decode(document[: num_left + 2].tolist())[:num_left]
        texts.append(data.decode(errors="ignore"))  # the cut may leave a part of a character
        num_left -= len(data)
        if not num_left:
            break
    return texts


def read_held_out(model: LoadedModel) -> tuple[TokenIds, ShardHeader]:
    """Read the held-out split (the test split) of the training text from the run directory, ``(N,)`` with its header.

    Raises:
        UsageError: there is none, so the user has to name a text.
        ModelError: another tokenizer cut it.
    """
    run_dir = RunDir.beside(model.path)
    hint = "give a text that the model has not seen, as in: gru-complete eval held-out.txt"
    if not run_dir.has_part("held_out"):
        raise UsageError(f"no held-out text was kept for {printable(model.path.name)}", hint=hint)
    return run_dir.read_part("held_out", model.tokenizer, hint=hint)
