"""The files of a model are read once, ahead of its loading, and checked against its manifest."""

import subprocess
import sys
from threading import Thread

import numpy as np
import pytest

from gru_complete.errors import ModelError
from gru_complete.model.directory import load_model
from gru_complete.model.files import ModelFiles, Place, read_ahead
from gru_complete.model.manifest import NGRAMS, TOKENIZER, WEIGHTS, load_manifest
from gru_complete.storage import atomic
from tests.model.models import save_random_model


def test_files_are_those_of_the_directory(with_ngrams):
    files = ModelFiles(Place(with_ngrams))
    for name in (WEIGHTS, NGRAMS, TOKENIZER):
        assert files.read(name) == (with_ngrams / name).read_bytes()
    assert files.fingerprint == load_model(with_ngrams).fingerprint


def test_a_model_read_ahead_is_the_model(with_ngrams):
    ahead, plain = load_model(with_ngrams, read_ahead(with_ngrams)), load_model(with_ngrams)
    assert ahead.fingerprint == plain.fingerprint
    for name, array in plain.weights.items():
        np.testing.assert_array_equal(ahead.weights[name], array)
    assert ahead.mixture.to_bytes() == plain.mixture.to_bytes()


@pytest.mark.parametrize("name", [WEIGHTS, NGRAMS, TOKENIZER])
def test_a_damaged_file_is_refused_when_it_is_asked_for(with_ngrams, name):
    data = bytearray((with_ngrams / name).read_bytes())
    data[-1] ^= 1
    (with_ngrams / name).write_bytes(data)
    files = ModelFiles(Place(with_ngrams))
    with pytest.raises(ModelError, match="damaged"):
        files.read(name)
    with pytest.raises(ModelError, match="damaged"):
        load_model(with_ngrams, files)


def test_a_missing_model_is_not_read_ahead_and_refused_when_it_is_loaded(tmp_path):
    assert read_ahead(tmp_path) is None
    with pytest.raises(ModelError, match="is not a gru-complete model"):
        load_model(tmp_path, read_ahead(tmp_path))


def test_a_model_replaced_after_reading_began_gives_the_old_or_the_new_one(saved, tokenizers):
    old = load_model(saved).fingerprint
    manifest = (saved / "manifest.json").read_bytes()
    with atomic.replace_directory(saved) as directory:
        save_random_model(directory, tokenizers[1])
        new_manifest = (directory / "manifest.json").read_bytes()
    assert manifest != new_manifest
    (saved / "manifest.json").write_bytes(manifest)  # reading begins with the old manifest, and finds the new files
    files = ModelFiles(Place(saved))
    (saved / "manifest.json").write_bytes(new_manifest)
    loaded = load_model(saved, files)
    assert loaded.fingerprint != old
    assert loaded.tokenizer.vocab_size == tokenizers[1].vocab_size


def test_reading_ahead_needs_no_numpy(saved):
    code = (
        "import sys; from pathlib import Path; from gru_complete.model.files import read_ahead\n"
        "from gru_complete.model.home import find_model\n"
        "files = read_ahead(find_model(sys.argv[1])); files.read('weights.safetensors')\n"
        "print([name for name in ('numpy', 'sentencepiece') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_where_no_thread_is_started_the_files_are_read_nevertheless(saved, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    assert load_model(saved).manifest.arch == load_manifest(saved)[0].arch
    (saved / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="is missing"):
        load_model(saved)
