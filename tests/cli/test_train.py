import fcntl
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from gru_complete.model.directory import load_model
from gru_complete.storage.untrusted import sha256_hex
from tests.training.runs import finished

GRU_COMPLETE = [sys.executable, "-m", "gru_complete"]


@pytest.fixture
def settings(tiny_overrides):
    return [part for override in tiny_overrides for part in ("--set", override)]


def start(*arguments, **options):
    return subprocess.Popen([*GRU_COMPLETE, *map(str, arguments)], **options)


def test_train_names_the_model_after_the_corpus_and_ends_with_the_command_to_try(run, corpus_path, settings):
    code, out, err = run("train", corpus_path, *settings)
    assert (code, out) == (0, b"")
    match = re.fullmatch(r"try: gru-complete complete '([A-Z]\w+ )' -m corpus", err.splitlines()[-1])
    assert match
    assert f". {match[1]}" in corpus_path.read_text()
    assert re.search(r"result: \d\.\d{3} bits per byte on [\d,]+ bytes of held-out text; xz needs \d\.\d{3}", err)
    assert run("complete", match[1], "-m", "corpus")[0] == 0
    assert run("complete", match[1])[0] == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_model_of_a_text_of_lines_completes_lines_and_says_how_to_try_it(run, settings, tmp_path, seed):
    generator = random.Random(seed)
    commands = ["git push", "git push", "git log", "make it", "ls -l src", "cd ..", "don't ask"]
    history = tmp_path / "history"
    history.write_text("".join(f"{generator.choice(commands)}\n" for _ in range(1000)))
    code, _, err = run("train", history, *settings, "--steps", "2")
    assert (code, err.splitlines()[-1]) == (0, "try: gru-complete complete 'git ' -m history")
    for prompt in ("", "git ", "ls"):
        code, out, _ = run("complete", prompt, "-m", "history", "--seed", str(seed))
        assert (code, out.count(b"\n"), out[-1:]) == (0, 1, b"\n")
        _, until_line, _ = run("complete", prompt, "-m", "history", "--seed", str(seed), "--until", "line")
        assert out == until_line


def test_json_goes_to_stdout_and_quiet_keeps_stderr_empty(run, corpus_path, settings, tmp_path):
    code, out, err = run("train", corpus_path, "-m", tmp_path / "m", "--quiet", "--json", *settings)
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert (record["model"], record["steps"], record["stopped_early"]) == (str(tmp_path / "m"), 24, False)
    assert 0 < record["held_out_bits_per_byte"] < 8


def test_options_are_settings_and_checked_like_them(run, corpus_path, tmp_path, settings):
    code, _, err = run("train", corpus_path, "-m", tmp_path / "m", *settings, "--cell", "lstm", "--steps", "4", "-q")
    assert (code, err) == (0, "")
    manifest = load_model(tmp_path / "m").manifest
    assert (manifest.arch.cell, manifest.training["steps"]) == ("lstm", 4)
    code, _, err = run("train", corpus_path, "--cell", "gruu")
    assert code == 2
    assert "error: --cell 'gruu': " in err
    code, _, err = run("train", corpus_path, "--minutes", "1", "--steps", "3")
    assert (code, err) == (2, "error: --minutes and --steps are mutually exclusive\n")


def test_minutes_beat_the_steps_of_a_file(run, corpus_path, tmp_path, monkeypatch):
    requests = []

    def keep_request(request, **_):
        requests.append(request)
        return iter([finished({"tuning_bits_per_byte": 2.0}, model_path=request.model_path)])

    monkeypatch.setattr("gru_complete.training.run.run_training", keep_request)
    config = tmp_path / "c.yaml"
    config.write_text("training: {steps: 3}\n")
    assert run("train", corpus_path, "-c", config)[0] == 0
    assert run("train", corpus_path, "-c", config, "--minutes", "0.05")[0] == 0
    from_file, from_option = (request.config.training for request in requests)
    assert from_file.steps == 3
    assert (from_option.steps, from_option.minutes) == (None, 0.05)


def test_minutes_that_are_no_number_are_refused(run, corpus_path):
    code, _, err = run("train", corpus_path, "--minutes", "nan")
    assert code == 2
    assert "--minutes" in err


def test_a_text_in_place_of_a_path_is_an_input_error(run):
    code, out, err = run("train", "some very long text " * 250)
    assert (code, out) == (3, b"")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "name too long" in errors[0]


