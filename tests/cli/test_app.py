import errno
import gc
import io
import json
import os
import subprocess
import sys

import pytest

from gru_complete.__main__ import main
from gru_complete.cli import app, complete, models
from gru_complete.errors import UsageError

MODELS_COMMANDS = [["models", command.name or command.callback.__name__] for command in models.app.registered_commands]
ALL_COMMANDS = [*([name] for name in app.COMMANDS), *MODELS_COMMANDS]


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=" ".join)
def test_every_command_has_help(run, command):
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert f"gru-complete {' '.join(command)}" in out.decode()


def test_the_commands_are_those_that_users_know():
    assert [" ".join(command) for command in ALL_COMMANDS] == [
        *("train", "complete", "prime", "eval", "inspect", "check", "recall", "compare", "models"),
        *("models list", "models show", "models remove"),
    ]


def test_help_needs_neither_numpy_nor_torch():
    for command in ALL_COMMANDS:
        code = (
            "import sys; from gru_complete.cli import app;"
            f"app.run({[*command, '--help']!r});"
            "print([name for name in ('numpy', 'torch', 'rich', 'tqdm', 'pydantic') if name in sys.modules])"
        )
        output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        assert output.splitlines()[-1] == "[]", command


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=" ".join)
def test_old_spellings_are_not_in_the_help(run, command):
    words = set(run(*command, "--help")[1].decode().replace(",", " ").split())
    assert words & {"--adapt", "--no-adapt", "--offers", "--memory"} == set()


def test_the_version_is_printed(run):
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith(b"gru-complete ")


def test_an_unknown_command_is_exit_2(run):
    code, out, err = run("compleet")
    assert (code, out) == (2, b"")
    assert "no such command 'compleet'" in err


def test_an_unknown_colour_choice_is_exit_2(run):
    assert run("--color", "mauve", "models", "list")[0] == 2


@pytest.mark.parametrize("command", [["complete"], ["eval"], ["models", "show"]], ids=" ".join)
def test_where_the_default_model_comes_from_is_said(run, command):
    assert "$GRU_COMPLETE_MODEL" in run(*command, "--help")[1].decode()


