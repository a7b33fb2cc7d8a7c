import io
import os
import random
import shutil
import sys
import time

import pytest

from gru_complete.cli import app
from gru_complete.config import load_config
from gru_complete.model import home
from gru_complete.nn import kernel
from gru_complete.training.run import TrainingRequest, run_training

# Compiling the kernel takes most of a second, longer than a tiny training: only its own tests do.
os.environ[kernel.SWITCH] = "off"

VOCABULARY = "the a cat dog bird house river ate saw liked old red green small under near with and then slowly never"
WORDS = VOCABULARY.split()
TINY = [
    "tokenizer.vocab_size=120",
    "model.embedding_size=16",
    "model.hidden_size=24",
    "training.steps=24",
    "training.batch_size=4",
    "training.seq_len=16",
    "training.evaluations=4",
    "training.threads=1",
]

FEW_SETTINGS_OF_A_BASE = [
    *(setting for setting in TINY if setting != "training.steps=24"),
    "training.steps=4",
    "ngrams.max_bytes=100000",
]


def small_text(num_sentences=400, seed=0):
    """Sentences of a few words: enough to train a tokenizer on, quick to learn something from."""
    rng = random.Random(seed)
    sentences = (" ".join(rng.choices(WORDS, k=rng.randint(4, 9))).capitalize() for _ in range(num_sentences))
    return "".join(f"{sentence}.{' ' if index % 5 else chr(10)}" for index, sentence in enumerate(sentences))


@pytest.fixture
def corpus_path(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(small_text())
    return path


@pytest.fixture
def tiny_overrides():
    """Settings of a training that takes about a second, as ``--set`` takes them."""
    return list(TINY)


@pytest.fixture
def tiny_config(tiny_overrides):
    """The same as a config."""
    return load_config(None, tiny_overrides)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """No test sees or touches the models of the person who runs it, nor takes the time that the built-in one takes."""
    monkeypatch.setattr(home, "BUILT_IN_MODELS", tmp_path / "no built-in model")
    monkeypatch.setenv("GRU_COMPLETE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GRU_COMPLETE_MODEL", raising=False)
    monkeypatch.delenv("GRU_COMPLETE_DEBUG", raising=False)


@pytest.fixture
def built_in(own_home, trained_model, tmp_path, monkeypatch):
    """The directory of a tiny built-in model; nobody may change it."""
    monkeypatch.setattr(home, "BUILT_IN_MODELS", tmp_path / "base")
    shutil.copytree(trained_model, home.built_in_model())
    return home.built_in_model()


@pytest.fixture(scope="session")
def trained_model(tmp_path_factory):
    """A tiny finished model with its run directory; nobody may change it."""
    directory = tmp_path_factory.mktemp("trained")
    corpus = directory / "corpus.txt"
    corpus.write_text(small_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRU_COMPLETE_HOME", str(directory / "home"))
        request = TrainingRequest([str(corpus)], directory / "tiny", load_config(None, TINY), started=time.monotonic())
        for _ in run_training(request, stop_signal=lambda: None):
            pass
    return directory / "tiny"


@pytest.fixture
def run(capfdbinary, monkeypatch):
    """Run a command line in this process; returns (exit code, stdout, stderr), with stdout as bytes."""

    def run_arguments(*arguments, stdin=None):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin or b"")))
        code = app.run([str(argument) for argument in arguments])
        captured = capfdbinary.readouterr()
        return code, captured.out, captured.err.decode()

    return run_arguments
