"""Signals before the first step; those that save are in test_train.py."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gru_complete.cli.signals import StopNow, StopSignals

GRU_COMPLETE = [sys.executable, "-m", "gru_complete"]
ONE_LINE = "error: interrupted before the first step of this session\n"
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def start(*arguments, **options):
    return subprocess.Popen([*GRU_COMPLETE, *map(str, arguments)], stderr=subprocess.PIPE, text=True, **options)


def wait_until(is_true, process):
    deadline = time.monotonic() + 60
    while not is_true():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_swallows_exceptions_does_not_swallow_a_signal():
    def import_that_tries_things():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception:
            return

    with pytest.raises(StopNow) as caught, StopSignals():
        import_that_tries_things()
    assert caught.value.signal_number == signal.SIGTERM


def test_a_signal_is_only_noted_once_saving_is_possible():
    before = signal.getsignal(signal.SIGINT)
    with StopSignals() as stop:
        stop.is_saving_possible = True
        signal.raise_signal(signal.SIGINT)
    assert stop.received == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_signal_exits_at_once():
    code = (
        "import signal; from gru_complete.cli.signals import StopSignals\n"
        "with StopSignals() as stop:\n"
        "    stop.is_saving_possible = True\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print('saving', flush=True)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('saved', flush=True)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (143, "saving\n", "")


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_corpus_is_read_leaves_nothing(tmp_path, number):
    process = start("train", "-", "-m", tmp_path / "m", stdin=subprocess.PIPE)
    wait_until((tmp_path / "m.run" / "lock").exists, process)
    sent = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=30) == 128 + number
    assert time.monotonic() - sent < 5
    _, err = process.communicate()
    assert err == ONE_LINE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="looks for the child in /proc")
def test_a_signal_while_the_tokenizer_is_trained_leaves_nothing(tmp_path):
    corpus = tmp_path / "corpus.txt"
    words = (f"{'bcdfg'[i % 5]}{'aeiou'[i % 7 % 5]}{i * 7919 % 9973}x{i * 31 % 89}" for i in range(150_000))
    corpus.write_text(" ".join(words))
    process = start("train", corpus, "-m", tmp_path / "m")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def tokenizer_child():
        for child in children.read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"tokenizer_child" in command:
                return child
        return None

    wait_until(tokenizer_child, process)
    child = tokenizer_child()
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert err.splitlines()[-1] + "\n" == ONE_LINE
    assert err.count("error: ") == 1
    assert not (tmp_path / "m.run").exists()
    assert not Path(f"/proc/{child}").exists()


@posix_only
def test_a_resumed_run_that_is_interrupted_early_can_still_be_gone_on_with(tmp_path, corpus_path, tiny_overrides):
    settings = [part for override in tiny_overrides for part in ("--set", override)]
    command = ["train", "-", "-m", tmp_path / "m", *settings, "--steps", "3000", "-q"]
    with corpus_path.open() as text:
        process = start(*command, stdin=text)
        checkpoints = tmp_path / "m.run" / "checkpoints"
        wait_until(lambda: any(checkpoints.glob("step-*")), process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    saved = sorted(path.name for path in checkpoints.iterdir())
    process = start(*command, stdin=subprocess.PIPE)
    wait_until(lambda: f'"pid": {process.pid}' in (tmp_path / "m.run" / "lock").read_text(), process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    _, err = process.communicate()
    assert err == ONE_LINE + "hint: run the same command again to resume\n"
    assert sorted(path.name for path in checkpoints.iterdir()) == saved


@posix_only
def test_an_ignored_ctrl_c_stays_ignored(tmp_path, corpus_path, tiny_overrides):
    settings = [part for override in tiny_overrides for part in ("--set", override)]
    process = start(
        "train", "-", "-m", tmp_path / "m", *settings, "-q",
        stdin=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    wait_until((tmp_path / "m.run" / "lock").exists, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(corpus_path.read_text(), timeout=60)
    assert (process.returncode, err) == (0, "")


@posix_only
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_eval_leaves_no_text_behind_when_it_is_ended(tmp_path, trained_model, number):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = start("eval", "-", "-m", trained_model, stdin=subprocess.PIPE, env=environment)
    wait_until(lambda: any(temporary.glob("gru-complete-*/*")), process)
    process.send_signal(number)
    assert process.wait(timeout=30) == 128 + number
    _, err = process.communicate()
    assert err == "error: interrupted\n"
    assert list(temporary.iterdir()) == []
