"""Command blocks of the documentation: indented blocks of Markdown that show commands, with what they print.

A block whose lines begin with ``$ `` is a session: commands, each followed by its output, where a line ``...`` stands
for any lines. In any other block that calls ``gru-complete`` or ``python -m gru_complete``, every line is a command.

A comment before a block says what a test cannot know:

- ``<!-- check: skip: REASON -->``: not run.
- ``<!-- check: slow -->``: takes more than a few seconds; run by ``make docs-check`` only.
- ``<!-- check: varies -->``: the output is not compared (it has times, or depends on the machine).
"""

import re
from pathlib import Path
from typing import NamedTuple

_MARKER = re.compile(r"<!-- check: (skip: .+|slow|varies|slow, varies) -->")
_COMMAND = re.compile(r"(^|[ |])(gru-complete |python -m gru_complete|python benchmarks/)")


class Step(NamedTuple):
    """A command and the lines that it prints, or None where the documentation shows none."""

    command: str
    output: list[str] | None


class Block(NamedTuple):
    """The commands of one block.

    Attributes:
        path: of the document.
        line: where the block begins, from 1.
        steps: its commands in order.
        marker: what the comment before it says, or "".
    """

    path: Path
    line: int
    steps: list[Step]
    marker: str

    @property
    def is_skipped(self) -> bool:
        return self.marker.startswith("skip")

    @property
    def is_slow(self) -> bool:
        return "slow" in self.marker

    @property
    def varies(self) -> bool:
        return "varies" in self.marker


def read_blocks(path: Path) -> list[Block]:
    """The command blocks of a document, in order."""
    blocks: list[Block] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    marker, start = "", None
    for number, line in enumerate([*lines, ""]):
        inside = line.startswith("    ") or (start is not None and not line and _goes_on(lines, number))
        if inside and start is None and (number == 0 or not lines[number - 1].strip()):
            start = number
        if start is not None and not inside:
            block = [text[4:] for text in lines[start:number]]
            steps = _steps(block)
            if steps:
                blocks.append(Block(path, start + 1, steps, marker))
            marker, start = "", None
        if match := _MARKER.fullmatch(line):
            marker = match[1]
        elif line.strip() and start is None:
            marker = ""
    return blocks


def _goes_on(lines: list[str], number: int) -> bool:
    """Whether an indented line follows the blank line: it belongs to the block then."""
    rest = next((line for line in lines[number:] if line.strip()), "")
    return rest.startswith("    ")


def _steps(block: list[str]) -> list[Step]:
    while block and not block[-1].strip():
        block = block[:-1]
    if any(line.startswith("$ ") for line in block):
        return _session(block)
    if not any(_COMMAND.search(line) for line in block):
        return []
    text = re.sub(r" *\\\n *", " ", "\n".join(block))
    return [Step(line, None) for line in text.splitlines() if line.strip() and not line.startswith(("#", "^C"))]


def _session(block: list[str]) -> list[Step]:
    steps: list[Step] = []
    for line in block:
        if line.startswith("$ "):
            steps.append(Step(line[2:], []))
        elif steps and steps[-1].command.endswith("\\"):
            steps[-1] = Step(f"{steps[-1].command[:-1].rstrip()} {line.strip()}", [])
        else:
            assert steps, f"a session begins with a command, not with {line!r}"
            steps[-1].output.append(line)
    return [Step(command, _stripped(output)) for command, output in steps]


def _stripped(output: list[str]) -> list[str]:
    """Without blank lines at both ends: they are there for the eye."""
    while output and not output[0].strip():
        output = output[1:]
    while output and not output[-1].strip():
        output = output[:-1]
    return output


def matches(expected: list[str], printed: list[str]) -> bool:
    """Whether the printed lines are the expected ones, where ``...`` stands for any lines, also none."""
    if not expected:
        return not printed
    head, *rest = expected
    if head == "...":
        return any(matches(rest, printed[start:]) for start in range(len(printed) + 1))
    return bool(printed) and printed[0].rstrip() == head.rstrip() and matches(rest, printed[1:])
