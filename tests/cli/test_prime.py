import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GRU_COMPLETE = [sys.executable, "-m", "gru_complete"]
TEXT = "The cat saw Zorbaxel Quintonim. Naïve 🧑🏽‍🚀 Zorbaxel Quintonim ate the bir"


@pytest.mark.parametrize("cut", [0, 10, 14, 34, 37, len(TEXT.encode())])
@pytest.mark.parametrize("learns", ["--learn-from-prompt", "--no-learn-from-prompt"])
def test_a_text_in_two_parts_is_completed_as_one(run, trained_model, tmp_path, cut, learns):
    data, state = TEXT.encode(), tmp_path / "s.gru"
    (tmp_path / "a.txt").write_bytes(data[:cut])
    code, out, _ = run("prime", tmp_path / "a.txt", "--state-out", state, "-m", trained_model, learns)
    assert (code, out) == (0, b"")
    _, whole, _ = run("complete", "-", "-m", trained_model, learns, stdin=data + b"\n")
    _, parts, _ = run("complete", "-", "--state-in", state, "-m", trained_model, learns, stdin=data[cut:] + b"\n")
    assert parts == whole


def test_complete_keeps_what_it_has_read_with_the_final_newline(run, trained_model, tmp_path):
    state = tmp_path / "s.gru"
    _, first, _ = run("complete", "--state-out", state, "-m", trained_model, stdin=b"A dog ate.\n")
    (tmp_path / "a.txt").write_bytes(b"A dog ate.\n")
    assert run("complete", "-f", tmp_path / "a.txt", "-m", trained_model)[1] == first
    _, whole, _ = run("complete", "-m", trained_model, stdin=b"A dog ate.\nThe ca")
    assert run("complete", "The ca", "--state-in", state, "-m", trained_model)[1] == whole


