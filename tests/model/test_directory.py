"""A model comes back as it was saved, and whatever else stands in its directory gives a ModelError."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from gru_complete.errors import BusyError, ModelError, UsageError
from gru_complete.model.architecture import CELLS, STATE_ROWS, Architecture
from gru_complete.model.delta import apply_delta, pack_delta
from gru_complete.model.directory import ModelContents, load_model, read_extra_file, save_delta, save_model
from gru_complete.model.home import (
    find_model,
    list_models,
    models_home,
    remember_last,
    remove_model,
    resolve_model_path,
)
from gru_complete.model.manifest import Base
from gru_complete.model.run_dir import RunDir
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.mixture import NUM_OUTPUTS, NUM_SLOPES, MixingWeights, NGramMixture
from gru_complete.storage import atomic, lock
from gru_complete.storage.untrusted import sha256_hex
from gru_complete.text.tokenizer import Tokenizer
from gru_complete.text.tokenizer_training import train_tokenizer

posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX file types and signals")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory) -> list[Tokenizer]:
    """Two tokenizers of different sizes."""
    work_dir = tmp_path_factory.mktemp("tokenizer")
    texts = [b"the cat sat on the mat and the dog sat on the log ", b"pack my box with five dozen jugs "]
    samples = [texts[0] * 20, (texts[0] + texts[1]) * 20]
    return [Tokenizer(train_tokenizer([sample], vocab_size=60, work_dir=work_dir)) for sample in samples]


@pytest.fixture(scope="module")
def tokenizer(tokenizers) -> Tokenizer:
    return tokenizers[0]


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
        "abbreviations": ["Mr", "Dr"],
    }
    with atomic.replace_directory(path) as directory:
        extra_files = changes.pop("extra_files", None)
        save_model(directory, ModelContents(arch=arch, tokenizer=tokenizer, **{**parts, **changes}), extra_files)


@pytest.fixture
def saved(tmp_path, tokenizer) -> Path:
    """A tiny model on disk."""
    save_random_model(tmp_path / "model", tokenizer)
    return tmp_path / "model"


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


# Saving and loading


@pytest.mark.parametrize("cell", CELLS)
def test_a_model_comes_back_as_it_was_saved(tmp_path, tokenizer, cell):
    arch = tiny_arch(tokenizer, cell)
    save_random_model(tmp_path / "model", tokenizer, arch=arch)
    model = load_model(tmp_path / "model")
    assert model.manifest.arch == arch
    assert model.manifest.metrics == {"bits_per_byte": 1.5, "tuning": {"loss": 2}}
    assert model.manifest.training == {"steps": 100, "torch": "2.13.0+cpu", "resumed": False, "note": None}
    assert model.manifest.tokenizer["abbreviations"] == ["Mr", "Dr"]
    assert model.weights.keys() == random_weights(arch).keys()
    for name, array in random_weights(arch).items():
        np.testing.assert_array_equal(model.weights[name], array)
        assert not model.weights[name].flags.writeable
    assert model.tokenizer.model_bytes == tokenizer.model_bytes
    assert model.fingerprint == sha256_hex((tmp_path / "model" / "manifest.json").read_bytes())
    assert sorted(os.listdir(tmp_path / "model")) == ["manifest.json", "tokenizer.model", "weights.safetensors"]


def test_the_same_model_is_saved_as_the_same_bytes(tmp_path, tokenizer):
    fingerprints = set()
    for name in ("a", "b"):
        save_random_model(tmp_path / name, tokenizer)
        fingerprints.add(load_model(tmp_path / name).fingerprint)
    assert len(fingerprints) == 1


def test_shapes_and_parameters_are_those_of_the_table():
    arch = Architecture("gru", vocab_size=7, embedding_size=2, hidden_size=3, num_layers=2)
    assert arch.tensor_shapes() == {
        "embedding": (7, 2),
        "cells.0.weight_x": (9, 2),
        "cells.0.weight_h": (9, 3),
        "cells.0.bias": (9,),
        "cells.1.weight_x": (9, 3),
        "cells.1.weight_h": (9, 3),
        "cells.1.bias": (9,),
        "projection": (2, 3),
        "output_bias": (7,),
    }
    assert arch.num_parameters == 7 * 2 + 3 * 3 * (3 + 2 + 1) + 3 * 3 * (3 + 3 + 1) + 2 * 3 + 7
    assert "projection" not in arch._replace(embedding_size=3).tensor_shapes()
    one_layer = arch._replace(num_layers=1)
    expected = {"rnn": 18, "rnn-relu": 18, "gru-simple": 36, "gru": 54, "gru-reset-after": 45 + 12, "lstm": 72}
    for cell, num_parameters in expected.items():
        assert one_layer._replace(cell=cell).num_parameters - (14 + 6 + 7) == num_parameters
    assert {cell: 2 if cell == "lstm" else 1 for cell in expected} == STATE_ROWS


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"metrics": {"loss": float("nan")}}, "finite"),
        ({"metrics": {"text": "x" * 101}}, "short"),
        ({"training": {"sample": "two\nlines"}}, "short"),
        ({"training": {"a": {"b": {"c": {"d": 1}}}}}, "small mapping"),
        ({"training": {"a": [1, 2]}}, "small mapping"),
        ({"training": {"a": {str(number): 0 for number in range(201)}}}, "small mapping"),
        ({"training": {f"{a}": {f"{b:060}": "x" * 90 for b in range(100)} for a in range(9)}}, "64000"),
        ({"abbreviations": ["Mr"] * 201}, "200"),
        ({"abbreviations": ["toolonger"]}, "8 characters"),
        ({"abbreviations": [""]}, "8 characters"),
        ({"extra_files": {"../escape": b""}}, "unknown key"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, tokenizer, changes, problem):
    with pytest.raises(ModelError, match=problem):
        save_random_model(tmp_path / "model", tokenizer, **changes)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, tokenizer, bad):
    weights = random_weights(tiny_arch(tokenizer))
    weights["cells.0.bias"][4] = bad
    with pytest.raises(ModelError, match="cells.0.bias contains NaN or infinity"):
        save_random_model(tmp_path / "model", tokenizer, weights=weights)
    assert os.listdir(tmp_path) == []


def test_a_checkpoint_keeps_more_files_under_the_same_checks(tmp_path, tokenizer):
    path = tmp_path / "step-1"
    save_random_model(path, tokenizer, extra_files={"loop.json": b"{}", "optimizer.safetensors": b"moments"})
    assert load_model(path).manifest.files["loop.json"].num_bytes == 2
    assert read_extra_file(path, "optimizer.safetensors") == b"moments"
    for name in ("ngrams.safetensors", "weights.safetensors", "../model"):
        with pytest.raises(ModelError, match="has no"):
            read_extra_file(path, name)
    (path / "optimizer.safetensors").write_bytes(b"momentS")
    with pytest.raises(ModelError, match=r"optimizer.safetensors is damaged \(sha256 mismatch\)"):
        read_extra_file(path, "optimizer.safetensors")


# Models with counts


def random_memory(vocab_size: int, *, seed: int = 0, adapts: bool = True) -> NGramMixture:
    rng = np.random.default_rng(seed)
    ngrams = count_ngrams(np.concatenate(([0], rng.integers(0, vocab_size, 500), [0])), vocab_size=vocab_size, order=3)
    weights = rng.standard_normal((ngrams.order + NUM_SLOPES, NUM_OUTPUTS)).astype(np.float32)
    return NGramMixture(ngrams, MixingWeights(weights), adapts)


@pytest.fixture
def with_counts(tmp_path, tokenizer) -> Path:
    """A tiny model with counts on disk."""
    mixture = random_memory(tokenizer.vocab_size)
    save_random_model(tmp_path / "model", tokenizer, extra_files={"ngrams.safetensors": mixture.to_bytes()})
    return tmp_path / "model"


def test_a_model_comes_back_with_its_counts(with_counts, tokenizer):
    expected, mixture = random_memory(tokenizer.vocab_size), load_model(with_counts).mixture
    assert mixture is not None
    assert mixture.adapts
    assert mixture.to_bytes() == expected.to_bytes()
    logits = np.random.default_rng(1).standard_normal(tokenizer.vocab_size).astype(np.float32)
    nodes = mixture.ngrams.advance(mixture.ngrams.empty_context(), 5)
    np.testing.assert_array_equal(mixture.predict(logits, nodes)[0], expected.predict(logits, nodes)[0])


def test_a_model_without_counts_has_no_memory(saved):
    assert load_model(saved).mixture is None


def test_damaged_counts_are_found(with_counts):
    path = with_counts / "ngrams.safetensors"
    data = path.read_bytes()
    for damaged, problem in (
        (data[:-1], "is cut off"),
        (data[:50] + bytes([data[50] ^ 1]) + data[51:], "is damaged"),
        (b"", "is cut off"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=f"ngrams.safetensors {problem}"):
            load_model(with_counts)
    path.unlink()
    with pytest.raises(ModelError, match=r"ngrams\.safetensors"):
        load_model(with_counts)


@pytest.mark.parametrize("change", ["nothing", "cut", "vocabulary", "no gate", "weights"])
def test_a_strangers_counts_that_do_not_fit_are_refused(with_counts, tokenizer, change):
    """The manifest agrees with them."""
    data = (with_counts / "ngrams.safetensors").read_bytes()
    strange = {
        "nothing": b"",
        "cut": data[:-1],
        "vocabulary": random_memory(tokenizer.vocab_size + 1).to_bytes(),
        "no gate": save(random_memory(tokenizer.vocab_size).ngrams.to_arrays()),
        "weights": (with_counts / "weights.safetensors").read_bytes(),
    }
    swap_in(with_counts, "ngrams.safetensors", strange[change])
    with pytest.raises(ModelError, match=r"ngrams\.safetensors"):
        load_model(with_counts)


# Adapted models


def random_delta(arch: Architecture) -> dict[str, np.ndarray]:
    return pack_delta(random_weights(arch), random_weights(arch, seed=1))


@pytest.fixture
def adapted(saved) -> Path:
    """A tiny model that adapts ``saved``, beside it."""
    base = load_model(saved)
    with atomic.replace_directory(saved.with_name("adapted")) as directory:
        delta = random_delta(base.manifest.arch)
        save_delta(directory, base=base, delta=delta, metrics={"gain": 0.1}, training={"finished": True})
    return saved.with_name("adapted")


def test_an_adapted_model_has_the_counts_of_its_base(with_counts):
    base = load_model(with_counts)
    with atomic.replace_directory(with_counts.with_name("adapted")) as directory:
        save_delta(directory, base=base, delta=random_delta(base.manifest.arch), metrics={}, training={})
    assert load_model(with_counts.with_name("adapted")).mixture.to_bytes() == base.mixture.to_bytes()


def test_counts_of_its_own_are_refused_in_an_adapted_model(adapted, tokenizer):
    swap_in(adapted, "ngrams.safetensors", random_memory(tokenizer.vocab_size).to_bytes())
    with pytest.raises(ModelError, match=r"unknown key.*ngrams\.safetensors"):
        load_model(adapted)


def test_an_adapted_model_is_its_base_plus_the_change(saved, adapted):
    base, model = load_model(saved), load_model(adapted)
    expected = apply_delta(base.weights, random_delta(base.manifest.arch), name="delta")
    assert model.weights.keys() == base.weights.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(model.weights[name], array)
    assert model.tokenizer.model_bytes == base.tokenizer.model_bytes
    assert model.manifest.base == Base("model", base.fingerprint)
    assert (model.manifest.arch, model.manifest.tokenizer) == (base.manifest.arch, base.manifest.tokenizer)
    assert (model.manifest.metrics, model.manifest.training) == ({"gain": 0.1}, {"finished": True})
    assert sorted(os.listdir(adapted)) == ["delta.safetensors", "manifest.json"]


@pytest.mark.parametrize("num_columns", [1, 4, 5])
def test_a_change_comes_back_to_within_half_a_step_of_its_row(num_columns):
    rng = np.random.default_rng(0)
    before = {"m": rng.standard_normal((6, num_columns)), "v": rng.standard_normal(3)}
    before = {name: array.astype(np.float32) for name, array in before.items()}
    after = {name: array + rng.standard_normal(array.shape).astype(np.float32) for name, array in before.items()}
    after["m"][2] = before["m"][2]
    delta = pack_delta(before, after)
    assert (delta["m.steps"].shape, delta["m.scale"].shape) == ((6, (num_columns + 1) // 2), (6,))
    changed = apply_delta(before, delta, name="delta")
    np.testing.assert_allclose(changed["v"], after["v"], rtol=1e-6)
    np.testing.assert_array_equal(changed["m"][2], before["m"][2])
    step = np.abs(after["m"] - before["m"]).max(axis=1, keepdims=True) / 7
    assert (np.abs(changed["m"] - after["m"]) <= step / 2 + 1e-6).all()


def test_a_change_is_unpacked_from_the_lower_half_of_a_byte_first():
    delta = {"m.steps": np.array([[0x2F, 0x08]], np.uint8), "m.scale": np.array([0.5], np.float32)}
    changed = apply_delta({"m": np.ones((1, 3), np.float32)}, delta, name="delta")
    np.testing.assert_array_equal(changed["m"], [[1 + 0.5 * 7, 1 + 0.5 * -6, 1]])


def test_an_adapted_model_follows_its_base_to_another_place(tmp_path, saved, adapted):
    expected = load_model(adapted).weights
    (tmp_path / "elsewhere").mkdir()
    for path in (saved, adapted):
        path.rename(tmp_path / "elsewhere" / path.name)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "adapted")
    for path in (tmp_path / "elsewhere" / "adapted", tmp_path / "link"):
        np.testing.assert_array_equal(load_model(path).weights["embedding"], expected["embedding"])


def test_an_adapted_model_without_its_base_says_what_is_missing(saved, adapted, tokenizer):
    saved.rename(saved.with_name("renamed"))
    with pytest.raises(ModelError, match="beyond the model 'model', which is not beside it") as caught:
        load_model(adapted)
    assert str(saved) in caught.value.hint
    save_random_model(saved, tokenizer, metrics={})
    with pytest.raises(ModelError, match="another model has that name now") as caught:
        load_model(adapted)
    assert "gru-complete adapt model" in caught.value.hint


def test_a_base_is_no_adapted_model(saved, adapted):
    model = load_model(adapted)
    with pytest.raises(ModelError, match="is adapted itself"):
        save_delta(saved, base=model, delta=random_delta(model.manifest.arch), metrics={}, training={})
    edit_manifest(adapted, lambda manifest: manifest["base"].update({"name": "adapted"}))
    with pytest.raises(ModelError, match="which is adapted itself"):
        load_model(adapted)


@pytest.mark.parametrize(
    "base",
    [None, "model", {}, {"name": "model"}, {"name": "model", "fingerprint": "x"},
     *({"name": name, "fingerprint": "0" * 64} for name in
       ["", ".", "..", "../model", "/tmp/model", "a/b", "a\\b", "C:model", ".hidden", "-m", "model.run", "mo\0del", 7]),
     {"name": "model", "fingerprint": "0" * 64, "path": "/"}],
)  # fmt: skip
def test_a_base_is_named_by_a_plain_name_and_a_fingerprint(adapted, base):
    edit_manifest(adapted, lambda manifest: {**manifest, "base": base})
    with pytest.raises(ModelError, match="base"):
        load_model(adapted)


def test_an_adapted_model_has_the_files_of_one(saved, adapted):
    for path, edit in (
        (adapted, lambda manifest: manifest.pop("base") and None),
        (saved, lambda manifest: {**manifest, "base": {"name": "model", "fingerprint": "0" * 64}}),
    ):
        edit_manifest(path, edit)
        with pytest.raises(ModelError, match=r"files has no 'weights.safetensors'|files has no 'delta.safetensors'"):
            load_model(path)


def test_the_sizes_are_those_of_the_base(adapted):
    edit_manifest(adapted, lambda manifest: manifest["arch"].update({"hidden_size": 4}))
    with pytest.raises(ModelError, match="has other sizes than that"):
        load_model(adapted)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("output_bias", None, "output_bias is missing"),
        ("embedding.steps", None, "embedding.steps is missing"),
        ("embedding.scale", lambda array: array[:1], "embedding.scale has the shape"),
        ("embedding.steps", lambda array: array[:, :0], "embedding.steps has the shape"),
        ("embedding.steps", lambda array: array.astype(np.float32), "embedding.steps is float32, expected uint8"),
        ("embedding", lambda _: np.zeros((2, 2), np.float32), "'embedding' is not expected"),
        ("cells.0.bias", lambda array: array.astype(np.float64), "cells.0.bias is float64, expected float32"),
        ("cells.0.bias", lambda array: array * np.float32(np.nan), "cells.0.bias contains NaN"),
        ("projection.scale", lambda array: array + np.float32(3e38), "projection contains NaN or infinity"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(adapted, tokenizer, name, change, problem):
    delta = random_delta(tiny_arch(tokenizer))
    if change is None:
        del delta[name]
    else:
        delta[name] = change(delta.get(name))
    swap_in(adapted, "delta.safetensors", save({key: np.ascontiguousarray(array) for key, array in delta.items()}))
    with pytest.raises(ModelError, match=problem):
        load_model(adapted)


def test_a_damaged_change_is_found(adapted):
    data = bytearray((adapted / "delta.safetensors").read_bytes())
    data[-1] ^= 1
    (adapted / "delta.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match=r"delta.safetensors is damaged \(sha256 mismatch\)"):
        load_model(adapted)


# Damage


@pytest.mark.parametrize("kind", ["missing", "empty", "half written", "file"])
def test_without_a_manifest_it_is_no_model(tmp_path, saved, kind):
    path = tmp_path / "other\x1b"
    if kind == "empty":
        path.mkdir()
    elif kind == "half written":
        saved.rename(path)
        (path / "manifest.json").unlink()
    elif kind == "file":
        path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"other\\x1b is not a gru-complete model \(no manifest.json\)") as caught:
        load_model(path)
    assert caught.value.hint is not None


@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.model"])
def test_a_flipped_bit_is_found(saved, name):
    data = (saved / name).read_bytes()
    for position in range(0, len(data), 41):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        (saved / name).write_bytes(damaged)
        with pytest.raises(ModelError, match=rf"{name} is damaged \(sha256 mismatch\)"):
            load_model(saved)


@pytest.mark.parametrize("bit", [0, 5])
def test_a_bit_flipped_in_the_manifest_is_refused_or_changes_nothing_that_matters(saved, bit):
    data = (saved / "manifest.json").read_bytes()
    expected = load_model(saved)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << bit
        (saved / "manifest.json").write_bytes(damaged)
        try:
            model = load_model(saved)
        except ModelError:
            continue
        assert model.manifest.arch == expected.manifest.arch
        assert model.manifest.files == expected.manifest.files
        assert model.fingerprint != expected.fingerprint


def test_a_manifest_cut_anywhere_is_refused(saved):
    data = (saved / "manifest.json").read_bytes()
    for length in range(len(data)):
        (saved / "manifest.json").write_bytes(data[:length])
        with pytest.raises(ModelError, match="manifest.json"):
            load_model(saved)


@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.model"])
def test_a_file_that_is_cut_or_grown_is_found(saved, name):
    data = (saved / name).read_bytes()
    for length in [*range(0, len(data), 97), len(data) - 1]:
        (saved / name).write_bytes(data[:length])
        with pytest.raises(ModelError, match=f"{name} is cut off: {length} of {len(data)} bytes"):
            load_model(saved)
    (saved / name).write_bytes(data + b"\0")
    with pytest.raises(ModelError, match=f"{name} is larger than {len(data)} bytes"):
        load_model(saved)
    (saved / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        load_model(saved)


def test_a_newer_format_says_so(saved):
    edit_manifest(saved, lambda manifest: {"format": "gru-complete", "version": 3, "what else": "there may be"})
    with pytest.raises(ModelError, match="version 3 was made by a newer gru-complete") as caught:
        load_model(saved)
    assert "upgrade" in caught.value.hint


MANIFEST_EDITS = {
    "another format": lambda m: m.update(format="gguf"),
    "no version": lambda m: m.pop("version"),
    "version 0": lambda m: m.update(version=0),
    "version true": lambda m: m.update(version=True),
    "version text": lambda m: m.update(version="1"),
    "unknown key": lambda m: m.update(template="{{ x }}"),
    "missing part": lambda m: m.pop("metrics"),
    "part of no object": lambda m: m.update(training=[1]),
    "tool version of no text": lambda m: m.update(tool_version={"a": []}),
    "long text in metrics": lambda m: m["metrics"].update(sample="x" * 101),
    "escapes in metrics": lambda m: m["metrics"].update({"a\x1b[2J": 1}),
    "list in training": lambda m: m["training"].update(a=["x"]),
    "unknown flag": lambda m: m["tokenizer"].update(hook="x"),
    "other first piece": lambda m: m["tokenizer"].update(first_piece=258),
    "Boolean document end": lambda m: m["tokenizer"].update(document_end=False),
    "abbreviations of no list": lambda m: m["tokenizer"].update(abbreviations="Mr"),
    "abbreviation with escapes": lambda m: m["tokenizer"].update(abbreviations=["\x1b[2J"]),
    "files of no object": lambda m: m.update(files=[]),
    "no weights": lambda m: m["files"].pop("weights.safetensors"),
    "file outside": lambda m: m["files"].update({"../../etc/passwd": m["files"]["tokenizer.model"]}),
    "absolute file": lambda m: m["files"].update({"/etc/passwd": m["files"]["tokenizer.model"]}),
    "negative size": lambda m: m["files"]["tokenizer.model"].update(bytes=-1),
    "huge size": lambda m: m["files"]["tokenizer.model"].update(bytes=1 << 40),
    "bad digest": lambda m: m["files"]["tokenizer.model"].update(sha256="0" * 63 + "G"),
    "digest with a newline": lambda m: m["files"]["tokenizer.model"].update(sha256="0" * 64 + "\n"),
    "file entry with more": lambda m: m["files"]["tokenizer.model"].update(url="http://example.org"),
    "another cell": lambda m: m["arch"].update(cell="transformer"),
    "cell of no text": lambda m: m["arch"].update(cell=["gru"]),
    "unknown size": lambda m: m["arch"].update(dropout=0),
    "too many bytes": lambda m: m.update({"x-more": "x" * 64_000}),
}


@pytest.mark.parametrize("edit", MANIFEST_EDITS.values(), ids=MANIFEST_EDITS)
def test_a_manifest_that_says_something_else_is_refused_by_name(saved, edit):
    edit_manifest(saved, lambda manifest: edit(manifest) and None)
    with pytest.raises(ModelError, match="manifest.json") as caught:
        load_model(saved)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_keys_for_others_are_left_alone(saved):
    edit_manifest(saved, lambda manifest: manifest.update({"x-note": {"anything": [1, 2]}}))
    load_model(saved)


def test_duplicate_keys_in_the_manifest_are_refused(saved):
    data = (saved / "manifest.json").read_bytes()
    (saved / "manifest.json").write_bytes(data.replace(b'"version"', b'"version": 1, "version"', 1))
    with pytest.raises(ModelError, match="twice"):
        load_model(saved)


anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)
sizes = st.integers(-2, 2**33) | st.sampled_from([1, 8192, 8193, 70_000, 2**31, 2**63, 10**30]) | anything


@settings(max_examples=300, deadline=None)
@given(
    cell=st.sampled_from([*CELLS, "GRU"]) | anything,
    vocab_size=sizes,
    embedding_size=sizes,
    hidden_size=sizes,
    num_layers=sizes,
)
def test_sizes_are_bounded_before_anything_is_allocated(**arch):
    try:
        result = Architecture.from_json(arch)
    except ModelError as error:
        assert "arch" in str(error)  # noqa: PT017
    else:
        assert result.num_parameters <= 200_000_000
        assert all(type(size) is int for size in result[1:])


@pytest.mark.parametrize("size", ["vocab_size", "embedding_size", "hidden_size", "num_layers"])
@pytest.mark.parametrize("value", [0, -1, 2**31, 10**6, True, "512", 512.0, None])
def test_a_size_that_is_no_size_is_refused_by_name(size, value):
    arch = {"cell": "gru", "vocab_size": 300, "embedding_size": 2, "hidden_size": 3, "num_layers": 1, size: value}
    with pytest.raises(ModelError, match=f"arch.{size} is "):
        Architecture.from_json(arch)


class Payload:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (os.mkdir, (str(self.trace),))


@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.model", "manifest.json"])
def test_a_pickle_is_not_run(tmp_path, saved, name):
    data = pickle.dumps(Payload(tmp_path / "trace"))
    if name == "manifest.json":
        (saved / name).write_bytes(data)
    else:
        swap_in(saved, name, data)
    with pytest.raises(ModelError, match="is not a safetensors file" if name.startswith("w") else name):
        load_model(saved)
    assert not (tmp_path / "trace").exists()


def test_all_that_is_wrong_with_the_weights_is_said_at_once(saved, tokenizer):
    weights = random_weights(tiny_arch(tokenizer))
    del weights["output_bias"]
    weights["projection"] = weights["projection"].T.copy()
    weights["cells.0.bias"] = weights["cells.0.bias"].astype(np.float64)
    weights["cells.1.bias"][0] = np.nan
    weights["hook\x1b"] = np.zeros(1, np.float32)
    swap_in(saved, "weights.safetensors", save(weights))
    with pytest.raises(ModelError) as caught:
        load_model(saved)
    for problem in (
        "output_bias is missing",
        "projection has the shape (3, 2), expected (2, 3)",
        "cells.0.bias is float64, expected float32",
        "cells.1.bias contains NaN or infinity",
        r"'hook\x1b' is not expected",
    ):
        assert problem in str(caught.value)


def test_a_tokenizer_from_elsewhere_is_found(saved, tokenizers):
    swap_in(saved, "tokenizer.model", tokenizers[1].model_bytes)
    with pytest.raises(
        ModelError, match=f"{tokenizers[1].vocab_size} pieces, weights expect {tokenizers[0].vocab_size}"
    ):
        load_model(saved)


def test_a_damaged_tokenizer_is_named(saved):
    swap_in(saved, "tokenizer.model", b"\xff" * 50)
    with pytest.raises(ModelError, match="model/tokenizer.model: "):
        load_model(saved)


@pytest.fixture
def five_seconds():
    """Ends a test that waits for a FIFO or a device."""
    previous = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@posix_only
@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.model", "manifest.json"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "FIFO", "directory", "link to a device"])
def test_only_regular_files_of_the_directory_are_read(tmp_path, saved, five_seconds, name, kind):
    (saved / name).rename(tmp_path / "moved")
    if kind == "FIFO":
        os.mkfifo(saved / name)
    elif kind == "directory":
        (saved / name).mkdir()
    else:
        (saved / name).symlink_to({"link": tmp_path / "moved", "dangling link": "nowhere"}.get(kind, "/dev/zero"))
    with pytest.raises(ModelError, match=f"{name} is (a symbolic link|not a regular file)"):
        load_model(saved)


def test_loading_while_the_model_is_replaced_gives_the_old_or_the_new(tmp_path, tokenizer):
    path = tmp_path / "model"
    save_random_model(path, tokenizer, weights=constant_weights(tokenizer, 0))
    done = threading.Event()

    def keep_saving():
        try:
            for number in range(1, 80):
                save_random_model(
                    path, tokenizer, weights=constant_weights(tokenizer, number), training={"number": number}
                )
        finally:
            done.set()

    writer = threading.Thread(target=keep_saving)
    writer.start()
    while not done.is_set():
        model = load_model(path)
        number = model.manifest.training.get("number", 0)
        assert all((array == number).all() for array in model.weights.values())
    writer.join()
    assert load_model(path).manifest.training == {"number": 79}


def constant_weights(tokenizer, number):
    return {name: np.full_like(array, number) for name, array in random_weights(tiny_arch(tokenizer)).items()}


def test_a_model_that_a_killed_swap_has_moved_aside_is_still_found(saved):
    fingerprint = load_model(saved).fingerprint
    saved.rename(saved.with_name(".old-model"))
    assert load_model(saved).fingerprint == fingerprint
    assert find_model(str(saved)) == saved


# Names


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty home of models, and no model chosen."""
    monkeypatch.setenv("GRU_COMPLETE_HOME", str(tmp_path))
    monkeypatch.delenv("GRU_COMPLETE_MODEL", raising=False)
    return tmp_path / "models"


