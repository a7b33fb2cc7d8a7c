import pytest

from gru_complete.text.tokenizer import Tokenizer
from gru_complete.text.tokenizer_training import train_tokenizer
from tests.text.samples import SAMPLE


@pytest.fixture(scope="session")
def model_bytes():
    """A small SentencePiece model of ``SAMPLE``."""
    return train_tokenizer([SAMPLE[:1000], SAMPLE[1000:]], vocab_size=40)


@pytest.fixture(scope="session")
def tokenizer(model_bytes):
    """The tokenizer with that model."""
    return Tokenizer(model_bytes)
