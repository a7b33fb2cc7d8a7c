"""What `eval` says of a text: its cost under a model, in units that compare across models and tokenizers.

The headline is static: network and counts as trained, the state carried through each document from zero, nothing learnt
on the way. Beside it stands what the text costs *adapted*, where an overlay of counts, empty at each document's start,
learns every token after it was scored, and what the network and the counts pay alone. The cost counts every token,
document ends included; bytes and characters are those of the text alone.
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
from gru_complete.evaluation.suggestions import SuggestionsReport, evaluate_suggestions
from gru_complete.model.directory import LoadedModel
from gru_complete.model.run_dir import RunDir
from gru_complete.ngrams.mixture import NGramMixture
from gru_complete.nn.language_model import LanguageModel, load_weights
from gru_complete.runtime.completer import Completer
from gru_complete.text.shards import ShardHeader, documents
from gru_complete.training.scoring import TokenScores, score_tokens

SUGGESTION_TEXT_BYTES = 1_000_000
"""How much of a text is read to ask for offers: as much as is held out at most, unless a config says otherwise."""


@dataclass(frozen=True)
class EvaluationReport:
    """The figures of one text.

    Args:
        scores: static nats and hits, summed over all tokens.
        num_bytes: of the text, UTF-8.
        num_chars: code points of the text.
        seconds: that static scoring took.
        variant_nats: total nats by other names: "gru_only", "ngrams_only" and, unless it is in ``online_costs``,
            "adapted"; none of a model without counts.
        online_costs: what the text costs under each set of ways to learn from it, by the names of
            ``online_learning.learner_name``; none unless it was asked for.
        marginal: what its beginning costs, summed over segmentations; None unless it was asked for.
        suggestions: what asking for confidence costs and gains; None unless it was asked for.
        gradients: how far back the network remembers; None unless it was asked for.
        novelty: how much of what the model writes stands in its corpus; None unless it was asked for.
        calibration: of the static predictions.
        keystrokes: what suggestions are worth; None unless it was asked for, or of a text without words.
        xz_bits_per_byte: what xz pays; None without the training text.
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
        """Total nats / (ln 2 x bytes): what a perfect coder would make of the text with this model."""
        return self.scores.total_nats / math.log(2) / self.num_bytes

    @property
    def nats_per_char(self) -> float:
        """Total nats / characters, the unit of the tiny Shakespeare figures."""
        return self.scores.total_nats / self.num_chars

    @property
    def perplexity(self) -> float:
        """exp(nats per token): comparable between models with the same tokenizer only."""
        return math.exp(self.scores.total_nats / self.scores.num_tokens)

    def to_json(self) -> dict[str, Any]:
        """The figures under the names that ``--json`` has had from the first version on."""
        hits = {"top1": self.scores.top1, "top3": self.scores.top3, "top5": self.scores.top5}
        more: dict[str, Any] = {}
        if self.marginal is not None:
            more["marginal"] = self.marginal.to_json()
        if self.suggestions is not None:
            number = self.suggestions.num_positions
            more["offers"] = [tradeoff.to_json() | {"num_positions": number} for tradeoff in self.suggestions.tradeoffs]
        if self.gradients is not None:
            more["memory"] = self.gradients.to_json()
        if self.novelty is not None:
            more["novelty"] = self.novelty.to_json()
        if self.calibration is not None:
            more["calibration"] = self.calibration.to_json()
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
        """A total of nats in the units of the headline."""
        return {"bits_per_byte": nats / math.log(2) / self.num_bytes, "nats_per_char": nats / self.num_chars}


