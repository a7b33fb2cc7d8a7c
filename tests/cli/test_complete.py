import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys

import pytest

GRU_COMPLETE = [sys.executable, "-m", "gru_complete"]


def start(*arguments, **options):
    return subprocess.Popen([*GRU_COMPLETE, *map(str, arguments)], **options)


def test_the_continuation_alone_goes_to_stdout_with_one_newline(run, trained_model):
    code, out, err = run("complete", "The cat", "-m", trained_model, "--until", "line", "--max-tokens", "20")
    assert (code, err) == (0, "")
    assert out.endswith(b"\n")
    assert not out.startswith(b"The cat")
    assert out.count(b"\n") == 1


def test_echo_prints_the_text_so_far_first(run, trained_model):
    _, plain, _ = run("complete", "The cat", "-m", trained_model)
    _, echoed, _ = run("complete", "The cat", "-m", trained_model, "--echo")
    assert echoed == b"The cat" + plain


def test_no_newline_leaves_the_newline_out(run, trained_model):
    _, plain, _ = run("complete", "The cat", "-m", trained_model)
    _, bare, _ = run("complete", "The cat", "-m", trained_model, "--no-newline")
    assert bare + b"\n" == plain


def test_stdin_loses_one_final_newline_and_a_prompt_keeps_its_spaces(run, trained_model):
    _, from_argument, _ = run("complete", "The cat ", "-m", trained_model, "--json")
    _, from_pipe, _ = run("complete", "-m", trained_model, "--json", stdin=b"The cat \n")
    _, from_dash, _ = run("complete", "-", "-m", trained_model, "--json", stdin=b"The cat \n")
    assert from_argument == from_pipe == from_dash
    assert json.loads(from_argument)["prompt"] == "The cat "


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b""])
@pytest.mark.parametrize("text", [b"The cat", b"A dog. ", b"a\nb", b"", "走。".encode()])
def test_the_final_newline_counts_where_a_line_is_asked_for(run, trained_model, text, end):
    kept = text.decode() + end.decode().replace("\r", "")
    for until, prompt in (("line", kept), ("sentence", kept.removesuffix("\n"))):
        code, piped, _ = run("complete", "-m", trained_model, "--until", until, "--json", stdin=text + end)
        typed = run("complete", prompt, "-m", trained_model, "--until", until, "--json")[1]
        assert (code, json.loads(piped)["text"]) == (0, json.loads(typed)["text"])


def test_a_file_comes_before_the_prompt_with_its_newline(run, trained_model, tmp_path):
    (tmp_path / "before.txt").write_bytes(b"A dog.\n")
    _, out, _ = run("complete", "The cat", "-f", tmp_path / "before.txt", "-m", trained_model, "--json")
    assert json.loads(out)["prompt"] == "A dog.\nThe cat"
    _, out, _ = run("complete", "-f", tmp_path / "before.txt", "-m", trained_model, "--json")
    assert json.loads(out)["prompt"] == "A dog.\n"


def test_json_of_a_prompt_that_ends_within_a_character_is_json(run, trained_model):
    for more in ((), ("--logprobs", "2"), ("--lines",)):
        code, out, err = run("complete", "-m", trained_model, "--json", *more, stdin=b"a caf\xc3\n")
        assert (code, err) == (0, "")
        assert "text" in json.loads(out)


def test_json_has_the_documented_keys(run, trained_model):
    _, out, _ = run("complete", "The cat", "-m", trained_model, "--json", "--seed", "7")
    record = json.loads(out)
    assert list(record) == ["prompt", "text", "tokens", "logprob", "bytes", "stop_reason", "seed", "model"]
    assert (record["prompt"], record["seed"], record["model"]) == ("The cat", 7, "tiny")
    assert record["bytes"] == len(record["text"].encode())
    assert record["logprob"] < 0 < record["tokens"]


def test_n_completions_stand_on_a_line_each_with_the_seeds_that_follow(run, trained_model):
    _, out, _ = run("complete", "The", "-m", trained_model, "-n", "3", "--until", "none", "--max-tokens", "40")
    lines = out.splitlines()
    assert len(lines) == 3
    _, second, _ = run("complete", "The", "-m", trained_model, "--until", "none", "--max-tokens", "40", "--seed", "1")
    assert lines[1] == second.removesuffix(b"\n").replace(b"\n", rb"\n")


