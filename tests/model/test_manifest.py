"""What a manifest may say, and every way in which it may not."""

import pytest

from gru_complete.errors import ModelError
from gru_complete.model.directory import load_model
from gru_complete.model.manifest import Manifest, TextFacts
from tests.model.models import edit_manifest


@pytest.mark.parametrize(
    "base",
    [None, "model", {}, {"name": "model"}, {"name": "model", "fingerprint": "x"},
     *({"name": name, "fingerprint": "0" * 64} for name in
       ["", ".", "..", "../model", "/tmp/model", "a/b", "a\\b", "C:model", ".hidden", "-m", "model.run", "mo\0del", 7]),
     {"name": "model", "fingerprint": "0" * 64, "path": "/"}],
)  # fmt: skip
def test_a_base_is_named_by_a_plain_name_and_a_fingerprint(saved, base):
    edit_manifest(saved, lambda manifest: {**manifest, "base": base})
    with pytest.raises(ModelError, match="base"):
        load_model(saved)


def test_what_an_older_version_wrote_in_place_of_weights_says_how_to_learn_it_again(saved):
    base, files = {"name": "mail", "fingerprint": "0" * 64}, {"delta.safetensors": {"bytes": 3, "sha256": "0" * 64}}
    edit_manifest(saved, lambda manifest: {**manifest, "base": base, "files": files})
    with pytest.raises(ModelError, match="older version") as caught:
        load_model(saved)
    assert "train TEXT --base mail" in caught.value.hint


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
    "another default end": lambda m: m.update(until="chapter"),
    "another start": lambda m: m.update(start="\t"),
    "start of no text": lambda m: m.update(start=["\n"]),
    "default end of no text": lambda m: m.update(until=["line"]),
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


def test_keys_for_other_programs_are_ignored(saved):
    edit_manifest(saved, lambda manifest: manifest.update({"x-note": {"anything": [1, 2]}}))
    load_model(saved)


def test_a_model_that_does_not_say_where_completions_end_ends_them_with_the_sentence(saved):
    for key in ("until", "start"):
        edit_manifest(saved, lambda manifest, key=key: manifest.pop(key) and None)
    manifest = load_model(saved).manifest
    assert manifest.text == TextFacts(["Mr", "Dr"], "sentence", "")
    assert not {"until", "start"} & set(manifest.to_json())  # nor do programs of older versions know the keys
    edit_manifest(saved, lambda manifest: manifest.update(until="line", start="\n"))
    manifest = load_model(saved).manifest
    assert manifest.text == TextFacts(["Mr", "Dr"], "line", "\n")
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_duplicate_keys_in_the_manifest_are_refused(saved):
    data = (saved / "manifest.json").read_bytes()
    (saved / "manifest.json").write_bytes(data.replace(b'"version"', b'"version": 1, "version"', 1))
    with pytest.raises(ModelError, match="twice"):
        load_model(saved)
