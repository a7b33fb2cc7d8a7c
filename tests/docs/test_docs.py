"""The commands that the documentation shows are run, and print what it says.

They use the demo model, which is trained once for all. The same training gives the same bits only on the same kind of
machine. So what a block prints is compared where the demo model here has the bits of the one that the documentation was
written with (``DEMO_WEIGHTS``); elsewhere its commands must end as they should, and that is all.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import Block, matches, read_blocks

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data/README.md", *sorted(ROOT.glob("docs/*.md"))]
BLOCKS = [block for path in DOCUMENTS for block in read_blocks(path)]
DEMO_WEIGHTS = (ROOT / "tests/docs/demo_weights.sha256").read_text().split()
TRAIN_DEMO = "gru-complete train data/watson.txt -m build/demo/watson -c configs/demo.yaml"
EXIT_CODE_1 = re.compile(r"gru-complete check|--min-confidence")  # the answer "found something", "nothing to suggest"


def name_of(block: Block) -> str:
    return f"{block.path.relative_to(ROOT)}:{block.line}"


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """A directory like a clone of the repository after `make demo`, and an environment for commands in it."""
    directory = tmp_path_factory.mktemp("clone")
    for name in ("data", "configs", "benchmarks"):
        shutil.copytree(ROOT / name, directory / name)
    bin_dir = directory / ".venv" / "bin"
    bin_dir.mkdir(parents=True)
    for name, command in (("gru-complete", "-m gru_complete"), ("python", "")):
        (bin_dir / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
        (bin_dir / name).chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GRU_COMPLETE_")},
        "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GRU_COMPLETE_HOME": str(directory / "home"),
        "COLUMNS": "80",
    }
    (directory / "build" / "demo").mkdir(parents=True)
    run(TRAIN_DEMO, directory, environment)
    return directory, environment


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
    weights = (workplace[0] / "build/demo/watson/weights.safetensors").read_bytes()
    return hashlib.sha256(weights).hexdigest() in DEMO_WEIGHTS


def stripped(lines: list[str]) -> list[str]:
    """Without blank lines at both ends, which tables have and the documentation leaves out."""
    text = "\n".join(lines).strip("\n")
    return text.splitlines()


def check(block: Block, workplace: tuple[Path, dict[str, str]], *, compares: bool) -> None:
    directory, environment = workplace
    for command, output in block.steps:
        if command == TRAIN_DEMO:
            continue  # done for all blocks
        code, printed = run(command, directory, environment)
        allowed = {0, 1} if EXIT_CODE_1.search(command) else {0}
        is_error_shown = output and output[0].startswith("error: ")
        assert code in allowed or is_error_shown, f"{command}\nends with {code}:\n" + "\n".join(printed)
        if compares and output is not None and not block.varies:
            assert matches(output, stripped(printed)), f"{command}\nprints:\n" + "\n".join(printed)


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
