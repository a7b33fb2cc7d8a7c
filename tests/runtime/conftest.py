"""Stand-ins for a trained model: a tokenizer of bytes and chosen pieces, and models whose scores a test writes down."""

import numpy as np
import pytest

from gru_complete.text.tokenizer import segments


class BytePieces:
    """A tokenizer with the 256 byte pieces and a few more, the longest taken first."""

    def __init__(self, *more: bytes):
        self.pieces = [b"", *(bytes([byte]) for byte in range(256)), *more]
        self.vocab_size = len(self.pieces)

    def encode_segment(self, text: bytes) -> list[int]:
        tokens = []
        while text:
            piece = max((piece for piece in self.pieces if piece and text.startswith(piece)), key=len)
            tokens.append(self.pieces.index(piece))
            text = text[len(piece) :]
        return tokens

    def encode_finished(self, text: bytes):
        *finished, last = list(segments(text)) or [b""]
        return np.array(
            [token for segment in finished for token in self.encode_segment(segment)], dtype=np.uint16
        ), last


class ScoredModel:
    """A model whose scores are a function of the tokens read so far; the state is the number of a list of tokens."""

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


@pytest.fixture(scope="session")
def byte_pieces():
    return BytePieces


@pytest.fixture(scope="session")
def scored_model():
    return ScoredModel


@pytest.fixture(scope="session")
def says():
    """Make a completer whose model, after any prompt, all but certainly writes the given pieces and then ends."""
    from gru_complete.runtime.completer import Completer
    from gru_complete.runtime.predictor import Predictor

    def make(*pieces: str, prompt: bytes = b"", abbreviations=()):
        tokenizer = BytePieces(*{piece.encode() for piece in pieces if len(piece.encode()) > 1})
        script = [tokenizer.pieces.index(piece.encode()) for piece in pieces]
        places = {prompt + "".join(pieces[:number]).encode(): number for number in range(len(pieces) + 1)}

        def scores(tokens):
            logits = np.zeros(tokenizer.vocab_size)
            place = places.get(b"".join(tokenizer.pieces[token] for token in tokens))
            if place is not None:
                logits[[*script, 0][place]] = 50
            return logits

        return Completer(Predictor(ScoredModel(scores)), tokenizer, abbreviations=abbreviations)

    return make


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """A real tokenizer, learnt from a few sentences."""
    from gru_complete.text.tokenizer import Tokenizer
    from gru_complete.text.tokenizer_training import train_tokenizer

    text = b"Mr Watson goes to Paris and Mrs Watson goes to Rome. They like cats, dogs and samosas.\n" * 20
    return Tokenizer(train_tokenizer([text], vocab_size=60, work_dir=tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="session")
def random_model(tokenizer):
    """Architecture and weights of a model that knows nothing."""
    from gru_complete.model.architecture import Architecture

    arch = Architecture("gru", tokenizer.vocab_size, 8, 12, 2)
    generator = np.random.default_rng(0)
    shapes = arch.tensor_shapes().items()
    return arch, {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes}
