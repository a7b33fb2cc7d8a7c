"""Stand-ins for a trained model: a tokenizer of bytes and chosen pieces, and models whose scores a test writes down."""

import numpy as np
import pytest

from tests.fakes import LongestFirst, ScoredModel


@pytest.fixture(scope="session")
def byte_pieces():
    return LongestFirst


@pytest.fixture(scope="session")
def scored_model():
    return ScoredModel


@pytest.fixture(scope="session")
def says():
    """Make a completer whose model, after any prompt, all but certainly writes the given pieces and then ends."""
    from gru_complete.runtime.completer import Completer
    from gru_complete.runtime.predictor import Predictor

    def make(*pieces: str, prompt: bytes = b"", **facts):
        tokenizer = LongestFirst(*{piece.encode() for piece in pieces if len(piece.encode()) > 1})
        script = [tokenizer.pieces.index(piece.encode()) for piece in pieces]
        places = {prompt + "".join(pieces[:number]).encode(): number for number in range(len(pieces) + 1)}

        def scores(tokens):
            logits = np.zeros(tokenizer.vocab_size)
            place = places.get(b"".join(tokenizer.pieces[token] for token in tokens))
            if place is not None:
                logits[[*script, 0][place]] = 50
            return logits

        return Completer(Predictor(ScoredModel(scores)), tokenizer, **facts)

    return make


@pytest.fixture(scope="session")
def tokenizer():
    """A real tokenizer, learnt from a few sentences."""
    from gru_complete.text.tokenizer import Tokenizer
    from gru_complete.text.tokenizer_training import train_tokenizer

    text = b"Mr Watson goes to Paris and Mrs Watson goes to Rome. They like cats, dogs and samosas.\n" * 20
    return Tokenizer(train_tokenizer([text], vocab_size=60))


@pytest.fixture(scope="session")
def random_model(tokenizer):
    """Architecture and weights of a model that knows nothing."""
    from gru_complete.model.architecture import Architecture

    arch = Architecture("gru", tokenizer.vocab_size, 8, 12, 2)
    generator = np.random.default_rng(0)
    shapes = arch.tensor_shapes().items()
    return arch, {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes}