def test_a_stop_text_ends_the_completion_and_is_not_printed(run, trained_model):
    options = ["The", "-m", trained_model, "--until", "none", "--max-tokens", "60"]
    _, whole, _ = run("complete", *options)
    stop = whole.decode()[8:11]
    _, stopped, _ = run("complete", *options, "--stop", stop)
    assert stopped.decode().removesuffix("\n") == whole.decode()[: whole.decode().index(stop)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--temperature", "-1"], "temperature must be between 0 and 100, not -1"),
        (["--temperature", "nan"], "temperature must be between 0 and 100, not nan"),
        (["--top-p", "0"], "top-p must be above 0 and at most 1, not 0"),
        (["--max-tokens", "0"], "max-tokens must be between 1 and 1000000, not 0"),
        (["--seed", str(2**70)], "seed must be between 0 and"),
        (["--until", "noon"], "until must be one of word, line, sentence, paragraph, none"),
        (["-n", "0"], "-n must be between 1 and 10000, not 0"),
        (["--stop", ""], "a stop string must not be empty"),
        (["--temperature", "warm"], "invalid value for '--temperature'"),
        (["--nonsense"], "no such option: --nonsense"),
    ],
)
def test_a_value_out_of_range_is_one_clear_line_and_exit_2(run, trained_model, options, message):
    code, out, err = run("complete", "x", "-m", trained_model, *options)
    assert (code, out) == (2, b"")
    assert message in err
    assert err.splitlines()[0].startswith("error: ")
    assert len(err.splitlines()) <= 2


def test_a_missing_model_says_how_to_make_one(run, tmp_path):
    code, out, err = run("complete", "x", "-m", tmp_path / "none")
    assert (code, out) == (4, b"")
    assert "gru-complete train" in err
    code, _, err = run("complete", "x", "-m", "novel")
    assert (code, err.splitlines()[0]) == (4, "error: no model named 'novel'")


def test_without_any_model_the_way_to_the_first_is_shown(run):
    code, _, err = run("complete", "x")
    assert code == 4
    assert "gru-complete train CORPUS" in err


def test_the_environment_names_the_model(run, trained_model, monkeypatch):
    monkeypatch.setenv("GRU_COMPLETE_MODEL", str(trained_model))
    assert run("complete", "x")[0] == 0


def test_a_missing_file_is_an_input_error(run, trained_model, tmp_path):
    code, _, err = run("complete", "-f", tmp_path / "none.txt", "-m", trained_model)
    assert code == 3
    assert "no such file" in err


def test_half_a_character_is_continued_and_echoed_byte_for_byte(run, trained_model):
    code, out, _ = run("complete", "-", "-m", trained_model, "--echo", stdin=b"\xef\xbb\xbf\x1b[1mcaf\xc3")
    assert code == 0
    assert out.startswith(b"\xef\xbb\xbf\x1b[1mcaf\xc3")


def test_markup_and_token_names_in_a_prompt_are_ordinary_text(run, trained_model):
    for prompt in ("[/foo] [red]", "<unk> </s> <0x0A> \u2581", "🧑🏽‍🚀 שלום"):
        code, out, _ = run("complete", prompt, "-m", trained_model, "--echo")
        assert code == 0
        assert out.startswith(prompt.encode())


def test_a_reader_that_leaves_is_no_error(trained_model):
    process = start("complete", "x", "-m", trained_model, "--until", "none", "--max-tokens", "3000",
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
    process.stderr.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_exit_5(trained_model):
    with open("/dev/full", "wb") as full:
        process = start("complete", "x", "-m", trained_model, stdout=full, stderr=subprocess.PIPE)
        _, err = process.communicate()
    assert process.returncode == 5
    assert err == b"error: cannot write output: no space left on device\n"


def test_a_closed_stdout_is_exit_5(trained_model):
    command = " ".join([*GRU_COMPLETE, "complete", "x", "-m", str(trained_model), ">&-"])
    result = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, check=False)
    assert result.returncode == 5
    assert result.stderr == b"error: standard output is closed\n"


def test_a_latin_locale_and_no_colour_off_a_terminal(trained_model):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}
    command = [*GRU_COMPLETE, "complete", "-m", str(trained_model), "--echo"]
    result = subprocess.run(command, input="Ω ".encode(), capture_output=True, env=environment, check=True)
    assert result.stdout.startswith("Ω ".encode())
    assert b"\x1b" not in result.stdout + result.stderr


