"""How far back a network remembers: how far its gradient flows, and how much of the context it makes use of.

*Gradient flow* is about learning. With L_t the nats of the token after position t, and s_t the state of a layer::

    g(k) = E |dL_t / ds_(t-k)| / E |dL_t / ds_t|

is the share of the gradient that is left k tokens back; Bengio et al. 1994 explain why it vanishes or explodes. Its
*half-life* is the smallest k where g(k) <= 1/2, interpolated between two whole numbers on a line through the logarithms
of g. The gradient of a state takes every path, so that of a lower layer also flows through the states of the higher
layers at the same step. For an LSTM, s is both rows of the state, and k counts from s_(t-1): the loss reads only one
row of s_t, the hidden output, and not the cell state, which does the remembering.

*Effective context* is about use (Khandelwal et al. 2018, arXiv:1805.04623)::

    d(k) = E [nats of a token after only the last k tokens] - E [nats of the token after all of its document so far]

The last k tokens are read as if a document started there. The context *matters* up to the smallest k of
``CONTEXT_LENGTHS`` from which on d stays at or below a hundredth of a nat. Both figures are those of the network alone:
the n-gram model sees only a few tokens by construction.

Shapes: B windows, H hidden_size, L num_layers, N positions, S state_rows, T tokens of a window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gru_complete.arrays import Float64Array, IntArray, TokenIds
from gru_complete.errors import CorpusError
from gru_complete.evaluation.intervals import Interval, mean_interval
from gru_complete.evaluation.progress import Progress
from gru_complete.nn.cells import RecurrentCell
from gru_complete.nn.language_model import LanguageModel
from gru_complete.text.shards import documents
from gru_complete.text.tokenizer import DOCUMENT_END

STEPS_BACK = 128
NUM_WINDOWS = 64
READ_BEFORE = 64  # tokens before a window, so that its first state is one that a text has led to
NUM_POSITIONS = 512
MIN_POSITIONS = 100
CONTEXT_LENGTHS = tuple(2**power for power in range(11))
"""How many tokens of context are kept: 1 to 1,024."""
MATTERS_NATS = 0.01
_BATCH_SIZE = 128


@dataclass(frozen=True)
class GradientFlow:
    """What is left of the gradient: ``shares[l][k]`` is g(k) of layer l, from g(0) = 1 to g(``STEPS_BACK``)."""

    shares: list[list[float]]

    @property
    def half_lives(self) -> list[float]:
        """The half-life of each layer in tokens; infinite if more than half is left after ``STEPS_BACK`` tokens."""
        return [half_life(layer) for layer in self.shares]

    def to_json(self) -> dict[str, Any]:
        """By layer, the half-life (null if infinite) and the shares."""
        half_lives = [value if math.isfinite(value) else None for value in self.half_lives]
        return {"half_lives": half_lives, "shares": self.shares}


@dataclass(frozen=True)
class EffectiveContext:
    """How much more a token costs if only the last tokens before it are kept.

    Args:
        extra_nats: d(k) with its interval, by k in ascending order.
        full_nats: the mean cost of a token after all of its document so far.
        num_positions: tokens that were scored.
    """

    extra_nats: dict[int, Interval]
    full_nats: float
    num_positions: int

    @property
    def matters_up_to(self) -> int | None:
        """The smallest k from which on d stays at most ``MATTERS_NATS``; None if it does not even for the largest."""
        smallest = None
        for length, extra in reversed(self.extra_nats.items()):
            if extra.value > MATTERS_NATS:
                break
            smallest = length
        return smallest

    def to_json(self) -> dict[str, Any]:
        """All figures; ``matters_up_to`` is null if more context than was tried matters."""
        return {
            "extra_nats": {str(length): list(extra) for length, extra in self.extra_nats.items()},
            "full_nats": self.full_nats,
            "matters_up_to": self.matters_up_to,
            "num_positions": self.num_positions,
        }


@dataclass(frozen=True)
class GradientReport:
    """Gradient flow in an untrained network of the same sizes and in the trained one, and the effective context."""

    at_start: GradientFlow
    trained: GradientFlow
    context: EffectiveContext

    def to_json(self) -> dict[str, Any]:
        """The value of ``memory`` in ``eval --json``."""
        return {
            "gradient_flow": {"at_start": self.at_start.to_json(), "trained": self.trained.to_json()},
            "effective_context": self.context.to_json(),
        }


def measure_gradients(model: LanguageModel, stream: TokenIds, *, progress: Progress | None = None) -> GradientReport:
    """Measure gradient flow and effective context on a token stream, ``(N,)``.

    Raises:
        CorpusError: the text is too short.
    """
    return GradientReport(
        at_start=gradient_flow(untrained_like(model), stream),
        trained=gradient_flow(model, stream),
        context=effective_context(model, stream, progress=progress),
    )


def untrained_like(model: LanguageModel, *, seed: int = 0) -> LanguageModel:
    """Return an untrained network with the same cell and sizes, and the default initial values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        untrained = LanguageModel(**model.architecture._asdict())
    return untrained.to(model.embedding.device)