def test_a_separator_makes_a_path_and_everything_else_is_a_name(home):
    assert resolve_model_path("./novel") == Path("novel")
    assert resolve_model_path("/tmp/x.run") == Path("/tmp/x.run")
    for name in ("novel", "my novel (2)", "Tagebuch-2024_ä", "v1.2", "日記"):
        assert resolve_model_path(name) == home / name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "x.run", "x ", "x.", "a\nb", "\x1b[2J", "a\0", "last", "a:b", "x" * 101]
)
def test_what_is_no_name_is_refused(home, name):
    with pytest.raises(UsageError, match="cannot be the name of a model") as caught:
        resolve_model_path(name)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("path", ["/", "./", ".//", "../", "./.", "a/..", "a/../", "/..", "a/.", "./" + "x" * 5000])
def test_a_path_that_ends_in_no_usable_name_is_refused(path):
    with pytest.raises(UsageError, match="cannot be the place of a model"):
        resolve_model_path(path)


def test_a_path_may_end_in_a_separator_and_lie_above():
    assert resolve_model_path("models/novel/") == Path("models/novel")
    assert resolve_model_path("../novel") == Path("../novel")


def test_models_live_in_the_users_data_directory_by_default(monkeypatch):
    monkeypatch.delenv("GRU_COMPLETE_HOME", raising=False)
    assert models_home().is_absolute()
    assert models_home().parts[-2:] == ("gru-complete", "models")


