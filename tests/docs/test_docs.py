"""The commands that the documentation shows are run, and print what it says.

They use the demo model and a model named "mail", which are trained once for all. The same training gives the same bits
only on the same kind of machine. So the output of a block is compared only if the demo model has the same bits as the
one that the documentation was written with (``DEMO_WEIGHTS``); elsewhere commands must end with the right exit code.
"""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.blocks import Block, matches, read_blocks

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data/README.md", *sorted(ROOT.glob("docs/*.md"))]
BLOCKS = [block for path in DOCUMENTS for block in read_blocks(path)]
DEMO_WEIGHTS = (ROOT / "tests/docs/demo_weights.sha256").read_text().split()
UNTRAINED = 'gru-complete complete "She opened the door and"'
TRAIN_DEMO = "gru-complete train data/watson.txt -m build/demo/watson -c configs/demo.yaml"
SAMPLE = "python -m gru_complete.sample_world corpus build/demo/fresh.txt --bytes 100000 --seed 99"  # as `make demo`
TRAIN_MAIL = "gru-complete train ~/mail/sent -m mail --minutes 10"
EXIT_CODE_1 = re.compile(r"gru-complete check|--min-confidence")  # found something, or has nothing to give


class Workplace(NamedTuple):
    """Where the commands of the documentation are run; ``printed`` has the output of those that were run in advance."""

    directory: Path
    environment: dict[str, str]
    printed: dict[str, list[str]]


def name_of(block: Block) -> str:
    return f"{block.path.relative_to(ROOT)}:{block.line}"


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """A directory like a clone of the repository after `make demo`, and an environment for commands in it.

    The reader's own files are there too: mail in the home directory, ``letters.txt`` and ``notes.txt``. They are short,
    so that training on them takes seconds (``automatic.MAX_EPOCHS``), whatever the ``--minutes``.
    """
    directory = tmp_path_factory.mktemp("clone")
    for name in ("data", "configs", "benchmarks"):
        shutil.copytree(ROOT / name, directory / name)
    bin_dir = directory / ".venv" / "bin"
    bin_dir.mkdir(parents=True)
    for name, command in (("gru-complete", "-m gru_complete"), ("python", "")):
        (bin_dir / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
        (bin_dir / name).chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GRU_COMPLETE_", "OMP_"))},
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait do not take the cores from other processes
        "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(directory / "home"),
        "GRU_COMPLETE_HOME": str(directory / "home"),
        "COLUMNS": "80",
    }
    (directory / "build" / "demo").mkdir(parents=True)
    write_files_of_a_reader(directory)
    printed = {}
    for command in (UNTRAINED, TRAIN_DEMO, SAMPLE, TRAIN_MAIL):
        # The documentation is written with float32, which more machines compute alike.
        float32 = " --set training.precision=float32" if command == TRAIN_DEMO else ""
        code, printed[command] = run(command + float32, directory, environment)
        assert code == 0, "\n".join(printed[command])
    return Workplace(directory, environment, printed)


def write_files_of_a_reader(directory: Path) -> None:
    text = (ROOT / "data/watson.txt").read_bytes()
    (directory / "home/mail/sent").mkdir(parents=True)
    (directory / "home/mail/sent/2026.txt").write_bytes(text[:10_000])
    (directory / "letters.txt").write_bytes(text[20_000:40_000])
    (directory / "notes.txt").write_bytes(text[40_000:50_000])
    (directory / "notes.txt.gz").write_bytes(gzip.compress(text[40_000:50_000]))


def run(command: str, directory: Path, environment: dict[str, str]) -> tuple[int, list[str]]:
    """The exit code of a shell command, and the lines it prints to both streams."""
    process = subprocess.run(
        ["bash", "-c", command],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process.returncode, process.stdout.splitlines()


@pytest.fixture(scope="session")
def is_same_machine(workplace):
    weights = (workplace.directory / "build/demo/watson/weights.safetensors").read_bytes()
    return hashlib.sha256(weights).hexdigest() in DEMO_WEIGHTS


def stripped(lines: list[str]) -> list[str]:
    """Without blank lines at both ends, which tables have and the documentation leaves out."""
    text = "\n".join(lines).strip("\n")
    return text.splitlines()


def without_times(lines: list[str]) -> list[str]:
    """Lines with N in place of how long something took."""
    return [re.sub(r"\b\d+ s\b", "N s", line) for line in lines]


def check(block: Block, workplace: Workplace, *, compares: bool) -> None:
    for command, output in block.steps:
        if command in workplace.printed:
            code, printed = 0, workplace.printed[command]
        else:
            code, printed = run(command, workplace.directory, workplace.environment)
        allowed = {0, 1} if EXIT_CODE_1.search(command) else {0}
        is_error_shown = output and output[0].startswith("error: ")
        assert code in allowed or is_error_shown, f"{command}\nends with {code}:\n" + "\n".join(printed)
        if compares and output is not None and not block.varies:
            is_same = matches(without_times(output), without_times(stripped(printed)))
            assert is_same, f"{command}\nprints:\n" + "\n".join(printed)


def tools_missing(block: Block) -> list[str]:
    names = {name for step in block.steps for name in re.findall(r"(?:^|\| *)([a-z][a-z0-9]*)\b", step.command)}
    return sorted(name for name in names & {"jq", "awk", "seq", "tmux"} if shutil.which(name) is None)


@pytest.mark.parametrize("block", [b for b in BLOCKS if not b.is_skipped and not b.is_slow], ids=name_of)
def test_a_block_of_the_documentation_does_what_it_says(block, workplace, is_same_machine):
    if missing := tools_missing(block):
        pytest.skip(f"needs {', '.join(missing)}")
    check(block, workplace, compares=is_same_machine)


@pytest.mark.slow
@pytest.mark.parametrize("block", [b for b in BLOCKS if b.is_slow], ids=name_of)
def test_a_slow_block_of_the_documentation_does_what_it_says(block, workplace, is_same_machine):
    check(block, workplace, compares=is_same_machine)


def test_most_blocks_are_run():
    skipped = [block for block in BLOCKS if block.is_skipped]
    assert len(skipped) < len(BLOCKS) / 3
    assert all(re.fullmatch(r"skip: .{10,}", block.marker) for block in skipped)  # the reason is given
