"""Stand-ins for what a trained model has, for the tests of all rooms."""

import numpy as np

from gru_complete.runtime.predictor import Predictor
from gru_complete.text.tokenizer import segments

BYTES = (b"", *(bytes([value]) for value in range(256)))
"""The pieces that every trained tokenizer begins with: the document end, and each byte."""


class LongestFirst:
    """A tokenizer that always takes the longest piece that fits.

    Args:
        more: its pieces, besides ``first``; the earlier one counts where two are equal.
        first: the pieces before them; without the single bytes, only text that the others spell can be encoded.
    """

    def __init__(self, *more: bytes, first=BYTES):
        self.pieces = [*first, *more]
        self.vocab_size = len(self.pieces)
        self._ids = {piece: token for token, piece in reversed(list(enumerate(self.pieces))) if piece}
        self._max_length = max(map(len, self._ids))

    def encode_segment(self, text: bytes) -> list[int]:
        tokens, start = [], 0
        while start < len(text):
            ends = range(min(len(text), start + self._max_length), start, -1)
            end = next(end for end in ends if text[start:end] in self._ids)
            tokens.append(self._ids[text[start:end]])
            start = end
        return tokens

    encode = encode_segment

    def decode(self, ids) -> bytes:
        return b"".join(self.pieces[token] for token in ids)

    def encode_finished(self, text: bytes):
        *finished, last = list(segments(text)) or [b""]
        tokens = [token for segment in finished for token in self.encode_segment(segment)]
        return np.array(tokens, dtype=np.uint16), last


class OneByOnePredictor(Predictor):
    """Steps decoder states one at a time, in float64: many at once give the same bits as each alone.

    Attributes:
        num_steps: how many steps it has made side by side; a test may set it back to 0.
    """

    num_steps = 0

    def step_many(self, decoder_states, tokens):
        self.num_steps += len(tokens)
        return [self.step(decoder_state, token) for decoder_state, token in zip(decoder_states, tokens, strict=True)]

    def log_probabilities(self, decoder_states, overlay=None):
        rows = [super(OneByOnePredictor, self).log_probabilities([state], overlay)[0] for state in decoder_states]
        return np.array(rows, np.float64)


class Float64Predictor(OneByOnePredictor):
    """The network alone, its probabilities in float64, too: so that sums of them can be compared closely."""

    def log_probabilities(self, decoder_states, overlay=None):
        logits = np.array([self.stepper.logits(decoder_state.hidden) for decoder_state in decoder_states])
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


class ScoredModel:
    """A stepper whose scores are a function of the tokens read so far; the state is the number of a list of tokens."""

    def __init__(self, scores):
        self.scores = scores
        self.texts = [[]]

    def initial_state(self):
        return np.zeros(1)

    def step(self, token, state):
        self.texts.append([*self.texts[int(state[0])], token])
        state = np.array([len(self.texts) - 1.0])
        return state, state

    def read(self, tokens, state):
        for token in tokens:
            hidden, state = self.step(token, state)
        return hidden, state

    def step_many(self, tokens, states):
        states = np.stack([self.step(token, state)[1] for token, state in zip(tokens, states, strict=True)])
        return states, states

    def logits(self, hidden):
        if hidden.ndim == 2:
            return np.stack([self.logits(row) for row in hidden])
        return np.asarray(self.scores(self.texts[int(hidden[0])]), dtype=np.float32)
