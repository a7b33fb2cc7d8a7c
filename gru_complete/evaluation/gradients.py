"""How far back a network remembers: how far its gradient flows, and how much of the text before it makes use of.

*Gradient flow* is about learning. With L_t the nats of the token after position t and s_t the state of a layer::

    g(k) = E |dL_t / ds_(t-k)| / E |dL_t / ds_t|

(for an LSTM, s is both its rows, and k counts from s_(t-1): the loss reads one row of s_t alone, and not what the cell
remembers in) is the share of the gradient that is left k tokens back (Bengio et al. 1994 on why it vanishes or
explodes). Its *half-life* is the smallest k where g(k) <= 1/2, between two whole numbers by a line through the
logarithms. A state's gradient is the whole one: of a lower layer, it also goes through the higher layers' states of the
same step.

*Effective context* is about use (Khandelwal et al. 2018, arXiv:1805.04623)::

    d(k) = E [nats of a token after the last k tokens alone] - E [nats of it after all of its document so far]

Where only the last k tokens are kept, they are read from a document's start. The context *matters* up to the smallest k
of those tried from which on d stays at or below a hundredth of a nat. Both are of the network alone: what the counts
know ends after a few tokens by construction.

Shapes: B windows, K steps back, L num_layers, N positions, S state_rows, T tokens of a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gru_complete.arrays import TokenIds
from gru_complete.errors import CorpusError
from gru_complete.evaluation.intervals import Interval, mean_interval
from gru_complete.nn.cells import RecurrentCell
from gru_complete.nn.language_model import LanguageModel
from gru_complete.text.shards import documents
from gru_complete.text.tokenizer import DOCUMENT_END

STEPS_BACK = 128
NUM_WINDOWS = 64
READ_BEFORE = 64  # tokens before a window, so that its first state is one that a text has led to
NUM_POSITIONS = 512
MIN_POSITIONS = 100
CONTEXT_LENGTHS = tuple(2**power for power in range(11))  # 1 to 1,024 tokens
MATTERS_NATS = 0.01
_BATCH = 128

Progress = Callable[[int], object]


@dataclass(frozen=True)
class GradientFlow:
    """What is left of the gradient, by layer: ``shares[l][k]`` is g(k) of layer l, from g(0) = 1 to g(K)."""

    shares: list[list[float]]

    @property
    def half_lives(self) -> list[float]:
        """Of each layer, in tokens; infinite where more than a half is left of it after K tokens."""
        return [half_life(layer) for layer in self.shares]

    def to_json(self) -> dict[str, Any]:
        """By layer, the half-life (null where it is beyond what was looked at) and the shares."""
        half_lives = [value if math.isfinite(value) else None for value in self.half_lives]
        return {"half_lives": half_lives, "shares": self.shares}


@dataclass(frozen=True)
class EffectiveContext:
    """What a token costs more where only the last tokens before it are kept.

    Args:
        extra_nats: by the number of tokens kept, ascending, with its interval.
        full_nats: what a token costs after all of its document, nats.
        num_positions: tokens that were looked at.
    """

    extra_nats: dict[int, Interval]
    full_nats: float
    num_positions: int

    @property
    def matters_up_to(self) -> int | None:
        """The fewest tokens from which on more save at most ``MATTERS_NATS``; None if more than were tried do."""
        found = None
        for kept, extra in reversed(self.extra_nats.items()):
            if extra.value > MATTERS_NATS:
                break
            found = kept
        return found

    def to_json(self) -> dict[str, Any]:
        """All figures; ``matters_up_to`` is null where it is beyond what was looked at."""
        return {
            "extra_nats": {str(kept): list(extra) for kept, extra in self.extra_nats.items()},
            "full_nats": self.full_nats,
            "matters_up_to": self.matters_up_to,
            "num_positions": self.num_positions,
        }


@dataclass(frozen=True)
class GradientReport:
    """What is known of a network's memory: of a fresh one of its sizes, and as it was trained."""

    at_start: GradientFlow
    trained: GradientFlow
    context: EffectiveContext

    def to_json(self) -> dict[str, Any]:
        """What stands under ``memory`` in ``eval --json``."""
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
    """An untrained network of the same cell and sizes, with the usual initial values."""
    arch = model.architecture
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = LanguageModel(
            arch.vocab_size,
            cell=arch.cell,
            embedding_size=arch.embedding_size,
            hidden_size=arch.hidden_size,
            num_layers=arch.num_layers,
        )
    return fresh.to(model.embedding.device)


