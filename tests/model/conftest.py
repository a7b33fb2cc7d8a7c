"""Tiny models on disk."""

import signal
from pathlib import Path

import pytest

from gru_complete.text.tokenizer import Tokenizer
from gru_complete.text.tokenizer_training import train_tokenizer
from tests.model.models import random_mixture, save_random_model


@pytest.fixture(scope="session")
def tokenizers() -> list[Tokenizer]:
    """Two tokenizers of different sizes."""
    texts = [b"the cat sat on the mat and the dog sat on the log ", b"pack my box with five dozen jugs "]
    samples = [texts[0] * 20, (texts[0] + texts[1]) * 20]
    return [Tokenizer(train_tokenizer([sample], vocab_size=60)) for sample in samples]


@pytest.fixture(scope="session")
def tokenizer(tokenizers) -> Tokenizer:
    return tokenizers[0]


@pytest.fixture
def saved(tmp_path, tokenizer) -> Path:
    """A tiny model on disk."""
    save_random_model(tmp_path / "model", tokenizer)
    return tmp_path / "model"


@pytest.fixture
def with_ngrams(tmp_path, tokenizer) -> Path:
    """A tiny model with counts on disk."""
    mixture = random_mixture(tokenizer.vocab_size)
    save_random_model(tmp_path / "model", tokenizer, extra_files={"ngrams.safetensors": mixture.to_bytes()})
    return tmp_path / "model"


@pytest.fixture
def five_seconds():
    """Ends a test that waits for a FIFO or a device."""
    previous = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty home of models, and no model chosen."""
    monkeypatch.setenv("GRU_COMPLETE_HOME", str(tmp_path))
    monkeypatch.delenv("GRU_COMPLETE_MODEL", raising=False)
    return tmp_path / "models"
