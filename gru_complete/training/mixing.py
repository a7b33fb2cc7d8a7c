"""The memory that goes with a trained network: counts of the text, and the gate that mixes them in.

The gate is fitted on the tuning part, which neither the network nor the counts have seen; then the counts take it in.

Shapes: N tokens of the tuning part, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gru_complete.arrays import TokenIds
from gru_complete.config import NGramsConfig
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.mixture import NUM_OUTPUTS, NUM_SLOPES, MixingWeights, NGramMixture, evidence_features
from gru_complete.nn.language_model import LanguageModel
from gru_complete.text.shards import documents
from gru_complete.text.tokenizer import Tokenizer
from gru_complete.training.scoring import read_documents, score_tokens

MAX_SCORES = 1 << 25  # N * V: what the fit holds twice in float16, 128 MB
ITERATIONS = 20
PRIOR = 1e-4  # pull towards the start, for gates that the tuning part says little of
BLOCK = 512
MIN_TOKENS = 256  # of a document, unless it is shorter: the first tokens say little of those that follow
START = (0.7, 0.3, 0.0, 0.0, 0.0)  # where the powers and the shares end for most texts, give or take 0.3
ADAPTING_TOKENS = 20_000  # of the tuning part, on which learning from the text at hand is tried


def automatic_bytes(num_bytes: int) -> int:
    """The most that the counts of this much text take on disk: what fits beside the network in 10 MB, or 25 MB."""
    return min(9_500_000, 1_000_000 + 11 * num_bytes // 5)


def count(streams: Sequence[TokenIds], tokenizer: Tokenizer, settings: NGramsConfig, *, num_bytes: int) -> NGrams:
    """Count the phrases of some token streams.

    Args:
        streams: documents between document ends, ``(N,)`` each.
        tokenizer: what cut them.
        settings: order and size.
        num_bytes: of the text.
    """
    has_digit = np.array([any(byte in b"0123456789" for byte in piece) for piece in tokenizer.pieces])
    return count_ngrams(
        *streams,
        vocab_size=tokenizer.vocab_size,
        order=settings.order,
        max_bytes=settings.max_bytes or automatic_bytes(num_bytes),
        digit_tokens=has_digit,
    )


def make_mixture(
    model: LanguageModel, counts: NGrams, tuning: TokenIds, settings: NGramsConfig, *, device: torch.device
) -> NGramMixture:
    """Fit the gate, and see whether learning from the text at hand gains.

    Args:
        model: the network as trained.
        counts: those of the training part alone.
        tuning: token ids of the tuning part, ``(N,)``.
        settings: whether to adapt, if the user has said so.
        device: where the model is.
    """
    mixing = fit_mixing_weights(model, counts, documents(tuning), device=device)
    mixture = NGramMixture(counts, mixing, adapts=bool(settings.adapt))
    if settings.adapt is not None:
        return mixture
    sample = documents(np.asarray(tuning[:ADAPTING_TOKENS]))
    static = score_tokens(model, sample, mixture=mixture, device=device)
    adapted = score_tokens(model, sample, mixture=mixture, adapted=True, device=device)
    return mixture._replace(adapts=adapted.total_nats < static.total_nats)


@dataclass(frozen=True)
class _Block:
    """Tokens: log probabilities of both models ``(n, V)`` float16, what the gate sees, and what came ``(n, 1)``."""

    gru: Tensor
    counts: Tensor
    seen: Tensor
    targets: Tensor


def fit_mixing_weights(
    model: LanguageModel,
    ngrams: NGrams,
    documents: Sequence[npt.NDArray[np.integer]],
    *,
    device: torch.device,
    max_scores: int = MAX_SCORES,
) -> MixingWeights:
    """Find the gate that makes the tuning part likeliest.

    Args:
        model: the GRU as trained.
        ngrams: the counts of the training part alone.
        documents: token streams of the tuning part; if they are too much, of some of them the beginning is used.
        device: where the model is.
        max_scores: tokens times vocabulary that are looked at.

    Returns:
        The mixture; a minimum of the mean nats per token by L-BFGS (Liu and Nocedal 1989).
    """
    used = beginnings(documents, max(1, max_scores // ngrams.vocab_size))
    blocks = list(_blocks(model, ngrams, used, device))
    num_tokens = sum(len(block.targets) for block in blocks)
    start = torch.zeros(ngrams.order + NUM_SLOPES, NUM_OUTPUTS)
    start[: ngrams.order] = torch.tensor(START)
    weights = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = PRIOR * (weights - start).square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        for block in blocks:
            part = _nats(weights, block) / num_tokens
            part.backward()  # type: ignore[no-untyped-call]
            total = total.detach() + part.detach()
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return MixingWeights(weights.detach().numpy())


def beginnings(documents: Sequence[npt.NDArray[np.integer]], most_tokens: int) -> list[npt.NDArray[np.integer]]:
    """About so many targets of evenly spaced documents: the same share of each, but of short documents all."""
    num_targets = sum(len(document) - 1 for document in documents)
    if num_targets <= most_tokens:
        return list(documents)
    from_each = min(MIN_TOKENS, -(-num_targets // len(documents)))
    spaced = documents[:: -(-len(documents) * from_each // most_tokens)]
    share = most_tokens / sum(len(document) - 1 for document in spaced)
    return [document[: 1 + max(1, int(share * (len(document) - 1)))] for document in spaced]


def _blocks(
    model: LanguageModel, ngrams: NGrams, documents: Sequence[npt.NDArray[np.integer]], device: torch.device
) -> Iterator[_Block]:
    for document in documents:
        reading = ngrams.score_stream(document)
        evidence = reading.evidence
        seen = torch.from_numpy(evidence_features(evidence, ngrams.order))
        contexts = ngrams.contexts(document[:-1])
        done = 0
        for chunk in read_documents(model, [document], chunk_len=BLOCK, device=device):
            rows = slice(done, done + len(chunk.logits))
            done = rows.stop
            yield _Block(
                gru=chunk.logits.log_softmax(-1).half().cpu(),
                counts=torch.from_numpy(np.log(ngrams.distributions(contexts[rows]))).half(),
                seen=seen[rows],
                targets=torch.from_numpy(chunk.tokens[1:]).unsqueeze(-1),
            )


def _nats(weights: Tensor, block: _Block) -> Tensor:
    """Of all the block's tokens: ``Mixture.mix`` once more, where gradients can be had."""
    gates = block.seen @ weights
    gru, counts = block.gru.float(), block.counts.float()
    product = (gates[:, :1] * gru + gates[:, 1:2] * counts).log_softmax(-1)
    experts = torch.cat([scores.gather(-1, block.targets) for scores in (product, counts, gru)], dim=-1)
    return -torch.logsumexp(gates[:, 2:].log_softmax(-1) + experts, dim=-1).sum()
