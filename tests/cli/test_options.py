"""Old spellings of options, which keep working, and settings that have an option of their own."""

import pytest

from gru_complete.cli.options import overrides

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
    assert overrides(["training.seed=1"], {"training.seed": "2", "training.steps": None}) == [
        "training.seed=1",
        "training.seed=2",
    ]
    assert overrides(None, {}) == []
