"""What comes next after a text: the network's step, the counts and the text at hand as one distribution.

Shapes: E embedding_size, H hidden_size, L num_layers, N readings, S state_rows, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gru_complete.arrays import FloatArray
from gru_complete.ngrams.evidence import Context
from gru_complete.ngrams.mixture import NGramMixture
from gru_complete.ngrams.overlay import MAX_CONTEXT, Overlay
from gru_complete.runtime.stepper import Stepper
from gru_complete.text.tokenizer import DOCUMENT_END

_TINY = np.finfo(np.float32).tiny


class DecoderState(NamedTuple):
    """Where a text ends: all that the prediction of its next token needs, besides the model and the overlay.

    Attributes:
        hidden: what scores the next token, ``(E,)``.
        state: the network's, ``(L, S, H)``.
        nodes: the counts' context; empty without counts.
        last: the last tokens, at most ``MAX_CONTEXT``.
    """

    hidden: FloatArray
    state: FloatArray
    nodes: Context
    last: tuple[int, ...]


class Predictor:
    """A model as one distribution over the next token.

    Args:
        stepper: the network.
        memory: the counts and how they are mixed in; None for the network alone.
    """

    def __init__(self, stepper: Stepper, mixture: NGramMixture | None = None) -> None:
        self.stepper = stepper
        self.mixture = mixture

    def start(self) -> DecoderState:
        """A document's start: nothing is read but the document end before it."""
        hidden, state = self.stepper.step(DOCUMENT_END, self.stepper.initial_state())
        nodes = (
            ()
            if self.mixture is None
            else self.mixture.ngrams.advance(self.mixture.ngrams.empty_context(), DOCUMENT_END)
        )
        return DecoderState(hidden, state, nodes, (DOCUMENT_END,))

    def read(self, decoder_state: DecoderState, tokens: Iterable[int]) -> DecoderState:
        """Read tokens one after another."""
        tokens = list(tokens)
        if not tokens:
            return decoder_state
        hidden, state = self.stepper.read(tokens, decoder_state.state)
        return self.advance_decoder_state(decoder_state, tokens, hidden, state)

    def step(self, decoder_state: DecoderState, token: int) -> DecoderState:
        """Read one token."""
        hidden, state = self.stepper.step(token, decoder_state.state)
        return self.advance_decoder_state(decoder_state, (token,), hidden, state)

    def step_many(self, decoder_states: Sequence[DecoderState], tokens: Sequence[int]) -> list[DecoderState]:
        """Read one token after each of some readings: ``step`` for all of them, but for rounding."""
        if not decoder_states:
            return []
        hidden, states = self.step_states(tokens, [decoder_state.state for decoder_state in decoder_states])
        return [
            self.advance_decoder_state(decoder_state, (token,), hidden[index], states[index])
            for index, (decoder_state, token) in enumerate(zip(decoder_states, tokens, strict=True))
        ]

    def step_states(self, tokens: Sequence[int], states: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
        """What ``stepper.step_many`` does, for states that stand apart."""
        together = np.concatenate(states)  # quicker than stack
        return self.stepper.step_many(tokens, together.reshape(len(states), *states[0].shape))

    def advance_decoder_state(
        self, before: DecoderState, tokens: Sequence[int], hidden: FloatArray, state: FloatArray
    ) -> DecoderState:
        """Where a text ends after tokens, at least one, that the network has read already."""
        nodes = before.nodes
        if self.mixture is not None:
            ngrams = self.mixture.ngrams
            for token in tokens[1 - ngrams.order :]:  # a context reaches back no further
                nodes = ngrams.advance(nodes, token)
        return DecoderState(hidden, state, nodes, (*before.last, *tokens)[-MAX_CONTEXT:])

    def log_probabilities(
        self, decoder_states: Sequence[DecoderState], overlay: Overlay | Sequence[Overlay | None] | None = None
    ) -> FloatArray:
        """Log probabilities of what may follow each of some readings, at least one, ``(N, V)``.

        The sum of each row's probabilities is 1 but for rounding. An overlay, of all readings or of each its own,
        needs a memory under it.
        """
        hidden = np.concatenate([decoder_state.hidden for decoder_state in decoder_states]).reshape(
            len(decoder_states), -1
        )
        logits = self.stepper.logits(hidden)
        if self.mixture is None:
            logits -= logits.max(axis=1, keepdims=True)
            logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
            return logits
        rows, evidence = self.mixture.predict_many(logits, [decoder_state.nodes for decoder_state in decoder_states])
        if overlay is not None:
            overlays = [overlay] * len(decoder_states) if isinstance(overlay, Overlay) else overlay
            for row, decoder_state, (length, total, _), own in zip(
                rows, decoder_states, evidence.to_list(), overlays, strict=True
            ):
                if own is not None:
                    own.adjust(row, decoder_state.last, length, total)
        np.maximum(rows, _TINY, out=rows)
        scores: FloatArray = np.log(rows, out=rows)
        return scores

    def scores(self, decoder_state: DecoderState, overlay: Overlay | None = None) -> FloatArray:
        """Log probabilities of what may follow, ``(V,)``: ``log_probabilities`` of one reading, but for rounding."""
        logits = self.stepper.logits(decoder_state.hidden)
        if self.mixture is None:
            return _normalised(logits)
        probabilities, (length, total, _) = self.mixture.predict(logits, decoder_state.nodes)
        if overlay is not None:
            overlay.adjust(probabilities, decoder_state.last, length, total)
        np.maximum(probabilities, _TINY, out=probabilities)
        scores: FloatArray = np.log(probabilities, out=probabilities)
        return scores


def _normalised(logits: FloatArray) -> FloatArray:
    """The logarithm of the softmax, ``(V,)``."""
    peak = logits.argmax()
    scores: FloatArray = logits - logits[peak : peak + 1]
    total = np.add.reduce(np.exp(scores), keepdims=True)  # quicker than sum
    scores -= np.log(total, total)
    return scores
