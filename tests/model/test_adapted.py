"""An adapted model and its base."""

import numpy as np
import pytest

from gru_complete.errors import ModelError
from gru_complete.model.directory import load_model, save_delta
from gru_complete.storage import atomic
from tests.model.models import edit_manifest, random_delta, random_mixture, save_random_model, swap_in


def test_an_adapted_model_has_the_ngrams_of_its_base(with_ngrams):
    base = load_model(with_ngrams)
    with atomic.replace_directory(with_ngrams.with_name("adapted")) as directory:
        save_delta(directory, base=base, delta=random_delta(base.manifest.arch), metrics={}, training={})
    assert load_model(with_ngrams.with_name("adapted")).mixture.to_bytes() == base.mixture.to_bytes()


def test_an_adapted_model_may_not_bring_ngrams(adapted, tokenizer):
    swap_in(adapted, "ngrams.safetensors", random_mixture(tokenizer.vocab_size).to_bytes())
    with pytest.raises(ModelError, match=r"unknown key.*ngrams\.safetensors"):
        load_model(adapted)


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
    assert f"gru-complete adapt {saved} FILE -m {adapted} --replace" in caught.value.hint


def test_an_adapted_model_cannot_be_a_base(saved, adapted):
    model = load_model(adapted)
    with pytest.raises(ModelError, match="is adapted itself"):
        save_delta(saved, base=model, delta=random_delta(model.manifest.arch), metrics={}, training={})
    edit_manifest(adapted, lambda manifest: manifest["base"].update({"name": "adapted"}))
    with pytest.raises(ModelError, match="is adapted itself"):
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
    with pytest.raises(ModelError, match="its sizes are not those of that model"):
        load_model(adapted)


def test_a_damaged_change_is_found(adapted):
    data = bytearray((adapted / "delta.safetensors").read_bytes())
    data[-1] ^= 1
    (adapted / "delta.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match=r"delta.safetensors is damaged \(sha256 mismatch\)"):
        load_model(adapted)