def test_ctrl_c_ends_the_line_and_leaves_with_130(trained_model):
    process = start("complete", "x", "-m", trained_model, "--until", "none", "--max-tokens", "1000000",
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.endswith(b"\n")
    assert err == b""


def test_a_prompt_that_begins_with_a_dash_goes_after_two(run, trained_model):
    code, _, err = run("complete", "-x", "-m", trained_model)
    assert code == 2
    assert "text that begins with '-' and has no space goes after --" in err
    code, out, _ = run("complete", "-m", trained_model, "--echo", "--", "-x")
    assert code == 0
    assert out.startswith(b"-x")


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(trained_model):
    command = [*GRU_COMPLETE, "complete", "The cat", "-m", str(trained_model), "--seed", "5", "--until", "paragraph"]
    outputs = {
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": threads}, capture_output=True, check=True).stdout
        for threads in ("1", "2", "4")
    }
    assert len(outputs) == 1


def test_an_empty_prompt_starts_from_nothing(run, trained_model):
    code, out, _ = run("complete", "", "-m", trained_model, "--json")
    assert code == 0
    assert json.loads(out)["prompt"] == ""


def test_control_characters_are_shown_on_a_terminal(trained_model):
    leader, follower = pty.openpty()
    process = start("complete", "-", "-m", trained_model, "--echo", stdin=subprocess.PIPE, stdout=follower)
    os.close(follower)
    process.stdin.write(b"a\x1b[31mb\n")
    process.stdin.close()
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other side has closed
        while data := os.read(leader, 65536):
            shown += data
    os.close(leader)
    assert process.wait() == 0
    assert shown.startswith(b"a\\x1b[31mb")
    assert b"\x1b" not in shown


NOTES = "Zorbaxel Quintonim keeps a fenlark. The fenlark of Zorbaxel Quintonim sings. Ask Zorbaxel Quintonim.\n"


def files_of(model):
    return {path.name: path.read_bytes() for path in model.iterdir()}


def test_names_in_a_file_come_back_and_nothing_of_them_stays(run, trained_model, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text(NOTES)
    before = files_of(trained_model)
    options = ("-m", trained_model, "--temperature", "0", "--max-tokens", "20", "--until", "line")
    _, adapted, _ = run("complete", "The dog saw Zorb", "-f", notes, "--learn-from-prompt", *options)
    assert adapted.startswith(b"axel Quintonim")
    _, static, _ = run("complete", "The dog saw Zorb", "-f", notes, "--no-learn-from-prompt", *options)
    assert not static.startswith(b"axel")
    _, afterwards, _ = run("complete", "The dog saw Zorb", "--learn-from-prompt", *options)
    assert not afterwards.startswith(b"axel")
    assert files_of(trained_model) == before


def test_novel_copies_nothing_and_needs_the_text_beside_the_model(run, trained_model, tmp_path):
    words = trained_model.with_name("corpus.txt").read_bytes().split()
    known = {tuple(words[start : start + 3]) for start in range(len(words) - 2)}
    for more in ([], ["--beam", "2"], ["-n", "2", "--json"], ["--temperature", "0"]):
        command = ["complete", "The cat", "-m", trained_model, "--until", "line", "--novel", "3", *more]
        code, out, err = run(*command)
        assert (code, err) == (0, "")
        texts = [json.loads(line)["text"].encode() for line in out.splitlines()] if "--json" in more else [out]
        for text in texts:
            written = text.split()
            assert not any(tuple(written[start : start + 3]) in known for start in range(len(written) - 2))
    code, out, err = run("complete", "-m", trained_model, "--lines", "--novel", "3", stdin=b"The cat\nA dog")
    assert (code, out.count(b"\n"), err) == (0, 2, "")
    shutil.copytree(trained_model, tmp_path / "alone")
    code, out, err = run("complete", "The", "-m", tmp_path / "alone", "--novel", "3")
    assert (code, out) == (2, b"")
    assert "the training text of alone is missing" in err
    assert "hint: train the model again" in err


@pytest.mark.parametrize("other", [["--words", "2"], ["--min-confidence", "0.5"], ["-i"]])
def test_novel_goes_with_completions_only(run, trained_model, other):
    code, _, err = run("complete", "The", "-m", trained_model, "--novel", "3", *other)
    assert code == 2
    assert "cannot be combined" in err
    assert run("complete", "The", "-m", trained_model, "--novel", "1")[0] == 2


def test_without_novel_nothing_of_it_is_loaded(trained_model):
    code = "import sys; from gru_complete.cli import app; app.run(sys.argv[1:]); print(sorted(sys.modules))"
    command = [sys.executable, "-c", code, "complete", "The", "-m", str(trained_model)]
    modules = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "gru_complete.runtime.completer" in modules
    assert "verbatim" not in modules
    assert "runtime.novel" not in modules
    assert "text.shards" not in modules


@pytest.mark.parametrize(
    ("stop", "is_noted"), [(r"\n", True), (r"a\nb", True), ("\n", False), ("\\", False), ("n", False)]
)
def test_a_stop_string_with_a_backslash_and_an_n_is_said_to_be_one(run, trained_model, stop, is_noted):
    code, _, err = run("complete", "The", "-m", trained_model, "--stop", stop)
    assert code == 0
    assert ("has a backslash and an n in it; a newline is $'\\n'" in err) == is_noted


def test_a_stop_string_is_read_as_text_is(run, trained_model):
    options = ["complete", "The", "-m", trained_model, "--until", "none", "--max-tokens", "60", "--temperature", "0.5"]
    _, plain, _ = run(*options, "--stop", "\n")
    assert plain != run(*options)[1]
    for line_end in ("\r\n", "\r", "\x85", "\u2028"):
        assert run(*options, "--stop", line_end)[1] == plain
    assert run(*options, "--stop", "\x1b[1m")[1] == run(*options)[1]
