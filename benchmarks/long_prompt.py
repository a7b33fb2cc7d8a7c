"""What a long prompt costs: python benchmarks/long_prompt.py MODEL TEXT [--megabytes 1 5 10] [--rounds 1] [--json].

Prompts of these lengths are made of TEXT's lines, shuffled anew whenever all have been used; a shorter prompt is the
beginning of a longer one. Others are of words that never come twice, lest something is kept for each word. Each goes
through a pipe into ``gru-complete complete --until word``, which learns from it (``--learn-from-prompt``) or does not.

Twice the prompt should take twice the time, in the same memory. Prints seconds, seconds of the processor, the most
memory held at a time (Linux only), medians of the rounds, and what that is to the next shorter prompt.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from common import parse_arguments

MEGABYTE = 1_000_000
WAYS = {"adapting": "--learn-from-prompt", "not adapting": "--no-learn-from-prompt"}
# The process says itself what it held: what the parent could ask for counts its own memory before the program starts.
COMPLETE = """
import resource, sys
from gru_complete.cli.app import run

code = run(sys.argv[1:])
peak = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(code, resource.getrusage(resource.RUSAGE_SELF).ru_utime, *peak, file=sys.stderr)
"""


def shuffled_lines(text: bytes, generator: random.Random) -> Iterator[bytes]:
    """The lines of a text for ever, in another order each time."""
    lines = [line + b"\n" for line in text.split(b"\n")]
    while True:
        generator.shuffle(lines)
        yield from lines


def new_words() -> Iterator[bytes]:
    """Words that never come twice, a few to a line."""
    for number in count():
        yield f"{number * 0x9E3779B1 % 2**32:08x}{' ' if number % 10 else '.'}".encode() + b"\n" * (number % 10 == 0)


def write_prompt(path: Path, parts: Iterator[bytes], num_bytes: int) -> None:
    """Write a prompt of exactly so many bytes."""
    with open(path, "wb") as file:
        while (left := num_bytes - file.tell()) > 0:
            file.write(next(parts)[:left])


def complete(model: str, prompt: Path, option: str) -> tuple[float, float, float]:
    """Complete a prompt; returns seconds, processor seconds and megabytes held at most."""
    command = [sys.executable, "-c", COMPLETE, "complete", "--until", "word", "-m", model, option]
    with open(prompt, "rb") as file:
        start = time.perf_counter()
        done = subprocess.run(command, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
    *notes, last = done.stderr.splitlines() or [""]
    if done.returncode or not last.startswith("0 "):
        sys.exit("\n".join([*notes, last]))
    fields = [float(field) for field in last.split()]
    return seconds, fields[1], fields[2] / 1000 * 1.024 if len(fields) > 2 else float("nan")


def measure(model: str, prompts: dict[tuple[str, float], Path], rounds: int) -> list[dict[str, Any]]:
    """A row for each way and prompt; all are measured in turn, so that a slow minute slows all of them."""
    found: dict[tuple[str, str, float], list[tuple[float, float, float]]] = {}
    for _ in range(rounds):
        for way, option in WAYS.items():
            for (kind, size), path in prompts.items():
                found.setdefault((way, kind, size), []).append(complete(model, path, option))
                print(way, kind, size, *found[way, kind, size][-1], file=sys.stderr)
    rows: list[dict[str, Any]] = []
    for (way, kind, size), values in found.items():
        seconds, processor, memory = (statistics.median(column) for column in zip(*values, strict=True))
        row: dict[str, Any] = {"way": way, "prompt": kind, "MB": size}
        row.update({"seconds": seconds, "processor seconds": processor, "resident, MB": memory})
        before = rows[-1] if rows else row
        if (before["way"], before["prompt"]) == (way, kind) and before is not row:
            row["times the MB"] = size / before["MB"]
            row["times the seconds"] = seconds / before["seconds"]
            row["times the processor seconds"] = processor / before["processor seconds"]
            row["MB more"] = memory - before["resident, MB"]
        rows.append(row)
    return rows


def as_table(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(names)} |", "|---|---|" + "---:|" * (len(names) - 2)]
    for row in rows:
        values = [row.get(name, "") for name in names]
        cells = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("--megabytes", type=float, nargs="+", default=(1, 5, 10), help="of the prompts from TEXT")
    parser.add_argument("--new-words", type=float, nargs="*", default=(1, 3), help="megabytes of such prompts")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parse_arguments(parser, smoke="{dir}/model {dir}/text.txt --megabytes 0.01 0.02 --new-words 0.01")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    text = options.text.read_bytes()
    with tempfile.TemporaryDirectory() as directory:
        prompts = {}
        for kind, sizes in (("lines", options.megabytes), ("new words", options.new_words)):
            for size in sorted(sizes):
                path = prompts[kind, size] = Path(directory) / f"{kind} {size}"
                parts = new_words() if kind == "new words" else shuffled_lines(text, random.Random(0))
                write_prompt(path, parts, int(size * MEGABYTE))
        rows = measure(options.model, prompts, options.rounds)
    print(json.dumps(rows, indent=1) if options.json else as_table(rows))


if __name__ == "__main__":
    main()
