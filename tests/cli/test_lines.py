r"""`complete --lines`, `-0`, `--words`, `--min-confidence` and what does not go with what."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gru_complete.cli import prompts

GRU_COMPLETE = [sys.executable, "-m", "gru_complete"]
PROMPTS = [b"The ca", b"", b"A dog saw", b"The old b"]


def start(*arguments, **options):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([*GRU_COMPLETE, *map(str, arguments)], **pipes)


def test_every_line_is_completed_as_it_would_be_alone(run, trained_model):
    code, out, err = run("complete", "--lines", "-m", trained_model, stdin=b"\n".join(PROMPTS))
    assert (code, err) == (0, "")
    alone = [run("complete", "-m", trained_model, prompt.decode())[1] for prompt in PROMPTS]
    assert out.splitlines(keepends=True) == [text.removesuffix(b"\n").replace(b"\n", rb"\n") + b"\n" for text in alone]


def test_lines_may_end_as_on_windows_and_the_last_may_not_end(run, trained_model):
    _, plain, _ = run("complete", "--lines", "-m", trained_model, stdin=b"The ca\nA dog")
    _, other, _ = run("complete", "--lines", "-m", trained_model, stdin=b"The ca\r\nA dog\r\n")
    assert plain == other


def test_no_lines_give_no_output(run, trained_model):
    assert run("complete", "--lines", "-m", trained_model, stdin=b"") == (0, b"", "")


def test_a_result_is_on_one_line_and_can_be_read_back(run, trained_model):
    options = ["-m", trained_model, "--until", "none", "--max-tokens", "60", "--lines"]
    _, out, _ = run("complete", *options, "--echo", stdin=b"a\\n\nThe\n")
    _, as_json, _ = run("complete", *options, "--json", stdin=b"a\\n\nThe\n")
    records = [json.loads(line) for line in as_json.splitlines()]
    assert any("\n" in record["text"] for record in records)
    read_back = [line.replace(rb"\\", b"\0").replace(rb"\n", b"\n").replace(b"\0", b"\\") for line in out.splitlines()]
    assert [text.decode() for text in read_back] == [record["prompt"] + record["text"] for record in records]


def test_nul_ends_prompts_and_results_and_nothing_is_escaped(run, trained_model):
    options = ["-m", trained_model, "--until", "none", "--max-tokens", "60"]
    _, out, _ = run("complete", "-0", *options, stdin=b"The\ncat\0\0A")
    results = out.split(b"\0")
    assert results.pop() == b""
    for result, prompt in zip(results, ["The\ncat", "", "A"], strict=True):
        assert run("complete", *options, "--no-newline", prompt)[1] == result


def test_nul_ends_the_candidates_of_one_prompt(run, trained_model):
    options = ["The", "-m", trained_model, "-n", "3", "--until", "none", "--max-tokens", "40"]
    _, lines, _ = run("complete", *options)
    _, nul, _ = run("complete", *options, "-0")
    assert nul.replace(b"\n", rb"\n").replace(b"\0", b"\n") == lines


def test_a_file_and_a_state_come_before_each_line(run, trained_model, tmp_path):
    before = tmp_path / "before.txt"
    before.write_text("Zorbaxel Quintonim sings. Zorbaxel Quintonim sleeps.\n")
    state = tmp_path / "s.gru"
    assert run("prime", before, "--state-out", state, "-m", trained_model)[0] == 0
    options = ["-m", trained_model, "--temperature", "0", "--max-tokens", "10"]
    lines = b"Ask Zor\nThe ca\nAsk Zor\n"
    _, out, _ = run("complete", "--lines", "-f", before, *options, stdin=lines)
    assert run("complete", "--lines", "--state-in", state, *options, stdin=lines)[1] == out
    alone = [run("complete", prompt, "-f", before, *options)[1] for prompt in ("Ask Zor", "The ca", "Ask Zor")]
    assert out == b"".join(alone)


def test_a_result_comes_before_the_next_line_is_there(trained_model):
    process = start("complete", "--lines", "-m", trained_model)
    for prompt in PROMPTS:
        process.stdin.write(prompt + b"\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(b"\n")
    process.stdin.close()
    assert (process.stdout.read(), process.stderr.read(), process.wait()) == (b"", b"", 0)
    process.stdout.close()
    process.stderr.close()


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_an_endless_input_needs_no_more_memory(trained_model):
    process = start("complete", "--lines", "--until", "word", "-m", trained_model)
    block = b"The old dog saw a ca\n" * 1000

    def feed_and_drain(times):
        writer = subprocess.Popen(
            [sys.executable, "-c", f"import sys\nfor _ in range({times}): sys.stdout.buffer.write({block!r})"],
            stdout=process.stdin,
        )
        for _ in range(1000 * times):
            process.stdout.readline()
        assert writer.wait() == 0

    def resident():
        with open(f"/proc/{process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    feed_and_drain(1)
    before = resident()
    feed_and_drain(4)
    assert resident() < before + 5000  # kB
    assert process.communicate() == (b"", b"")


def test_a_reader_that_leaves_ends_it_quietly(trained_model):
    process = start("complete", "--lines", "-m", trained_model)
    process.stdin.write(b"The ca\n")
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    time.sleep(0.1)
    process.stdin.write(b"A dog\n")
    process.stdin.flush()
    assert process.wait(timeout=30) == 0  # though stdin is still open
    assert process.stderr.read() == b""
    process.stdin.close()
    process.stderr.close()


def test_ctrl_c_while_waiting_is_130_without_a_word(trained_model):
    process = start("complete", "--lines", "-m", trained_model)
    process.stdin.write(b"The ca\n")
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("option", ["--lines", "-0", "--words=2", "--json"])
def test_a_full_disk_is_exit_5(trained_model, option):
    with open("/dev/full", "wb") as full:
        process = start("complete", option, "-m", trained_model, stdout=full)
        _, err = process.communicate(b"The ca")
    assert (process.returncode, err) == (5, b"error: cannot write output: no space left on device\n")


def test_a_line_that_is_too_long_is_refused_by_its_number(run, trained_model, monkeypatch):
    monkeypatch.setattr(prompts, "MAX_LINE_BYTES", 100)
    code, out, err = run("complete", "--lines", "-m", trained_model, stdin=b"The ca\n" + 101 * b"a")
    assert (code, out.count(b"\n")) == (3, 1)
    assert "line 2 of standard input is longer than 100 bytes" in err


# --------------------------------------------------------------------------------------------------------- words


def test_words_come_with_their_probabilities_the_likeliest_first(run, trained_model):
    code, out, _ = run("complete", "The old s", "--words", "3", "-m", trained_model)
    assert code == 0
    pairs = [line.split(b"\t") for line in out.splitlines()]
    assert len(pairs) == 3
    assert {word[:1] for _, word in pairs} == {b"s"}
    chances = [float(chance) for chance, _ in pairs]
    assert chances == sorted(chances, reverse=True)
    _, as_json, _ = run("complete", "The old s", "--words", "3", "--json", "-m", trained_model)
    record = json.loads(as_json)
    assert list(record) == ["prompt", "words", "model"]
    assert [word["word"] for word in record["words"]] == [word.decode() for _, word in pairs]
    for word, chance in zip(record["words"], chances, strict=True):
        assert word["probability"] == pytest.approx(chance, abs=1e-4)
        assert "s" + word["text"] == word["word"]
        assert word["probability"] <= word["upper"] + 1e-9


def test_the_words_of_each_line_stand_on_one(run, trained_model):
    _, out, _ = run("complete", "--words", "2", "--lines", "-m", trained_model, stdin=b"The old b\nA ca\n")
    alone = [run("complete", prompt, "--words", "2", "-m", trained_model)[1] for prompt in ("The old b", "A ca")]
    assert out.splitlines() == [text.rstrip(b"\n").replace(b"\n", b"\t") for text in alone]


# ---------------------------------------------------------------------------------------------------- confidence


def test_what_is_not_sure_enough_is_not_offered(run, trained_model):
    for options in ([], ["--echo"], ["--json"], ["--words", "3"]):
        assert run("complete", "The", "--min-confidence", "1", "-m", trained_model, *options) == (1, b"", "")
    code, out, _ = run("complete", "The old hou", "--min-confidence", "0.01", "-m", trained_model, "--json")
    record = json.loads(out)
    assert code == 0
    assert record["logprob"] >= -4.6052
    _, echoed, _ = run("complete", "The old hou", "--min-confidence", "0.01", "-m", trained_model, "--echo")
    assert echoed.decode() == "The old hou" + record["text"] + "\n"


def test_offers_are_the_same_however_they_are_asked_for(run, trained_model, tmp_path):
    ask = ["-m", trained_model, "--min-confidence", "0.002"]
    prompts = ["The old hou", "A ca", "The small dog saw a "]
    state = tmp_path / "state.gru"
    texts = []
    for prompt in prompts:
        _, out, _ = run("complete", prompt, *ask, "--json")
        texts.append(json.loads(out)["text"])
        assert run("complete", prompt, *ask)[1].decode() == texts[-1] + "\n"
        assert run("prime", "-", "--state-out", state, "-m", trained_model, stdin=prompt.encode())[0] == 0
        assert run("complete", "", "--state-in", state, *ask)[1].decode() == texts[-1] + "\n"
        state.unlink()
    code, out, _ = run("complete", "--lines", *ask, stdin="".join(f"{prompt}\n" for prompt in prompts).encode())
    assert (code, out.decode().splitlines()) == (0, [text.replace("\n", "\\n") for text in texts])
    code, out, _ = run("complete", "--lines", "--json", *ask, stdin=b"The old hou\n")
    assert json.loads(out)["text"] == texts[0]


def test_offers_without_confidence_are_offers_all_the_same(run, trained_model):
    _, out, _ = run(
        "complete", "The old hou", "--min-confidence", "0", "-m", trained_model, "--until", "none", "--json"
    )
    _, shorter, _ = run("complete", "The old hou", "--min-confidence", "0.01", "-m", trained_model, "--json")
    assert json.loads(out)["text"].startswith(json.loads(shorter)["text"])


def test_lines_that_nothing_is_offered_for_are_empty(run, trained_model):
    options = ["--lines", "-m", trained_model, "--min-confidence"]
    assert run("complete", *options, "1", stdin=b"The\nA\n") == (1, b"\n\n", "")
    code, out, _ = run("complete", *options, "0.01", stdin=b"The old hou\nA\n")
    assert (code, out.count(b"\n")) == (0, 2)


# --------------------------------------------------------------------------------------------- options together


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["x", "--lines"], "PROMPT cannot be combined with --lines"),
        (["--lines", "--state-out", "s.gru"], "--state-out"),
        (["--lines", "-n", "2"], "-n with --lines needs --json"),
        (["x", "--words", "2", "-n", "2"], "--words and -n cannot be combined"),
        (["x", "--words", "2", "--temperature", "1"], "--words and --temperature cannot be combined"),
        (["x", "--min-confidence", "0.5", "--seed", "1"], "--min-confidence and --seed cannot be combined"),
        (["x", "--min-confidence", "0.5", "--no-repeat", "2"], "--min-confidence and --no-repeat cannot be combined"),
        (["x", "--min-confidence", "0.5", "--logprobs", "2", "--json"], "--min-confidence and --logprobs cannot be"),
        (["x", "--beam", "4", "--temperature", "1"], "--beam and --temperature cannot be combined"),
        (["x", "--beam", "4", "-n", "101"], "-n 101: with --beam completions are found by beam search, 100 at"),
        (["x", "--temperature", "0", "-n", "101"], "-n 101: at temperature 0 completions are found by beam"),
        (["x", "-n", "10001"], "-n must be between 1 and 10000, not 10001"),
        (["x", "--logprobs", "2"], "--logprobs needs --json"),
        (["x", "-i", "--json"], "--interactive and --json cannot be combined"),
        (["x", "--words", "-1"], "--words must be between 0 and"),
        (["x", "--min-confidence", "2"], "min-confidence must be between 0 and 1, not 2"),
    ],
)
def test_what_does_not_go_together_is_refused_before_any_work(run, tmp_path, options, message):
    code, out, err = run("complete", *options, "-m", tmp_path / "none", stdin=b"x\n")
    assert (code, out) == (2, b"")
    assert message in err.splitlines()[0]


def test_candidates_differ_and_a_beam_gives_its_best(run, trained_model):
    _, out, _ = run("complete", "The ", "-m", trained_model, "-n", "8", "--until", "word", "--json")
    texts = [json.loads(line)["text"] for line in out.splitlines()]
    assert len(texts) == len(set(texts)) > 1
    code, best, _ = run("complete", "The ", "-m", trained_model, "--beam", "4", "--until", "word")
    _, all_four, _ = run("complete", "The ", "-m", trained_model, "--beam", "4", "-n", "4", "--until", "word")
    _, all_six, _ = run("complete", "The ", "-m", trained_model, "--beam", "4", "-n", "6", "--until", "word")
    assert code == 0
    assert len(all_six.splitlines()) == 6
    assert all_six == run("complete", "The ", "-m", trained_model, "--beam", "6", "-n", "6", "--until", "word")[1]
    assert all_four.splitlines()[0] == best.removesuffix(b"\n")


def test_logprobs_name_each_token_and_its_rivals(run, trained_model):
    _, out, _ = run("complete", "The old ", "-m", trained_model, "--json", "--logprobs", "3")
    record = json.loads(out)
    assert len(record["logprobs"]) == record["tokens"]
    assert sum(token["logprob"] for token in record["logprobs"]) == pytest.approx(record["logprob"], abs=1e-4)
    for token in record["logprobs"]:
        assert 1 <= len(token["top"]) <= 3
        assert token["top"][0]["logprob"] >= token["logprob"] - 1e-6
