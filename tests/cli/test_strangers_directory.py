"""Nothing that lies in a directory is executed because a command runs there, or because its model lies there.

The traps are modules of every name that could be imported, programs of every name that is started, and files that
programs read by themselves; each leaves a witness when it is executed.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from gru_complete.nn import kernel
from tests.conftest import TINY
from tests.storage.faulty_os import posix_only

PACKAGE_PARENT = str(Path(__file__).parents[2])
PROGRAMS = ("cc", "gcc", "as", "ld", "collect2", "python", "python3", "sh", "uname", "ldconfig", "fc-list", "latex")
START = "import sys; del sys.path[0]; from gru_complete.__main__ import main; sys.exit(main())"
"""As the console script does it: the current directory is not searched for modules."""
LOGGING_START = """
import sys
del sys.path[0]
import json, os
def log(event, args):
    if event == "subprocess.Popen":
        directory = args[2] or os.getcwd()
        record = {"args": [str(arg) for arg in args[1]], "cwd": str(directory), "names": os.listdir(directory)}
        os.write(log_file, json.dumps(record).encode() + b"\\n")
    elif event in ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn"):
        os.write(log_file, json.dumps({"args": [event], "cwd": os.getcwd(), "names": []}).encode() + b"\\n")
log_file = os.open(os.environ["PROCESS_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.addaudithook(log)
from gru_complete.__main__ import main
sys.exit(main())
"""


def module_names() -> set[str]:
    """Every module and package that is installed, besides the package itself."""
    installed = {name for name in importlib.metadata.packages_distributions() if name.isidentifier()}
    return (installed | {"sitecustomize", "usercustomize", "tokenizer_child"}) - {"gru_complete"}


def set_traps(directory: Path, witness: Path, *, stdlib: bool) -> int:
    """Fill a directory with traps; returns how many."""
    directory.mkdir(parents=True, exist_ok=True)
    names = module_names() | (set(sys.stdlib_module_names) if stdlib else set())
    for name in names:
        (directory / f"{name}.py").write_text(f"open({str(witness)!r}, 'a').write('{name}.py\\n')\n")
    for name in PROGRAMS:
        (directory / name).write_text(f"#!/bin/sh\necho {name} >> {witness}\nexit 1\n")
        (directory / name).chmod(0o755)
    (directory / "trap.pth").write_text(f"import os; open({str(witness)!r}, 'a').write('pth\\n')\n")
    (directory / "matplotlibrc").write_text("text.usetex: True\n")
    (directory / "pyvenv.cfg").write_text(f"home = {directory}\n")
    return len(names) + len(PROGRAMS) + 3


@pytest.fixture
def start(tmp_path, corpus_path, monkeypatch):
    """Start the program in a directory of traps, which also come first in the search path for programs."""
    cwd, witness = tmp_path / "traps", tmp_path / "witness"
    monkeypatch.setenv("PYTHONPATH", PACKAGE_PARENT)
    monkeypatch.setenv("PATH", f".{os.pathsep}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PROCESS_LOG", str(tmp_path / "processes"))
    monkeypatch.delenv(kernel.SWITCH, raising=False)
    monkeypatch.delenv("CC", raising=False)

    def run(way, *arguments):
        assert set_traps(cwd, witness, stdlib="-m" not in way) > 40
        done = subprocess.run(
            [sys.executable, *way, *arguments], cwd=cwd, capture_output=True, stdin=subprocess.DEVNULL, timeout=120
        )
        executed = set(witness.read_text().split()) if witness.exists() else set()
        return done.returncode, done.stderr.decode(), executed

    return run


@posix_only
@pytest.mark.parametrize("way", [["-c", START], ["-m", "gru_complete"]], ids=["console script", "module"])
def test_completing_executes_nothing_of_the_current_directory(start, trained_model, way):
    assert start(way, "complete", "The cat", "-m", str(trained_model), "--seed", "1") == (0, "", set())


@posix_only
@pytest.mark.slow
@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra plots")
def test_drawing_executes_nothing_of_the_current_directory(start, trained_model, corpus_path, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "fonts"))  # so that matplotlib asks fc-list for fonts
    options = ["-m", str(trained_model), "--plot", str(tmp_path / "plot.png")]
    code, errors, executed = start(["-c", LOGGING_START], "eval", str(corpus_path), *options)
    assert (code, executed) == (0, set()), errors
    assert (tmp_path / "plot.png").exists()
    processes = [json.loads(line)["args"][0] for line in (tmp_path / "processes").read_text().splitlines()]
    assert set(processes) <= {"fc-list"}


@posix_only
def test_writing_sample_data_executes_nothing_of_the_current_directory(start):
    code, _, executed = start(["-m", "gru_complete.sample_world"], "corpus", "-", "--bytes", "1000")
    assert (code, executed) == (0, set())


@posix_only
@pytest.mark.slow
def test_training_executes_nothing_of_the_current_or_the_run_directory(start, tmp_path, corpus_path):
    run_dir = tmp_path / "traps" / "novel.run"
    set_traps(run_dir, tmp_path / "witness", stdlib=True)
    (run_dir / "lock").write_bytes(b"")
    settings = [f"--set={setting}" for setting in TINY]
    code, errors, executed = start(["-c", LOGGING_START], "train", str(corpus_path), "-m", "./novel", *settings)
    assert (code, executed) == (0, set()), errors
    processes = [json.loads(line) for line in (tmp_path / "processes").read_text().splitlines()]
    assert {process["args"][0] for process in processes} == {sys.executable, "cc"}
    for process in processes:  # each in an empty directory, but for what the compiler has made there
        assert Path(process["cwd"]).name.startswith("gru-complete-")
        assert process["names"] == [] or process["args"][0] == "cc"
        assert process["args"][0] == "cc" or process["args"][1] == "-I"
    assert {name for process in processes for name in process["names"] if not name.startswith("kernel-")} == set()