def test_files_are_read_as_cat_joins_them_and_folders_in_order(run, trained_model, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("The cat sa")
    (folder / "b.txt").write_text("w a dog. ")
    (folder / ".hidden.txt").write_text("Hidden. ")
    (tmp_path / "c.txt").write_text("A bir")
    state = tmp_path / "s.gru"
    run("prime", folder, "-", tmp_path / "c.txt", "--state-out", state, "-m", trained_model, stdin=b"The river. ")
    _, primed, _ = run("complete", "", "--state-in", state, "-m", trained_model)
    _, joined, _ = run("complete", "The cat saw a dog. The river. A bir", "-m", trained_model)
    assert primed == joined


def test_a_state_may_be_read_on(run, trained_model, tmp_path):
    first, second = tmp_path / "1.gru", tmp_path / "2.gru"
    (tmp_path / "a.txt").write_text("The cat sa")
    (tmp_path / "b.txt").write_text("w a do")
    run("prime", tmp_path / "a.txt", "--state-out", first, "-m", trained_model)
    run("prime", tmp_path / "b.txt", "--state-in", first, "--state-out", second, "-m", trained_model)
    _, primed, _ = run("complete", "", "--state-in", second, "-m", trained_model)
    assert primed == run("complete", "The cat saw a do", "-m", trained_model)[1]


def test_the_size_and_what_it_holds_are_said(run, trained_model, tmp_path):
    state, text = tmp_path / "s.gru", tmp_path / "a.txt"
    text.write_text("The cat.\n")
    _, _, err = run("prime", text, "--state-out", state, "-m", trained_model, "--learn-from-prompt")
    assert f"state: {state}, {state.stat().st_size:,} bytes, with " in err
    assert "(the last 100,000 at most)" in err
    _, _, err = run("prime", text, "--state-out", state, "-m", trained_model, "--no-learn-from-prompt")
    assert err == f"state: {state}, {state.stat().st_size:,} bytes\n"
    assert run("prime", text, "--state-out", state, "-m", trained_model, "--learn-from-prompt", "--quiet")[2] == ""
    assert run("complete", "x", "--state-out", state, "-m", trained_model, "--no-learn-from-prompt")[2] == ""


def test_a_foreign_a_damaged_and_a_missing_state_are_exit_4_with_a_hint(run, trained_model, tmp_path):
    state = tmp_path / "s.gru"
    run("complete", "The", "--state-out", state, "-m", trained_model)
    data = state.read_bytes()
    for other in (data.replace(b'"model": "', b'"model": "0', 1), data[:-1], b"", b"not a state\n"):
        state.write_bytes(other)
        code, out, err = run("complete", "x", "--state-in", state, "-m", trained_model)
        assert (code, out) == (4, b"")
        assert err.startswith("error: ")
        assert "hint: " in err
    state.unlink()
    assert run("complete", "x", "--state-in", state, "-m", trained_model)[0] == 4


def test_no_file_but_a_state_is_overwritten(run, trained_model, tmp_path):
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Sir")
    for command in (["prime", letter], ["complete", "x"]):
        code, out, err = run(*command, "--state-out", letter, "-m", trained_model)
        assert (code, out) == (2, b"")
        assert "exists and is not a state file" in err
    assert letter.read_text() == "Dear Sir"


def test_a_state_without_learning_cannot_be_learnt_from(run, trained_model, tmp_path):
    state = tmp_path / "s.gru"
    run("complete", "The", "--state-out", state, "-m", trained_model, "--no-learn-from-prompt")
    code, _, err = run("complete", "x", "--state-in", state, "-m", trained_model, "--learn-from-prompt")
    assert code == 2
    assert "was read without learning from it" in err


@pytest.mark.parametrize("made_with", ["--learn-from-prompt", "--no-learn-from-prompt"])
def test_a_state_goes_on_as_it_was_made_unless_learning_is_switched_off(run, trained_model, tmp_path, made_with):
    state, again = tmp_path / "1.gru", tmp_path / "2.gru"
    read_on, rest, prompt = "Zorbaxel Quintonim met ", "Zorbaxel Quintonim and Zorb", ["-m", trained_model, "-q"]
    (tmp_path / "a.txt").write_text(read_on * 20)
    (tmp_path / "b.txt").write_text(rest)
    run("prime", tmp_path / "a.txt", "--state-out", state, *prompt, made_with)
    run("prime", tmp_path / "b.txt", "--state-in", state, "--state-out", again, *prompt)
    greedy = ["--temperature", "0", "--until", "word", "-m", trained_model]
    expected = run("complete", read_on * 20 + rest, *greedy, made_with)[1]
    assert run("complete", rest, "--state-in", state, *greedy)[1] == expected
    assert run("complete", "", "--state-in", again, *greedy)[1] == expected
    forgetting = run("complete", rest, "--state-in", state, *greedy, "--no-learn-from-prompt")[1]
    assert forgetting == run("complete", read_on * 20 + rest, *greedy, "--no-learn-from-prompt")[1]
    assert (expected != forgetting) == (made_with == "--learn-from-prompt")


@pytest.mark.parametrize("command", [["prime", "-", "--state-out", "s.gru"], ["complete", "-"]])
def test_a_model_without_counts_cannot_learn(run, trained_model, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    model = Path(shutil.copytree(trained_model, tmp_path / "plain"))
    manifest = json.loads((model / "manifest.json").read_text())
    del manifest["files"]["ngrams.safetensors"]
    (model / "manifest.json").write_text(json.dumps(manifest))
    code, out, err = run(*command, "-m", model, "--learn-from-prompt", stdin=b"The cat")
    assert (code, out) == (2, b"")
    assert "--learn-from-prompt: this model has no n-gram model" in err
    assert not (tmp_path / "s.gru").exists()
    assert run(*command, "-m", model, stdin=b"The cat")[0] == 0


def test_a_missing_text_is_exit_3_and_leaves_no_state(run, trained_model, tmp_path):
    code, _, err = run("prime", tmp_path / "none.txt", "--state-out", tmp_path / "s.gru", "-m", trained_model)
    assert code == 3
    assert "no such file" in err
    assert not (tmp_path / "s.gru").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux only")
def test_a_long_prompt_takes_no_more_memory(trained_model, tmp_path):
    """It is read in blocks of 64 kB."""

    def peak_kilobytes(num_bytes):
        code = (
            "import resource, sys; from gru_complete.cli import app; code = app.run(sys.argv[1:]);"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(code)"
        )
        text = b"The old dog saw a cat near the river. " * (num_bytes // 38)
        command = [
            sys.executable,
            "-c",
            code,
            "complete",
            "--no-learn-from-prompt",
            "--until",
            "word",
            "-m",
            str(trained_model),
        ]
        result = subprocess.run(command, input=text, capture_output=True, check=True)
        return int(result.stderr.split()[-1])

    assert peak_kilobytes(2_000_000) < peak_kilobytes(200_000) + 1000


def test_a_state_that_is_a_link_is_read_and_written_through(run, trained_model, tmp_path):
    notes, state, link = tmp_path / "notes.txt", tmp_path / "real.state", tmp_path / "link.state"
    notes.write_text("The cat ate the bird.")
    assert run("prime", notes, "--state-out", state, "-m", trained_model)[0] == 0
    first = state.read_bytes()
    link.symlink_to(state.name)
    for path in (state, link):
        code, out, err = run("complete", " The", "--state-in", path, "-m", trained_model)
        assert (code, err) == (0, "")
        assert out == run("complete", " The", "--state-in", state, "-m", trained_model)[1]
    notes.write_text("The dog saw the river.")
    assert run("prime", notes, "--state-out", link, "-m", trained_model)[0] == 0
    assert link.is_symlink()
    assert state.read_bytes() != first
    state.unlink()
    code, _, err = run("prime", notes, "--state-out", link, "-m", trained_model)
    assert code == 2
    assert "is a link to a missing file" in err
    assert not state.exists()
    (tmp_path / "precious").write_text("x")
    link.unlink()
    link.symlink_to("precious")
    assert run("prime", notes, "--state-out", link, "-m", trained_model)[0] == 2
    assert (tmp_path / "precious").read_text() == "x"