def half_life(shares: Sequence[float]) -> float:
    """Where a falling curve that begins at 1 first reaches 1/2: steps, infinite if it does not."""
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
        model: left as it was, but for its parameters' gradients, which are not touched either.
        stream: token ids, ``(N,)``.
        steps_back: K.
        num_windows: B.

    Raises:
        CorpusError: the text has fewer tokens than one window.
    """
    skipped = model.initial_state(1).shape[1] - 1  # the last state of an LSTM: see the module
    length = READ_BEFORE + skipped + steps_back + 2
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
        norms = _gradient_norms(model, windows[:, READ_BEFORE:], start)[:, skipped:]
    finally:
        model.train(was_training)
    return GradientFlow((norms / norms[:, :1]).tolist())


def _gradient_norms(model: LanguageModel, windows: Tensor, start: Tensor) -> Tensor:
    """E |dL/ds| of each layer at the last position that reads, and at those before it, ``(L, K + 1)``.

    Args:
        model: in evaluation mode.
        windows: tokens read, and the last target, ``(B, T)``.
        start: the states before, ``(L, S, B, H)``.
    """
    cells = [cell for cell in model.cells if isinstance(cell, RecurrentCell)]
    state = [layer.requires_grad_() for layer in start.clone().unbind(0)]
    reached: list[list[Tensor]] = []
    features = state[0][0]
    for tokens in windows[:, :-1].t():
        keep = (tokens != DOCUMENT_END).to(start.dtype)[:, None]
        features = F.embedding(tokens, model.embedding)
        for layer, cell in enumerate(cells):
            state[layer] = cell(features, state[layer] * keep)
            features = state[layer][0] if layer == 0 else features + state[layer][0]
        reached.append(list(state))
    if model.projection is not None:
        features = F.linear(features, model.projection)
    nats = F.cross_entropy(model.logits(features), windows[:, -1], reduction="sum")  # rows have nothing in common
    gradients = torch.autograd.grad(nats, [layer for step in reached for layer in step], allow_unused=True)
    num_layers = len(cells)
    norms = torch.zeros(num_layers, len(reached))
    for index, gradient in enumerate(gradients):
        if gradient is not None:
            step, layer = divmod(index, num_layers)
            norms[layer, len(reached) - 1 - step] = gradient.transpose(0, 1).flatten(1).norm(dim=1).mean()
    return norms


def effective_context(
    model: LanguageModel,
    stream: TokenIds,
    *,
    kept: Sequence[int] = CONTEXT_LENGTHS,
    num_positions: int = NUM_POSITIONS,
    progress: Progress | None = None,
) -> EffectiveContext:
    """Compare what tokens cost after a few tokens alone with what they cost after all of their document.

    Args:
        model: read in evaluation mode, and left in the mode it came in.
        stream: token ids, documents between document ends, ``(N,)``.
        kept: numbers of tokens, ascending; those that too few positions have before them are left out.
        num_positions: evenly spaced tokens among those with the most kept tokens before them in their document.
        progress: told of each number that was tried how many there are.

    Raises:
        CorpusError: no document is long enough.
    """
    texts = [np.asarray(text, np.int64) for text in documents(stream)]
    lengths = np.array([len(text) for text in texts])
    usable = [number for number in kept if np.maximum(lengths - 2 - number, 0).sum() >= MIN_POSITIONS]
    if not usable:
        raise CorpusError("the documents are too short to keep only a part of them", hint="give a longer text")
    room = np.maximum(lengths - 2 - usable[-1], 0)  # a document's targets after so many of its own tokens
    ends = np.cumsum(room)
    chosen = np.linspace(0, ends[-1] - 1, min(num_positions, int(ends[-1]))).astype(np.int64)
    which = np.searchsorted(ends, chosen, side="right")
    places = chosen - (ends - room)[which] + usable[-1] + 1
    was_training = model.training
    model.eval()
    try:
        full = _full_nats(model, texts, which, places)
        extra: dict[int, Interval] = {}
        for number in usable:
            rows = np.stack(
                [
                    np.concatenate(([DOCUMENT_END], texts[text][place - number : place + 1]))
                    for text, place in zip(which, places, strict=True)
                ]
            )
            extra[number] = mean_interval((_last_nats(model, rows) - full).tolist())
            if progress is not None:
                progress(1)
    finally:
        model.train(was_training)
    return EffectiveContext(extra, float(full.mean()), len(chosen))


@torch.inference_mode()
def _last_nats(model: LanguageModel, rows: np.ndarray) -> np.ndarray:
    """The nats of each row's last token after the others, ``(N,)`` for ``(N, T)``."""
    nats = []
    for start in range(0, len(rows), _BATCH):
        part = torch.from_numpy(rows[start : start + _BATCH]).to(model.embedding.device)
        features, _ = model.read(part[:, :-1])
        nats.append(F.cross_entropy(model.logits(features[-1]), part[:, -1], reduction="none").cpu())
    return torch.cat(nats).double().numpy()


@torch.inference_mode()
def _full_nats(
    model: LanguageModel, texts: Sequence[np.ndarray], which: np.ndarray, places: np.ndarray, chunk_len: int = 256
) -> np.ndarray:
    """The nats of the tokens at some places of some texts, in order, each after all before it, ``(N,)``."""
    nats = np.zeros(len(which))
    for text in np.unique(which):
        asked = np.flatnonzero(which == text)
        tokens = torch.from_numpy(texts[text]).to(model.embedding.device)[None]
        state = None
        for start in range(0, int(places[asked].max()), chunk_len):
            features, state = model.read(tokens[:, start : start + chunk_len], state)
            here = asked[(places[asked] > start) & (places[asked] <= start + features.shape[0])]
            if len(here):
                logits = model.logits(features[places[here] - 1 - start, 0])
                nats[here] = F.cross_entropy(logits, tokens[0, places[here]], reduction="none").double().cpu().numpy()
    return nats