def half_life(shares: Sequence[float]) -> float:
    """Find where a falling curve that begins at 1 first reaches 1/2: in steps, infinite if it does not."""
    for step, (before, after) in enumerate(zip(shares[:-1], shares[1:], strict=True)):
        if after <= 0.5:
            if after <= 0:
                return step + 1.0
            return step + math.log(2 * before) / math.log(before / after)
    return math.inf


def gradient_flow(
    model: LanguageModel, stream: TokenIds, *, steps_back: int = STEPS_BACK, num_windows: int = NUM_WINDOWS
) -> GradientFlow:
    """Follow the gradient of single tokens' nats back in time, averaged over evenly spaced windows of the text.

    Args:
        model: left as it was, its parameters' gradients included.
        stream: token ids, ``(N,)``.
        steps_back: the largest k.
        num_windows: B.

    Raises:
        CorpusError: the text has fewer tokens than one window.
    """
    num_skipped = model.initial_state(1).shape[1] - 1  # an LSTM's last state: see the module's docstring
    length = READ_BEFORE + num_skipped + steps_back + 2
    if len(stream) < length:
        message = f"the text has {len(stream)} tokens; to follow gradients takes {length}"
        raise CorpusError(message, hint="give a longer text")
    starts = np.linspace(0, len(stream) - length, num_windows).astype(np.int64)
    windows = torch.from_numpy(np.stack([np.asarray(stream[at : at + length], np.int64) for at in starts]))
    windows = windows.to(model.embedding.device)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            _, start = model.read(windows[:, :READ_BEFORE])
        norms = _gradient_norms(model, windows[:, READ_BEFORE:], start)[:, num_skipped:]
    finally:
        model.train(was_training)
    return GradientFlow((norms / norms[:, :1]).tolist())


def _gradient_norms(model: LanguageModel, windows: Tensor, start: Tensor) -> Tensor:
    """Compute E |dL / ds| for the state of each layer after each token that is read, the last token first.

    Args:
        model: in evaluation mode.
        windows: the tokens to read, then the token whose nats are L, ``(B, T)``.
        start: the states before, ``(L, S, B, H)``.

    Returns:
        The mean norms, ``(L, T - 1)``; 0 where no gradient arrives.
    """
    states, features = _read_step_by_step(model, windows[:, :-1], start)
    # The rows of a batch are independent, so the gradient of the sum holds the gradient of each row's nats.
    nats = F.cross_entropy(model.logits(features), windows[:, -1], reduction="sum")
    gradients = iter(torch.autograd.grad(nats, [layer for step in states for layer in step], allow_unused=True))
    norms = torch.zeros(model.architecture.num_layers, len(states))
    for steps_back in reversed(range(len(states))):
        for layer in range(model.architecture.num_layers):
            gradient = next(gradients)
            if gradient is not None:
                norms[layer, steps_back] = gradient.transpose(0, 1).flatten(1).norm(dim=1).mean()
    return norms


def _read_step_by_step(model: LanguageModel, tokens: Tensor, start: Tensor) -> tuple[list[list[Tensor]], Tensor]:
    """Read tokens as ``model.read`` does, but keep the state of every layer at every step, to differentiate by it.

    Args:
        model: in evaluation mode.
        tokens: token ids, ``(B, T)``.
        start: the states before, ``(L, S, B, H)``.

    Returns:
        ``states[t][l]``, ``(S, B, H)``, and the features after the last token, ``(B, E)``.
    """
    cells = [cell for cell in model.cells if isinstance(cell, RecurrentCell)]
    state = [layer.requires_grad_() for layer in start.clone().unbind(0)]
    states: list[list[Tensor]] = []
    features = state[0][0]
    for step_tokens in tokens.t():
        keep = (step_tokens != DOCUMENT_END).to(start.dtype)[:, None]
        features = F.embedding(step_tokens, model.embedding)
        for layer, cell in enumerate(cells):
            state[layer] = cell(features, state[layer] * keep)
            features = state[layer][0] if layer == 0 else features + state[layer][0]
        states.append(list(state))
    if model.projection is not None:
        features = F.linear(features, model.projection)
    return states, features