def test_the_option_beats_the_environment_which_beats_the_last_trained(home, tokenizer, monkeypatch):
    home.mkdir()
    for name in ("one", "two", "three"):
        save_random_model(home / name, tokenizer)
    with pytest.raises(ModelError, match="no model has been trained yet") as caught:
        find_model(None)
    assert caught.value.hint == "train one with: gru-complete train CORPUS"
    remember_last(home / "one")
    assert find_model(None) == home / "one"
    monkeypatch.setenv("GRU_COMPLETE_MODEL", "two")
    assert find_model(None) == home / "two"
    assert find_model("three") == home / "three"


def test_the_last_trained_may_lie_elsewhere(home, saved):
    remember_last(saved)
    assert find_model(None) == saved


@pytest.mark.parametrize("name", ["novel", "./novel"])
def test_a_model_that_is_not_there_says_what_to_do(home, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"no model named '{name}'") as caught:
        find_model(name)
    assert caught.value.hint == f"train one with: gru-complete train CORPUS -m {name}"


def test_a_directory_that_is_no_model_is_said_to_be_none(home):
    (home / "novel").mkdir(parents=True)
    with pytest.raises(ModelError, match="is not a gru-complete model"):
        find_model("novel")


def test_models_are_listed_without_what_is_not_finished(home, tokenizer):
    assert list_models() == []
    home.mkdir()
    for name in ("b", "a", ".tmp-c-12345678"):
        save_random_model(home / name, tokenizer)
    (home / "a.run").mkdir()
    (home / "empty").mkdir()
    remember_last(home / "a")
    assert list_models() == [home / "a", home / "b"]


