import lzma
import shutil

import numpy as np
import pytest

from gru_complete.evaluation import baselines
from gru_complete.evaluation.baselines import measure_xz
from gru_complete.evaluation.report import read_held_out
from gru_complete.model.directory import load_model
from gru_complete.text.shards import read_shard
from gru_complete.text.xz import xz_bits_per_byte


def test_xz_needs_the_size_that_the_text_adds_to_the_training_text(trained_model, monkeypatch):
    model = load_model(trained_model)
    stream, header = read_held_out(model)
    training, _ = read_shard(trained_model.with_name("tiny.run") / "training.tokens")
    context, text = (model.tokenizer.decode(np.asarray(ids).tolist()) for ids in (training, stream))
    for size in (3000, 2_000_000):  # the end of the training text, or all of it
        monkeypatch.setattr("gru_complete.text.xz.CONTEXT_BYTES", size)
        monkeypatch.setattr(baselines, "CONTEXT_BYTES", size)
        before, after = len(lzma.compress(context[-size:])), len(lzma.compress(context[-size:] + text))
        assert measure_xz(model, stream, header.num_bytes) == pytest.approx(8 * (after - before) / len(text))
    # As training has said.
    assert model.manifest.metrics["xz_bits_per_byte"] == pytest.approx(8 * (after - before) / len(text))


def test_without_the_training_text_there_is_no_baseline(trained_model, tmp_path, monkeypatch):
    stream, header = read_held_out(load_model(trained_model))
    shutil.copytree(trained_model, tmp_path / "alone")
    assert measure_xz(load_model(tmp_path / "alone"), stream, header.num_bytes) is None
    monkeypatch.setattr(baselines, "MAX_BYTES", header.num_bytes - 1)
    assert measure_xz(load_model(trained_model), stream, header.num_bytes) is None


def test_xz_needs_eight_bits_for_a_byte_of_noise_and_little_for_a_text_that_it_has_read(monkeypatch):
    noise, other = (np.random.default_rng(seed).bytes(30_000) for seed in (0, 1))
    assert xz_bits_per_byte(other, noise) == pytest.approx(8, abs=0.02)
    # What it has read it copies, 273 bytes at a time at most, and says in less than 12 bytes from where.
    assert 0 < xz_bits_per_byte(noise + other, noise) < 8 * 12 / 273
    monkeypatch.setattr("gru_complete.text.xz.CONTEXT_BYTES", len(other))
    assert xz_bits_per_byte(noise + other, noise) == pytest.approx(8, abs=0.02)  # only the end of the context is read