def network_from_model(model: LoadedModel, device: torch.device) -> LanguageModel:
    """The finished model as a PyTorch module."""
    arch = model.manifest.arch
    module = LanguageModel(
        arch.vocab_size,
        cell=arch.cell,
        embedding_size=arch.embedding_size,
        hidden_size=arch.hidden_size,
        num_layers=arch.num_layers,
    )
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
        mixture: the counts that belong to the network.
        online: whether all ways to learn from the text are tried besides; that takes a millisecond for each token.
        chunk_len: tokens read at once; it changes time and memory, not the result.
    """
    device = module.embedding.device
    start = time.monotonic()
    texts = documents(stream)
    calibration = Calibration()
    scores = score_tokens(module, texts, mixture=mixture, chunk_len=chunk_len, device=device, observe=calibration.add)
    seconds = time.monotonic() - start
    others: dict[str, float] = {}
    if mixture is not None:
        alone = score_tokens(module, texts, chunk_len=chunk_len, device=device)
        others = {"gru_only": alone.total_nats, "ngrams_only": sum(mixture.ngrams.total_nats(text) for text in texts)}
        if not online:  # else it is one of the ways
            adapted = score_tokens(module, texts, mixture=mixture, adapted=True, chunk_len=chunk_len, device=device)
            others = {"adapted": adapted.total_nats} | others
    adapting = measure_online_learning(module, texts, mixture=mixture) if online else {}
    return EvaluationReport(
        scores, header.num_bytes, header.num_chars, seconds, others, adapting, calibration=calibration
    )


def measure_marginal(
    model: LoadedModel, stream: TokenIds, *, progress: Callable[[int], object] | None = None
) -> MarginalCost:
    """Score the beginning of a token stream's text summed over segmentations; network and counts as trained.

    Args:
        model: the model.
        stream: token ids, documents between document ends, ``(N,)``.
        progress: is told again and again how many bytes more were scored, of ``SAMPLE_BYTES`` or of all there are.
    """
    # No token but the ends is without bytes, so a document of which this is not all is seen to go on.
    texts = (model.tokenizer.decode(document[: SAMPLE_BYTES + 2].tolist()) for document in documents(stream))
    predictor = Completer.from_model(model).predictor
    return score_marginal(predictor, model.tokenizer, texts, max_bytes=SAMPLE_BYTES, progress=progress)


def measure_suggestions(
    model: LoadedModel, stream: TokenIds, *, progress: Callable[[int], object] | None = None
) -> SuggestionsReport:
    """Ask for offers at places of a token stream's text, of its first ``SUGGESTION_TEXT_BYTES``, as ``complete`` would.

    Args:
        model: the model.
        stream: token ids, documents between document ends, ``(N,)``.
        progress: is told 1 at each place, of ``NUM_POSITIONS`` or of as many as there are characters.
    """
    return evaluate_suggestions(Completer.from_model(model), _beginning(model, stream), progress=progress)


def measure_keystrokes(
    model: LoadedModel,
    stream: TokenIds,
    progress_of: Callable[[int], AbstractContextManager[Callable[[int], object] | None]],
) -> KeystrokesReport | None:
    """Let a simulated user write words of a token stream's text, of its first ``SUGGESTION_TEXT_BYTES``.

    Args:
        model: the model.
        stream: token ids, documents between document ends, ``(N,)``.
        progress_of: is told how many words will be looked at; what it yields is told 1 after each of them.
    """
    texts = _beginning(model, stream)
    with progress_of(count_words(texts)) as progress:
        return evaluate_keystrokes(Completer.from_model(model), texts, progress=progress)


def _beginning(model: LoadedModel, stream: TokenIds) -> list[str]:
    """The first ``SUGGESTION_TEXT_BYTES`` of a token stream's text, document by document."""
    texts = []
    left = SUGGESTION_TEXT_BYTES
    for document in documents(stream):
        data = model.tokenizer.decode(document[: left + 2].tolist())[:left]
        texts.append(data.decode(errors="ignore"))  # where it was cut, part of a character
        left -= len(data)
        if not left:
            break
    return texts


def read_held_out(model: LoadedModel) -> tuple[TokenIds, ShardHeader]:
    """The text that training kept apart, from the run directory.

    Raises:
        UsageError: there is none, so the user has to name a text.
        ModelError: another tokenizer cut it.
    """
    run_dir = RunDir.beside(model.path)
    hint = "give a text that the model has not seen, as in: gru-complete eval held-out.txt"
    if not run_dir.has_part("held_out"):
        raise UsageError(f"no held-out text was kept for {printable(model.path.name)}", hint=hint)
    return run_dir.read_part("held_out", model.tokenizer, hint=hint)