def test_removing_takes_the_model_and_its_run_and_nothing_else(saved):
    run_dir = RunDir.beside(saved).path
    run_dir.mkdir()
    with lock.DirectoryLock(run_dir), pytest.raises(BusyError):
        remove_model(saved, run_only=False)
    remove_model(saved, run_only=True)
    assert os.listdir(saved.parent) == ["model"]
    with pytest.raises(ModelError, match="model.run is not a run directory"):
        remove_model(saved, run_only=True)
    remove_model(saved, run_only=False)
    assert os.listdir(saved.parent) == []


def test_what_is_no_model_is_not_removed(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text("{}")
    (tmp_path / "web.run").mkdir()
    for name in ("photos", "web", "missing"):
        for run_only in (False, True):
            with pytest.raises(ModelError, match="is not a"):
                remove_model(tmp_path / name, run_only=run_only)
    assert sorted(os.listdir(tmp_path)) == ["photos", "web", "web.run"]


def test_loading_imports_nothing_heavy(saved):
    code = (
        "import sys\n"
        "from gru_complete.model.directory import ModelContents, load_model\n"
        "from gru_complete.model.home import find_model\n"
        "load_model(find_model(sys.argv[1]))\n"
        "print([name for name in ('torch', 'pydantic', 'platformdirs', 'safetensors', 'rich') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
