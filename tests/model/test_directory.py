"""A model comes back as it was saved, and whatever else is in its directory gives a ModelError."""

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from gru_complete.errors import ModelError
from gru_complete.model.architecture import CELLS
from gru_complete.model.directory import load_model, read_extra_file
from gru_complete.model.home import (
    find_model,
)
from gru_complete.model.manifest import TextFacts
from gru_complete.storage import atomic, untrusted
from gru_complete.storage.untrusted import sha256_hex
from tests.model.models import (
    constant_weights,
    posix_only,
    random_mixture,
    random_weights,
    save_random_model,
    swap_in,
    tiny_arch,
)


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
        ({"text": TextFacts(["Mr"] * 201)}, "200"),
        ({"text": TextFacts(["toolonger"])}, "8 characters"),
        ({"text": TextFacts([""])}, "8 characters"),
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


def test_a_model_comes_back_with_its_ngrams(with_ngrams, tokenizer):
    expected, mixture = random_mixture(tokenizer.vocab_size), load_model(with_ngrams).mixture
    assert mixture is not None
    assert mixture.adapts
    assert mixture.to_bytes() == expected.to_bytes()
    logits = np.random.default_rng(1).standard_normal(tokenizer.vocab_size).astype(np.float32)
    nodes = mixture.ngrams.advance(mixture.ngrams.empty_context(), 5)
    np.testing.assert_array_equal(mixture.predict(logits, nodes)[0], expected.predict(logits, nodes)[0])


def test_a_model_without_ngrams_has_no_mixture(saved):
    assert load_model(saved).mixture is None


def test_damaged_ngrams_are_found(with_ngrams):
    path = with_ngrams / "ngrams.safetensors"
    data = path.read_bytes()
    for damaged, problem in (
        (data[:-1], "is cut off"),
        (data[:50] + bytes([data[50] ^ 1]) + data[51:], "is damaged"),
        (b"", "is cut off"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=f"ngrams.safetensors {problem}"):
            load_model(with_ngrams)
    path.unlink()
    with pytest.raises(ModelError, match=r"ngrams\.safetensors"):
        load_model(with_ngrams)


@pytest.mark.parametrize("change", ["nothing", "cut", "vocabulary", "no mixing weights", "weights"])
def test_a_strangers_ngrams_that_do_not_fit_are_refused(with_ngrams, tokenizer, change):
    """The manifest agrees with them."""
    data = (with_ngrams / "ngrams.safetensors").read_bytes()
    strange = {
        "nothing": b"",
        "cut": data[:-1],
        "vocabulary": random_mixture(tokenizer.vocab_size + 1).to_bytes(),
        "no mixing weights": save(random_mixture(tokenizer.vocab_size).ngrams.to_arrays()),
        "weights": (with_ngrams / "weights.safetensors").read_bytes(),
    }
    swap_in(with_ngrams, "ngrams.safetensors", strange[change])
    with pytest.raises(ModelError, match=r"ngrams\.safetensors"):
        load_model(with_ngrams)


@pytest.mark.parametrize("kind", ["missing", "empty", "half written", "file"])
def test_a_directory_without_a_manifest_is_not_a_model(tmp_path, saved, kind):
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


def test_all_problems_of_the_weights_are_reported_together(saved, tokenizer):
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


@pytest.mark.parametrize("num_swaps", [1, 2, 3])
@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors", "ngrams.safetensors", "tokenizer.model"])
def test_a_model_that_was_replaced_within_one_load_is_loaded_even_if_by_the_same_bytes(
    with_ngrams, monkeypatch, num_swaps, name
):
    fingerprint = load_model(with_ngrams).fingerprint
    originals = {path.name: path.read_bytes() for path in with_ngrams.iterdir()}
    read = untrusted.read_regular_file
    swaps = iter([num_swaps])

    def read_late(path, *, max_bytes):
        if path.name == name and (number := next(swaps, 0)):
            for _ in range(number):
                with atomic.replace_directory(with_ngrams) as directory:
                    for key, data in originals.items():
                        (directory / key).write_bytes(data)
            raise ModelError(f"{path} is missing")  # as it is between the two renames of a swap
        return read(path, max_bytes=max_bytes)

    monkeypatch.setattr(untrusted, "read_regular_file", read_late)
    assert load_model(with_ngrams).fingerprint == fingerprint
    assert next(swaps, None) is None
    monkeypatch.setattr(untrusted, "read_regular_file", read)
    (with_ngrams / name).unlink()
    with pytest.raises(ModelError, match="is missing|is not a gru-complete model"):
        load_model(with_ngrams)


def test_a_model_moved_aside_by_an_interrupted_swap_is_still_found(saved):
    fingerprint = load_model(saved).fingerprint
    saved.rename(saved.with_name(".old-model"))
    assert load_model(saved).fingerprint == fingerprint
    assert find_model(str(saved)) == saved


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