class _Targets(NamedTuple):
    """Tokens to score after contexts of different lengths.

    Attributes:
        document: the index of each token's document, ``(N,)``.
        place: the token's place in its document, ``(N,)``.
    """

    document: IntArray
    place: IntArray


def effective_context(
    model: LanguageModel,
    stream: TokenIds,
    *,
    context_lengths: Sequence[int] = CONTEXT_LENGTHS,
    num_positions: int = NUM_POSITIONS,
    progress: Progress | None = None,
) -> EffectiveContext:
    """Compare the cost of tokens after a few tokens alone with their cost after all of their document so far.

    Args:
        model: read in evaluation mode, and left in the mode it came in.
        stream: token ids, documents between document ends, ``(N,)``.
        context_lengths: numbers of tokens to keep, ascending; those that too few positions have before them are left
            out.
        num_positions: how many tokens to score, evenly spaced among those with enough context for the largest of the
            lengths that are left.
        progress: called with 1 after each length.

    Raises:
        CorpusError: no document is long enough.
    """
    texts = [np.asarray(text, np.int64) for text in documents(stream)]
    usable = [length for length in context_lengths if _count_targets(texts, length).sum() >= MIN_POSITIONS]
    if not usable:
        raise CorpusError("the documents are too short to keep only a part of them", hint="give a longer text")
    targets = _sample_targets(texts, usable[-1], num_positions)
    was_training = model.training
    model.eval()
    try:
        full = _full_nats(model, texts, targets)
        extra: dict[int, Interval] = {}
        for length in usable:
            rows = np.stack(
                [
                    np.concatenate(([DOCUMENT_END], texts[document][place - length : place + 1]))
                    for document, place in zip(*targets, strict=True)
                ]
            )
            extra[length] = mean_interval((_last_nats(model, rows) - full).tolist())
            if progress is not None:
                progress(1)
    finally:
        model.train(was_training)
    return EffectiveContext(extra, float(full.mean()), len(full))


def _count_targets(texts: Sequence[TokenIds], context_length: int) -> IntArray:
    """Count the tokens of each document that have this many other tokens of their document before them."""
    lengths = np.array([len(text) for text in texts])
    counts: IntArray = np.maximum(lengths - 2 - context_length, 0)  # a document's two ends do not count
    return counts


def _sample_targets(texts: Sequence[TokenIds], context_length: int, num_positions: int) -> _Targets:
    """Choose evenly spaced tokens among those with enough context."""
    num_targets = _count_targets(texts, context_length)
    ends = np.cumsum(num_targets)
    chosen = np.linspace(0, ends[-1] - 1, min(num_positions, int(ends[-1]))).astype(np.int64)
    document = np.searchsorted(ends, chosen, side="right")
    return _Targets(document, chosen - (ends - num_targets)[document] + context_length + 1)


@torch.inference_mode()
def _last_nats(model: LanguageModel, rows: IntArray) -> Float64Array:
    """The nats of each row's last token after the others, ``(N,)`` for ``(N, T)``."""
    nats = []
    for start in range(0, len(rows), _BATCH_SIZE):
        part = torch.from_numpy(rows[start : start + _BATCH_SIZE]).to(model.embedding.device)
        features, _ = model.read(part[:, :-1])
        nats.append(F.cross_entropy(model.logits(features[-1]), part[:, -1], reduction="none").cpu())
    return torch.cat(nats).double().numpy()


@torch.inference_mode()
def _full_nats(
    model: LanguageModel, texts: Sequence[TokenIds], targets: _Targets, chunk_len: int = 256
) -> Float64Array:
    """The nats of each target after all of its document before it.

    Args:
        model: in evaluation mode.
        texts: the documents, with both their ends.
        targets: the tokens to score.
        chunk_len: tokens read at once; it changes time and memory, not the result.

    Returns:
        Nats, ``(N,)``, in the order of ``targets``.
    """
    nats = np.zeros(len(targets.place))
    for document in np.unique(targets.document):
        indices = np.flatnonzero(targets.document == document)
        tokens = torch.from_numpy(texts[document]).to(model.embedding.device)[None]
        state = None
        for start in range(0, int(targets.place[indices].max()), chunk_len):
            features, state = model.read(tokens[:, start : start + chunk_len], state)
            places = targets.place[indices]
            in_chunk = (places > start) & (places <= start + features.shape[0])
            if in_chunk.any():
                places = places[in_chunk]
                logits = model.logits(features[places - 1 - start, 0])
                chunk_nats = F.cross_entropy(logits, tokens[0, places], reduction="none")
                nats[indices[in_chunk]] = chunk_nats.double().cpu().numpy()
    return nats