def test_a_bug_is_exit_70_without_a_traceback_unless_wanted(run, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("private text")

    monkeypatch.setattr(complete, "text_sources", broken)
    monkeypatch.setattr("gru_complete.model.home.find_model", lambda _: None)
    code, _, err = run("complete", "x")
    assert code == 70
    assert "private text" not in err
    assert "Traceback" not in err
    monkeypatch.setenv("GRU_COMPLETE_DEBUG", "1")
    assert "Traceback" in run("complete", "x")[2]


def test_a_permission_that_is_missing_anywhere_is_exit_5(run, monkeypatch):
    for name in ("a.txt", "\x1b[2J", b"bytes", None):

        def broken(*_, name=name):
            raise PermissionError(13, "Permission denied", name)

        monkeypatch.setattr("gru_complete.model.home.find_model", broken)
        code, out, err = run("complete", "x")
        assert (code, out) == (5, b"")
        assert err.startswith("error: cannot use ")
        assert err.endswith(": permission denied\n")
        assert "\x1b" not in err


def test_memory_that_runs_out_is_exit_5(run, monkeypatch):
    def broken(_):
        raise MemoryError

    monkeypatch.setattr("gru_complete.model.home.find_model", broken)
    code, _, err = run("complete", "x")
    assert (code, err) == (5, "error: out of memory\n")


def test_complete_loads_neither_torch_nor_pydantic(trained_model):
    code = (
        "import sys; from gru_complete.cli import app;"
        f"app.run(['complete', 'The cat', '-m', {str(trained_model)!r}, '--temperature', '0.5']);"
        "print([name for name in ('torch', 'pydantic', 'rich', 'tqdm', 'yaml') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.splitlines()[-1] == "[]"


NOT_FOR_A_COMPLETION = {
    *(
        f"gru_complete.cli.{name}"
        for name in ("evaluate", "inspect", "interactive", "models", "prime", "signals", "train")
    ),
    *(f"gru_complete.runtime.{name}" for name in ("batch", "logprobs", "offers", "repeats", "search", "session")),
    *(f"gru_complete.runtime.{name}" for name in ("state", "wordbreaks", "words")),
    *(
        "gru_complete.config",
        "gru_complete.text.corpus",
        "gru_complete.text.shards",
        "gru_complete.evaluation.neural_cache",
    ),
    *("dataclasses", "importlib.metadata", "safetensors"),
}


def test_complete_loads_only_what_a_completion_needs(trained_model):
    code = (
        "import json, sys; from gru_complete.cli import app;"
        f"app.run(['complete', 'The cat', '-m', {str(trained_model)!r}]);"
        "print(); print(json.dumps(list(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    loaded = set(json.loads(output.splitlines()[-1]))
    assert "gru_complete.runtime.completer" in loaded
    assert loaded & NOT_FOR_A_COMPLETION == set()


def test_the_process_of_complete_ends_with_its_exit_code_and_all_its_output(trained_model):
    command = [sys.executable, "-m", "gru_complete", "complete"]
    fine = subprocess.run([*command, "The cat", "-m", str(trained_model)], check=False, capture_output=True)
    assert (fine.returncode, fine.stdout[-1:], fine.stderr) == (0, b"\n", b"")
    wrong = subprocess.run([*command, "x", "-m", "no-such-model"], check=False, capture_output=True)
    assert (wrong.returncode, wrong.stdout) == (4, b"")
    assert wrong.stderr.startswith(b"error: no model named")
    help_text = subprocess.run([*command, "--help"], check=False, capture_output=True)
    assert help_text.returncode == 0
    assert b"--interactive" in help_text.stdout


def test_the_console_script_is_the_app_and_collects_garbage_from_then_on(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gru-complete", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert gc.isenabled()


class _Refusing(io.TextIOWrapper):
    """A stdout whose every write fails."""

    def __init__(self, error):
        super().__init__(io.BytesIO())
        self.error = error

    @property
    def buffer(self):
        raise self.error

    def fileno(self):
        raise ValueError


@pytest.mark.parametrize("command", [[], ["--version"], *ALL_COMMANDS], ids=lambda command: " ".join(command) or "-")
def test_help_that_cannot_be_written_is_no_bug_and_no_success(run, monkeypatch, command):
    arguments = command if command == ["--version"] else [*command, "--help"]
    outputs = {5: [None, _Refusing(OSError(28, "No space left on device")), _Refusing(OSError(5, "I/O error"))]}
    for code, streams in {**outputs, 0: [_Refusing(BrokenPipeError(32, "Broken pipe"))]}.items():
        for stream in streams:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", stream)
                assert app.run(arguments) == code


REFUSALS = [
    MemoryError(),
    ImportError("libopenblas.so: failed to map segment from shared object"),
    ImportError("libgomp.so.1: cannot allocate memory in static TLS block: Cannot allocate memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("can't start new thread"),
    *(OSError(number, os.strerror(number), "x") for number in (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EFBIG)),
]


@pytest.mark.parametrize("error", REFUSALS, ids=repr)
def test_what_the_machine_refuses_is_exit_5_wherever_it_comes_up(run, monkeypatch, error):
    def broken(_):
        raise error

    monkeypatch.setattr("gru_complete.model.home.find_model", broken)
    code, _, err = run("complete", "x")
    assert code == 5
    assert err.startswith("error: ")
    assert "internal" not in err


def test_an_error_of_ours_is_not_taken_for_a_refusal_of_the_machine():
    for error in (ImportError("no module named x"), RuntimeError("size mismatch"), ValueError(), KeyError("memory")):
        assert app.refusal_of_the_machine(error) is None


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not keep limits of the address space")
@pytest.mark.parametrize("megabytes", [40, 110, 150, 240])
def test_too_little_address_space_is_exit_5_and_not_that_of_a_library(trained_model, megabytes):
    code = (
        "import resource, sys; from gru_complete.cli import app;"
        f"resource.setrlimit(resource.RLIMIT_AS, ({megabytes << 20}, -1)); sys.exit(app.run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "complete", "x", "-m", str(trained_model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "address space is limited" in done.stderr
    assert "ulimit -v" in done.stderr


STEERING = [*range(9), *range(11, 32), 127, *range(128, 160), 0x202E, 0x2066]


@pytest.mark.parametrize("message", [f"a{chr(code)}b" for code in STEERING], ids=ascii)
def test_no_message_steers_the_terminal(run, monkeypatch, message):
    def broken(_):
        raise UsageError(message, hint=message)

    monkeypatch.setattr("gru_complete.model.home.find_model", broken)
    assert message[1] not in run("complete", "x")[2]
