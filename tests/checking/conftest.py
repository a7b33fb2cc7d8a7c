import numpy as np
import pytest

from gru_complete.model.architecture import Architecture
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.stepper import Stepper

PIECES = (b"a", b"b", b"c", b" ", b",", b" a", b" b", b"ab", b" ab", b" c", b"bc", b" bc", b"a,", b" ca")


class ToyTokenizer:
    """Few pieces, the longest taken first."""

    def __init__(self):
        self.pieces = [b"", *PIECES]
        self.vocab_size = len(self.pieces)

    def encode_segment(self, text):
        tokens = []
        while text:
            piece = max((piece for piece in PIECES if text.startswith(piece)), key=len)
            tokens.append(self.pieces.index(piece))
            text = text[len(piece) :]
        return tokens


class Float64(Predictor):
    """Steps one at a time and in float64, so that sums can be compared closely."""

    def step_many(self, readings, tokens):
        return [self.step(reading, token) for reading, token in zip(readings, tokens, strict=True)]

    def log_probabilities(self, readings, overlay=None):
        logits = np.array([self.stepper.logits(reading.hidden) for reading in readings])
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def toy():
    tokenizer = ToyTokenizer()
    arch = Architecture("gru", tokenizer.vocab_size, 6, 8, 1)
    generator = np.random.default_rng(1)
    weights = {name: generator.normal(size=shape) for name, shape in arch.tensor_shapes().items()}
    return Completer(Float64(Stepper(arch, weights, np.float64)), tokenizer, width=None)
