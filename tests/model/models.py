"""Tiny models, saved and tampered with."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from gru_complete.model.architecture import Architecture
from gru_complete.model.directory import ModelContents, load_model, save_model
from gru_complete.model.manifest import Base, TextFacts
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.mixture import NUM_OUTPUTS, NUM_SLOPES, MixingWeights, NGramMixture
from gru_complete.ngrams.pair import NGramPair
from gru_complete.storage import atomic
from gru_complete.storage.untrusted import sha256_hex
from gru_complete.text.tokenizer import Tokenizer

posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX file types and signals")


def tiny_arch(tokenizer: Tokenizer, cell: str = "gru") -> Architecture:
    return Architecture(cell, tokenizer.vocab_size, embedding_size=2, hidden_size=3, num_layers=2)


def random_weights(arch: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in arch.tensor_shapes().items()}


def save_random_model(path: Path, tokenizer: Tokenizer, **changes) -> None:
    arch = changes.pop("arch", tiny_arch(tokenizer))
    parts = {
        "weights": random_weights(arch),
        "metrics": {"bits_per_byte": 1.5, "tuning": {"loss": 2}},
        "training": {"steps": 100, "torch": "2.13.0+cpu", "resumed": False, "note": None},
        "text": TextFacts(["Mr", "Dr"], "line", "\n"),
    }
    with atomic.replace_directory(path) as directory:
        extra_files = changes.pop("extra_files", None)
        save_model(directory, ModelContents(arch=arch, tokenizer=tokenizer, **{**parts, **changes}), extra_files)


def save_with_base(path: Path, base_path: Path) -> None:
    """Save a model as if its training had started from another one: with two n-gram models, and in eight bits."""
    base = load_model(base_path)
    assert base.mixture is not None
    ngrams = base.mixture.ngrams
    shares = np.zeros(2 * (ngrams.order + NUM_SLOPES), np.float32)
    mixture = base.mixture._replace(ngrams=NGramPair(ngrams, ngrams, shares))
    contents = ModelContents(
        base.manifest.arch,
        base.weights,
        base.tokenizer,
        metrics={},
        training={"finished": True},
        is_quantized=True,
        base=Base("model", base.fingerprint),
    )
    with atomic.replace_directory(path) as directory:
        save_model(directory, contents, {"ngrams.safetensors": mixture.to_bytes()})


def edit_manifest(path: Path, edit) -> None:
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    manifest = edit(manifest) or manifest
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def swap_in(path: Path, name: str, data: bytes) -> None:
    """Replace a file and what the manifest says of it, as an attacker would."""
    (path / name).write_bytes(data)
    edit_manifest(
        path, lambda manifest: manifest["files"].update({name: {"bytes": len(data), "sha256": sha256_hex(data)}})
    )


def random_mixture(vocab_size: int, *, seed: int = 0, adapts: bool = True) -> NGramMixture:
    rng = np.random.default_rng(seed)
    ngrams = count_ngrams(np.concatenate(([0], rng.integers(0, vocab_size, 500), [0])), vocab_size=vocab_size, order=3)
    weights = rng.standard_normal((ngrams.order + NUM_SLOPES, NUM_OUTPUTS)).astype(np.float32)
    return NGramMixture(ngrams, MixingWeights(weights), adapts)


def constant_weights(tokenizer, number):
    return {name: np.full_like(array, number) for name, array in random_weights(tiny_arch(tokenizer)).items()}
