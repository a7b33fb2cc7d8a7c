"""What comes next after a text: network, n-gram counts and the current document as one distribution.

Shapes: B texts side by side, V vocab_size, E embedding_size, H hidden_size, L num_layers, S state_rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from gru_complete.arrays import FloatArray
from gru_complete.ngrams.evidence import CUT_OFF, Context
from gru_complete.ngrams.mixture import NGramMixture
from gru_complete.ngrams.overlay import MAX_CONTEXT, Overlay
from gru_complete.runtime.stepper import Stepper
from gru_complete.text.tokenizer import DOCUMENT_END

_TINY = np.finfo(np.float32).tiny

overflow_allowed = partial(np.errstate, over="ignore", invalid="ignore")
"""Silences numpy where damaged weights may overflow: ``sampling.damaged_scores`` reports that as one clear error."""


class DecoderState(NamedTuple):
    """The end of a text: all that the prediction of the next token needs besides the model and the overlay.

    Attributes:
        hidden: the network's output, from which the next token is scored, ``(E,)``.
        state: the network's recurrent state, ``(L, S, H)``.
        nodes: the context in the n-gram counts; empty without counts.
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
        mixture: the n-gram counts and how they are mixed in; None for the network alone.
    """

    def __init__(self, stepper: Stepper, mixture: NGramMixture | None = None) -> None:
        self.stepper = stepper
        self.mixture = mixture

    def start(self) -> DecoderState:
        """Return the start of a document: only the document end before it was read."""
        hidden, state = self.stepper.step(DOCUMENT_END, self.stepper.initial_state())
        nodes: Context = ()
        if self.mixture is not None:
            ngrams = self.mixture.ngrams
            nodes = ngrams.advance(ngrams.empty_context(), DOCUMENT_END)
        return DecoderState(hidden, state, nodes, (DOCUMENT_END,))

    def prompt_start(self) -> DecoderState:
        """Return the start of a prompt: of a document for the network, of an unknown place for the n-gram counts.

        In training the network reads paragraphs without a past, too (``training/batches.py``); the counts know a
        document's start only from the few documents of the corpus.
        """
        start = self.start()
        return start if self.mixture is None else start._replace(nodes=self.mixture.ngrams.cut_off_context())

    def read(self, decoder_state: DecoderState, tokens: Iterable[int]) -> DecoderState:
        """Read tokens one after another."""
        tokens = list(tokens)
        if not tokens:
            return decoder_state
        hidden, state = self.stepper.read(tokens, decoder_state.state)
        return self.assemble(decoder_state, tokens, hidden, state)

    def step(self, decoder_state: DecoderState, token: int) -> DecoderState:
        """Read one token."""
        hidden, state = self.stepper.step(token, decoder_state.state)
        return self.assemble(decoder_state, (token,), hidden, state)

    def step_many(self, decoder_states: Sequence[DecoderState], tokens: Sequence[int]) -> list[DecoderState]:
        """Read one token after each of B texts: the same as ``step`` for each, except for rounding."""
        if not decoder_states:
            return []
        hidden, states = self.step_states(tokens, [decoder_state.state for decoder_state in decoder_states])
        return [
            self.assemble(decoder_state, (token,), hidden[index], states[index])
            for index, (decoder_state, token) in enumerate(zip(decoder_states, tokens, strict=True))
        ]

    def step_states(self, tokens: Sequence[int], states: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Let the network alone read one token after each of B texts; see ``Stepper.step_many``.

        Args:
            tokens: B token ids.
            states: B recurrent states, ``(L, S, H)`` each.

        Returns:
            The outputs ``(B, E)`` and the new states ``(B, L, S, H)``.
        """
        together = np.concatenate(states)  # faster than stack
        return self.stepper.step_many(tokens, together.reshape(len(states), *states[0].shape))

    def assemble(
        self, before: DecoderState, tokens: Sequence[int], hidden: FloatArray, state: FloatArray
    ) -> DecoderState:
        """Return the end of a text after tokens that the network has read already.

        Args:
            before: where the tokens begin.
            tokens: at least one.
            hidden: the network's output after them, ``(E,)``.
            state: its recurrent state after them, ``(L, S, H)``.
        """
        nodes = before.nodes
        last = (*before.last, *tokens)[-MAX_CONTEXT:]
        if self.mixture is not None:
            ngrams = self.mixture.ngrams
            for token in tokens[1 - ngrams.order :]:  # a context reaches back no further
                nodes = ngrams.advance(nodes, token)
            if CUT_OFF in nodes and DOCUMENT_END not in last[-ngrams.order :]:
                nodes = tuple([max(node, -1) for node in nodes])  # the beginning is too far back to cut anything off
        return DecoderState(hidden, state, nodes, last)

    def log_probabilities(
        self, decoder_states: Sequence[DecoderState], overlay: Overlay | Sequence[Overlay | None] | None = None
    ) -> FloatArray:
        """Return the natural log probabilities of what may follow each of B texts, ``(B, V)``.

        Each row's probabilities sum to 1, except for rounding.

        Args:
            decoder_states: where the texts end, at least one.
            overlay: what was learnt, from all texts together or from each on its own. It needs a mixture under it.
        """
        hidden = np.concatenate([decoder_state.hidden for decoder_state in decoder_states])
        logits = self.stepper.logits(hidden.reshape(len(decoder_states), -1))
        if self.mixture is None:
            logits -= logits.max(axis=1, keepdims=True)
            logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
            return logits
        rows, evidence = self.mixture.predict_many(logits, [decoder_state.nodes for decoder_state in decoder_states])
        if overlay is not None:
            overlays = [overlay] * len(decoder_states) if isinstance(overlay, Overlay) else overlay
            for row, decoder_state, (length, total, _), learnt in zip(
                rows, decoder_states, evidence.to_list(), overlays, strict=True
            ):
                if learnt is not None:
                    learnt.adjust(row, decoder_state.last, length, total)
        np.maximum(rows, _TINY, out=rows)
        scores: FloatArray = np.log(rows, out=rows)
        return scores

    def scores(self, decoder_state: DecoderState, overlay: Overlay | None = None) -> FloatArray:
        """Return ``log_probabilities`` of one text, ``(V,)``, except for rounding."""
        logits = self.stepper.logits(decoder_state.hidden)
        if self.mixture is None:
            return _log_softmax(logits)
        probabilities, (length, total, _) = self.mixture.predict(logits, decoder_state.nodes)
        if overlay is not None:
            overlay.adjust(probabilities, decoder_state.last, length, total)
        np.maximum(probabilities, _TINY, out=probabilities)
        scores: FloatArray = np.log(probabilities, out=probabilities)
        return scores


def _log_softmax(logits: FloatArray) -> FloatArray:
    """The logarithm of the softmax, ``(V,)``."""
    peak = logits.argmax()
    scores: FloatArray = logits - logits[peak : peak + 1]
    total = np.add.reduce(np.exp(scores), keepdims=True)  # faster than sum
    scores -= np.log(total, total)
    return scores
