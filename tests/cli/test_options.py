"""Old spellings of options, which keep working, and settings that have an option of their own."""

import pytest

from gru_complete.config import load_config

NOTES = "Zorbaxel Quintonim keeps a fenlark. The fenlark of Zorbaxel Quintonim sings. Ask Zorbaxel Quintonim.\n"


@pytest.mark.parametrize("prefix", ["--", "--no-"])
def test_complete_and_prime_still_know_adapt(run, trained_model, tmp_path, prefix):
    notes = tmp_path / "notes.txt"
    notes.write_text(NOTES)
    options = ("The dog saw Zorb", "-f", notes, "-m", trained_model, "--temperature", "0")
    old, new = f"{prefix}adapt", f"{prefix}learn-from-prompt"
    assert run("complete", *options, old) == run("complete", *options, new)
    assert run("complete", *options, old)[1].startswith(b"axel") == (prefix == "--")
    states = []
    for name, option in (("old", old), ("new", new)):
        assert run("prime", notes, "--state-out", tmp_path / name, "-m", trained_model, option)[0] == 0
        states.append((tmp_path / name).read_bytes())
    assert states[0] == states[1]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("--adapt", "--online", b'dynamic": '),
        ("--offers", "--suggestions", b'"offers": '),
        ("--memory", "--effective-context", b'"memory": '),
    ],
)
def test_eval_still_knows_the_old_names_of_its_measures(run, trained_model, tmp_path, old, new, key):
    path = tmp_path / "text.txt"
    path.write_text("The cat ate the bird. The old dog saw the river.\n" * 40)
    for option in (old, new):
        code, out, err = run("eval", path, "-m", trained_model, option, "--json")
        assert (code, err) == (0, "")
        assert key in out


def test_an_option_beats_the_same_setting():
    config = load_config(None, ["training.seed=1", "training.steps=5"], {"training.seed": "2", "training.steps": None})
    assert (config.training.seed, config.training.steps) == (2, 5)
    assert load_config(None, ["training.steps=5"], {"training.steps": "null"}).training.steps is None


BAD_VALUES = {
    "--minutes": ["abc", "", "0", "-1", "inf", "1:30", "yes", "[1]", "1e9", "\x1b[2J"],
    "--steps": ["many", "", "0", "1.5", "yes", "1:30", "{a: 1}"],
    "--seed": ["-1", "x", "", str(2**63)],
    "--device": ["gpu", "", "CPU"],
    "--cell": ["gnu", ""],
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in BAD_VALUES.items() for value in values]
)
def test_an_option_with_a_bad_value_is_named_itself(run, corpus_path, option, value):
    code, out, err = run("train", corpus_path, "-m", "novel", f"{option}={value}")
    assert (code, out) == (2, b"")
    assert err.startswith(f"error: {option} {value!r}: ")
    assert "--set" not in err
    assert len(err.splitlines()) == 1


def test_an_option_and_a_setting_with_bad_values_are_both_named(run, corpus_path):
    code, _, err = run("train", corpus_path, "--minutes", "abc", "--set", "model.hidden_size=x")
    assert code == 2
    option, heading, setting = err.splitlines()
    assert option.startswith("error: --minutes 'abc': ")
    assert heading == "--set: these settings cannot be used:"
    assert setting.startswith("  model.hidden_size: ")