@pytest.mark.parametrize(
    ("content", "code", "part"),
    [
        (b"", 3, "empty"),
        (b" \n\n ", 3, "nothing but white space"),
        (b"too short", 3, "at least 1024 are needed"),
        (b"abc\x00def" * 1000, 3, "NUL"),
        (b"\x1f\x8b\x08" + b"x" * 5000, 3, "gzip"),
        (b"good text " * 500 + b"\xff" + b"more " * 500, 3, "byte 5000"),
    ],
)
def test_a_corpus_that_is_no_text_is_one_line_and_leaves_nothing(run, tmp_path, settings, content, code, part):
    path = tmp_path / "corpus.txt"
    path.write_bytes(content)
    found, out, err = run("train", path, "-m", tmp_path / "m", *settings)
    assert (found, out) == (code, b"")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert part in errors[0]
    assert not (tmp_path / "m").exists()
    assert not (tmp_path / "m.run").exists()


def test_a_missing_corpus_is_named(run, tmp_path):
    code, _, err = run("train", tmp_path / "none.txt")
    assert code == 3
    assert "none.txt" in err


def test_stdin_trains_a_named_model(run, corpus_path, tmp_path, settings):
    code, _, err = run("train", "-", "-m", tmp_path / "m", "-q", *settings, stdin=corpus_path.read_bytes())
    assert (code, err) == (0, "")
    code, _, err = run("train", "-", stdin=corpus_path.read_bytes())
    assert code == 2
    assert "-m NAME" in err


def test_a_finished_model_is_refused_before_any_work(run, trained_model, corpus_path):
    code, _, err = run("train", corpus_path, "-m", trained_model)
    assert code == 2
    assert "--replace" in err


def wait_for_step(run_dir, process, step=2):
    """Wait until the training has saved this step or a later one; it must not end before."""
    deadline = time.monotonic() + 60
    while not any(int(path.name.removeprefix("step-")) >= step for path in (run_dir / "checkpoints").glob("step-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline, f"step {step} was not saved in a minute"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_the_same_command_finishes(corpus_path, tmp_path, settings, number):
    command = [
        "train",
        corpus_path,
        "-m",
        tmp_path / "m",
        *settings,
        "--steps",
        "3000",
        "--set",
        "training.evaluations=1500",
    ]
    process = start(*command, stderr=subprocess.PIPE, text=True)
    wait_for_step(tmp_path / "m.run", process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert re.search(r"error: interrupted at step \d+ of 3000; saved", err)
    assert "run the same command again to resume" in err
    assert load_model(tmp_path / "m").manifest.training["finished"] is False


def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(corpus_path, tmp_path, settings):
    def command(name):
        return [
            "train",
            corpus_path,
            "-m",
            tmp_path / name,
            *settings,
            "--steps",
            "60",
            "--set",
            "training.evaluations=30",
            "-q",
        ]

    assert start(*command("straight")).wait() == 0
    for step in (4, 20):
        process = start(*command("killed"))
        wait_for_step(tmp_path / "killed.run", process, step)
        process.kill()
        process.wait()
    assert start(*command("killed")).wait() == 0
    weights = [sha256_hex((tmp_path / name / "weights.safetensors").read_bytes()) for name in ("straight", "killed")]
    assert weights[0] == weights[1]


def test_a_second_training_of_the_same_model_is_busy(corpus_path, tmp_path, settings, run):
    command = ["train", corpus_path, "-m", tmp_path / "m", *settings, "--steps", "100000"]
    process = start(*command, stderr=subprocess.DEVNULL)
    try:
        wait_for_step(tmp_path / "m.run", process, 0)
        code, _, err = run(*command)
        assert code == 6
        assert f"process {process.pid}" in err
    finally:
        process.kill()
        process.wait()


def test_a_terminal_sees_a_moving_bar_and_a_pipe_sees_none(corpus_path, tmp_path, settings):
    process = start("train", corpus_path, "-m", tmp_path / "piped", *settings, stderr=subprocess.PIPE)
    _, piped = process.communicate()
    assert b"\r" not in piped
    assert b"\x1b" not in piped
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # rows, columns
    process = start(
        "train", corpus_path, "-m", tmp_path / "shown", *settings, stderr=follower, env={**os.environ, "TERM": "xterm"}
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:  # how Linux says that the other side has closed
            break
        if not data:
            break
        shown += data
    os.close(leader)
    assert process.wait() == 0
    assert b"0% |" in shown
    assert b"result:" in shown


def test_explain_says_what_was_chosen_and_what_was_asked_for(run, corpus_path, settings, tmp_path):
    _, _, err = run(
        "train", corpus_path, "-m", tmp_path / "model", "--explain", *settings, "--set", "model.dropout=0.2"
    )
    assert "width: 24, as you set it" in err
    assert "dropout: 0.2, as you set it" in err
    assert re.search(r"weights: [\d,]+, \d+\.\d tokens read for each", err)
    _, _, quiet = run("train", corpus_path, "-m", tmp_path / "other", *settings)
    assert "as you set it" not in quiet
