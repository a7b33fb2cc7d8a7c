"""The n-gram mixture of a trained network: counts of the text, and the weights with which they are mixed in.

The mixing weights are fitted on the tuning split (the validation split), which neither the network nor the counts have
seen; then the counts take it in. ``ngrams/mixture.py`` explains the mixture.

Shapes: N tokens of the tuning split, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from gru_complete.arrays import TokenIds
from gru_complete.config import NGramsConfig
from gru_complete.model.directory import LoadedModel
from gru_complete.model.run_dir import Part
from gru_complete.ngrams.building import MAX_TOKENS, count_ngrams
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.evidence import EvidenceArrays, evidence_features
from gru_complete.ngrams.merging import merge_ngrams
from gru_complete.ngrams.mixture import MixingWeights, NGramMixture
from gru_complete.ngrams.pair import NGramPair
from gru_complete.nn.language_model import LanguageModel
from gru_complete.text.shards import documents
from gru_complete.text.tokenizer import DOCUMENT_END
from gru_complete.training.device import return_freed_memory
from gru_complete.training.pace import NO_LIMIT, Allowance
from gru_complete.training.scoring import read_documents, score_tokens
from gru_complete.training.tokenized_corpus import TokenizedCorpus

MAX_BYTES = 9_500_000  # of the counts of a text that are kept, unless the user asks for another size
MAX_BYTES_WITH_BASE = 5_000_000  # the same beside those of a base: all of the model then fits in 16 MB
MAX_BASE_TOKENS = 1 << 25  # counted where phrases must stand in several documents: made once, and where RAM suffices
MAX_SCORES = 1 << 25  # N * V: the fit holds this many twice in float16, 128 MB
ITERATIONS = 20
PAIR_ITERATIONS = 60  # each takes milliseconds
PRIOR, PRIOR_TOKENS = 1e-4, 0.5  # pull towards the start, for weights of which the tuning split says little
TRUSTED_TOKENS = 5_000  # so many tell whether the network helps, whatever was fitted on them
FOLDS = 2  # of fewer tokens, on each of which mixing weights are tried that were fitted on the others
BLOCK = 512
MIN_TOKENS = 256  # of a document, unless it is shorter: its first tokens say little about later ones
START = (0.7, 0.3, 0.0, 0.0, 0.0)  # where the powers and the shares end for most texts, give or take 0.3
ONLINE_TRIAL_TOKENS = 20_000  # of the tuning split, on which learning from the current document is tried


def automatic_bytes(num_bytes: int) -> int:
    """The most that the counts of a text of ``num_bytes`` take on disk.

    With the network they then fit in 10 MB, or 25 MB with the largest one.
    """
    return min(MAX_BYTES, 1_000_000 + 11 * num_bytes // 5)


def count_parts(
    corpus: TokenizedCorpus, parts: Sequence[Part], settings: NGramsConfig, *, most_bytes: int | None = None
) -> NGrams:
    """Count the n-grams of some splits of a text.

    Args:
        corpus: the text.
        parts: which splits of it.
        settings: order and size.
        most_bytes: of the counts on disk, unless the settings say it.
    """
    tokenizer = corpus.tokenizer
    has_digit = np.array([any(byte in b"0123456789" for byte in piece) for piece in tokenizer.pieces])
    num_bytes = sum(corpus.headers[part].num_bytes for part in parts)
    return_freed_memory()
    counts = count_ngrams(
        *(corpus.streams[part] for part in parts),
        vocab_size=tokenizer.vocab_size,
        order=settings.order,
        max_bytes=settings.max_bytes or min(automatic_bytes(num_bytes), most_bytes or MAX_BYTES),
        digit_tokens=has_digit,
        min_documents=settings.min_documents,
        max_tokens=MAX_TOKENS if settings.min_documents == 1 else MAX_BASE_TOKENS,
    )
    return_freed_memory()
    return counts


def count_training_split(
    corpus: TokenizedCorpus, settings: NGramsConfig, base: LoadedModel | None
) -> NGrams | NGramPair:
    """Count the n-grams of the training split, beside those of the model that the training starts from.

    If that started from a base itself, the n-grams of its own text go on to be counted with those of the new text.

    Args:
        corpus: the text.
        settings: order and size.
        base: the model to start from; None to start from nothing.
    """
    if base is None or base.mixture is None:
        return count_parts(corpus, ("training",), settings)
    own = count_parts(corpus, ("training",), settings, most_bytes=MAX_BYTES_WITH_BASE)
    of_base = base.mixture.ngrams
    if isinstance(of_base, NGramPair):
        own = merge_ngrams(of_base.own, own, max_bytes=settings.max_bytes or MAX_BYTES_WITH_BASE)
        of_base = of_base.base
    return pair_with_base(own, of_base, corpus.streams["tuning"])


def with_tuning_split(
    counts: NGrams | NGramPair, corpus: TokenizedCorpus, settings: NGramsConfig
) -> NGrams | NGramPair:
    """The n-gram model of a training split with the tuning split taken in, once nothing is fitted on it any more.

    Args:
        counts: those of the training split, perhaps with a base.
        corpus: the text.
        settings: order and size.
    """
    if not isinstance(counts, NGramPair):
        return count_parts(corpus, ("training", "tuning"), settings)
    tuning = count_parts(corpus, ("tuning",), settings, most_bytes=MAX_BYTES_WITH_BASE)
    max_bytes = settings.max_bytes or MAX_BYTES_WITH_BASE
    return counts.with_own(merge_ngrams(counts.own, tuning, max_bytes=max_bytes))


def pair_with_base(own: NGrams, base: NGrams, tuning: TokenIds) -> NGramPair:
    """Put the n-gram model of a base beside that of a text.

    The shares are those under which the tuning split is most likely.

    Args:
        own: the counts of the training split alone.
        base: the n-gram model of the base, of the same vocabulary.
        tuning: token ids of the tuning split, ``(N,)``.
    """
    scores = [(own.score_stream(document), base.score_stream(document)) for document in documents(tuning)]
    features = torch.from_numpy(
        np.concatenate(
            [
                np.concatenate(
                    [evidence_features(mine.evidence, own.order), evidence_features(other.evidence, base.order)], axis=1
                )
                for mine, other in scores
            ]
        )
    )
    of_own, of_base = (
        torch.from_numpy(np.log(np.concatenate([pair[which].probabilities for pair in scores]))) for which in (0, 1)
    )
    shares = torch.zeros(features.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([shares], max_iter=PAIR_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        score = features @ shares
        logs = torch.stack([F.logsigmoid(score) + of_own, F.logsigmoid(-score) + of_base])
        prior = (PRIOR + PRIOR_TOKENS / len(features)) * shares.square().sum()
        total = prior - torch.logsumexp(logs, dim=0).mean()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return NGramPair(own, base, shares.detach().numpy())


class FittedMixture(NamedTuple):
    """The mixture, and what came of trying it.

    Attributes:
        mixture: with the counts of the training split alone.
        tried: the tokens of the tuning split that were scored with it, ``(n,)``.
        static_nats: their cost, if nothing is learnt from them meanwhile.
    """

    mixture: NGramMixture
    tried: TokenIds
    static_nats: float


def fit_mixture(
    model: LanguageModel,
    counts: NGrams | NGramPair,
    tuning: TokenIds,
    settings: NGramsConfig,
    *,
    device: torch.device,
    allowance: Allowance = NO_LIMIT,
    start: MixingWeights | None = None,
) -> FittedMixture:
    """Fit the mixing weights, and find out whether learning from the current document lowers the cost.

    Args:
        model: the trained network.
        counts: those of the training split alone.
        tuning: token ids of the tuning split, ``(N,)``.
        settings: whether to learn from the current document, if the user has decided that.
        device: where the model is.
        allowance: the time for it.
        start: the mixing weights to begin with, if there are better ones than the usual.
    """
    max_scores = allowance.part_of(MAX_SCORES)
    weights = fit_mixing_weights(model, counts, documents(tuning), device=device, max_scores=max_scores, start=start)
    mixture = NGramMixture(counts, weights, adapts=bool(settings.adapt))
    tried: TokenIds = np.asarray(tuning[: allowance.part_of(ONLINE_TRIAL_TOKENS)])
    sample = documents(tried)
    static_nats = score_tokens(model, sample, mixture=mixture, device=device).total_nats
    if settings.adapt is None:
        adapted = score_tokens(model, sample, mixture=mixture, adapted=True, device=device)
        mixture = mixture._replace(adapts=adapted.total_nats < static_nats)
    return FittedMixture(mixture, tried, static_nats)


@dataclass(frozen=True)
class _Block:
    """Some tokens of the tuning split, n of them.

    Attributes:
        gru: log probabilities under the network, float16 ``(n, V)``.
        counts: log probabilities under the n-gram model, float16 ``(n, V)``.
        evidence: the features that the mixing weights multiply, ``(n, order + NUM_SLOPES)``.
        targets: token ids, ``(n, 1)``.
    """

    gru: Tensor
    counts: Tensor
    evidence: Tensor
    targets: Tensor

    @classmethod
    def concatenated(cls, blocks: Sequence[_Block]) -> _Block:
        """All tokens of some blocks."""
        names = [field.name for field in fields(cls)]
        return cls(*(torch.cat([getattr(block, name) for block in blocks]) for name in names))

    def rows(self, chosen: Tensor) -> _Block:
        """The tokens that a mask ``(n,)`` chooses."""
        return _Block(self.gru[chosen], self.counts[chosen], self.evidence[chosen], self.targets[chosen])


def fit_mixing_weights(
    model: LanguageModel,
    ngrams: NGrams | NGramPair,
    documents: Sequence[npt.NDArray[np.integer]],
    *,
    device: torch.device,
    max_scores: int = MAX_SCORES,
    start: MixingWeights | None = None,
) -> MixingWeights:
    """Find the mixing weights under which the tuning split is most likely.

    Args:
        model: the trained network.
        ngrams: the counts of the training split alone.
        documents: token streams of the tuning split; if they are too long, the beginnings of some are used.
        device: where the model is.
        max_scores: the most scores to use, tokens times vocabulary.
        start: the mixing weights to begin with, to which the fit is drawn; those that suit most texts if omitted, or
            if these are for another order.

    Returns:
        A minimum of the mean nats per token, found by L-BFGS (Liu and Nocedal 1989); or those of the counts alone, if
        cross-validation on a small split says that the network only does harm.
    """
    used = sample_beginnings(documents, max(1, max_scores // ngrams.vocab_size))
    blocks = list(_blocks(model, ngrams, used, device))
    if start is None or start.order != ngrams.order or start.are_of_counts_alone:
        start = MixingWeights.constant(START, ngrams.order)
    drawn_to = torch.from_numpy(start.weights)
    num_tokens = sum(len(block.targets) for block in blocks)
    if FOLDS <= num_tokens < TRUSTED_TOKENS and not _network_helps(blocks, drawn_to):
        return MixingWeights.of_counts_alone(ngrams.order)
    return _most_likely(blocks, drawn_to)


def _network_helps(blocks: Sequence[_Block], start: Tensor) -> bool:
    """Whether mixing weights that were fitted on the other folds make a fold likelier than the counts alone do."""
    whole = _Block.concatenated(blocks)
    folds = torch.arange(len(whole.targets)) * FOLDS // len(whole.targets)
    nats = 0.0
    for fold in range(FOLDS):
        weights = _most_likely([whole.rows(folds != fold)], start).weights
        nats += float(_nats(torch.from_numpy(weights), whole.rows(folds == fold)))
    return nats < -float(whole.counts.float().gather(-1, whole.targets).sum())


def _most_likely(blocks: Sequence[_Block], start: Tensor) -> MixingWeights:
    """The mixing weights near ``start`` under which the targets of the blocks are most likely."""
    num_tokens = sum(len(block.targets) for block in blocks)
    prior = PRIOR + PRIOR_TOKENS / max(1, num_tokens)
    weights = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = prior * (weights - start).square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        for block in blocks:
            part = _nats(weights, block) / num_tokens
            part.backward()  # type: ignore[no-untyped-call]
            total = total.detach() + part.detach()
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return MixingWeights(weights.detach().numpy())


def fit_beginnings(
    model: LanguageModel,
    mixture: NGramMixture,
    prompts: Sequence[Sequence[int]],
    *,
    device: torch.device,
    num_given: int = 0,
) -> MixingWeights | None:
    """Find the mixing weights for the beginnings of prompts; None without any prompt.

    Args:
        model: the trained network.
        mixture: the counts of the training split alone, with the mixing weights of whole documents.
        prompts: the first tokens of lines or paragraphs of the tuning split, with what stands before a prompt; of each
            those after which the context is cut off, and the next one.
        device: where the model is.
        num_given: how many tokens of each prompt are not to be predicted.
    """
    ngrams = mixture.ngrams
    blocks: list[_Block] = []
    streams = [np.array([DOCUMENT_END, *tokens]) for tokens in prompts]
    for chunk in read_documents(model, streams, device=device, batch_size=256):
        context, rows, known = ngrams.cut_off_context(), [], []
        for token in chunk.tokens[1:].tolist():
            row, evidence = ngrams.distribution_and_evidence(context)
            rows.append(row)
            known.append(evidence)
            context = ngrams.advance(context, token)
        features = evidence_features(EvidenceArrays.from_evidence(known), ngrams.order)
        blocks.append(
            _Block(
                gru=chunk.logits[num_given:].log_softmax(-1).half().cpu(),
                counts=torch.from_numpy(np.log(np.stack(rows)))[num_given:].half(),
                evidence=torch.from_numpy(features)[num_given:],
                targets=torch.from_numpy(chunk.tokens[1 + num_given :]).unsqueeze(-1),
            )
        )
    if not blocks:
        return None
    start = torch.from_numpy(mixture.mixing.of_whole_contexts.weights)
    return _most_likely([_Block.concatenated(blocks)], start)


def sample_beginnings(documents: Sequence[npt.NDArray[np.integer]], max_tokens: int) -> list[npt.NDArray[np.integer]]:
    """The beginnings of evenly spaced documents, about ``max_tokens`` targets in all.

    Each document gives the same share of its tokens, and short ones give everything.
    """
    num_targets = sum(len(document) - 1 for document in documents)
    if num_targets <= max_tokens:
        return list(documents)
    from_each = min(MIN_TOKENS, -(-num_targets // len(documents)))
    spaced = documents[:: -(-len(documents) * from_each // max_tokens)]
    share = max_tokens / sum(len(document) - 1 for document in spaced)
    return [document[: 1 + max(1, int(share * (len(document) - 1)))] for document in spaced]


def _blocks(
    model: LanguageModel, ngrams: NGrams | NGramPair, documents: Sequence[npt.NDArray[np.integer]], device: torch.device
) -> Iterator[_Block]:
    """Read the documents under both models, in blocks of ``BLOCK`` tokens."""
    for document in documents:
        evidence = ngrams.score_stream(document).evidence
        features = torch.from_numpy(evidence_features(evidence, ngrams.order))
        contexts = ngrams.contexts(document[:-1])
        done = 0
        for chunk in read_documents(model, [document], chunk_len=BLOCK, device=device):
            rows = slice(done, done + len(chunk.logits))
            done = rows.stop
            yield _Block(
                gru=chunk.logits.log_softmax(-1).half().cpu(),
                counts=torch.from_numpy(np.log(ngrams.distributions(contexts[rows]))).half(),
                evidence=features[rows],
                targets=torch.from_numpy(chunk.tokens[1:]).unsqueeze(-1),
            )


def _nats(weights: Tensor, block: _Block) -> Tensor:
    """Nats of all tokens of a block: ``MixingWeights.mix`` again, but differentiable; a test compares them."""
    powers_and_shares = block.evidence @ weights
    gru, counts = block.gru.float(), block.counts.float()
    product = (powers_and_shares[:, :1] * gru + powers_and_shares[:, 1:2] * counts).log_softmax(-1)
    experts = torch.cat([scores.gather(-1, block.targets) for scores in (product, counts, gru)], dim=-1)
    return -torch.logsumexp(powers_and_shares[:, 2:].log_softmax(-1) + experts, dim=-1).sum()
