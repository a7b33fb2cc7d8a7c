"""Whether a training keeps its minutes beside other work, and how much it reads meanwhile.

A training runs alone, then beside some processes that never rest, then beside ones that come, or go, after a third of
the time. A *fair share* of the machine is C / (C + K) of what the quiet training reads, with C cores and K busy
processes. With --compare-steps the first training beside each load is repeated on the quiet machine with as many steps,
to see what the clock cost: the schedule of such a run is known from its start.

    python benchmarks/pace.py TEXT [--minutes 2] [--loads 0,1,2,4] [--runs 2] [--compare-steps]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from common import GRU_COMPLETE, machine, parse_arguments

BUSY = [sys.executable, "-c", "while True: pass"]
CHANGE_AT = 1 / 3  # of the time


class Load(NamedTuple):
    """What else the machine does: a name, and busy processes before and after a third of the time."""

    name: str
    before: int
    after: int

    def fair_share(self) -> float:
        """The share of the machine that a training would get which has a thread on every core."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return CHANGE_AT * cores / (cores + self.before) + (1 - CHANGE_AT) * cores / (cores + self.after)


def loads_from(counts: Sequence[int]) -> list[Load]:
    """Steady loads, and the largest one coming and going."""
    most = max(counts)
    changing = [Load(f"{most} come", 0, most), Load(f"{most} go", most, 0)] if most else []
    return [*(Load(f"{count} busy", count, count) for count in counts), *changing]


class BusyProcesses:
    """Processes that never rest, as many as are set."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def set_number(self, number: int) -> None:
        """Start or stop some, until there are as many."""
        while len(self._processes) < number:
            self._processes.append(subprocess.Popen(BUSY))
        while len(self._processes) > number:
            process = self._processes.pop()
            process.kill()
            process.wait()


@contextmanager
def busy_processes() -> Iterator[BusyProcesses]:
    """None at first, and none afterwards."""
    busy = BusyProcesses()
    try:
        yield busy
    finally:
        busy.set_number(0)


def train(text: Path, directory: Path, arguments: Sequence[str], load: Load, seconds: float) -> dict[str, Any]:
    """Train from nothing beside a load; returns what `train --json` printed, and the seconds on the clock."""
    options = ["-m", str(directory / "model"), "--base", "none", "--replace", "--quiet", "--json"]
    command = [*GRU_COMPLETE, "train", str(text), *options]
    with busy_processes() as busy:
        busy.set_number(load.before)
        start = time.perf_counter()
        process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            process.wait(seconds * CHANGE_AT)
        except subprocess.TimeoutExpired:
            busy.set_number(load.after)
        output, _ = process.communicate()
        elapsed = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    plan = json.loads((directory / "model.run" / "plan.json").read_text())["config"]
    tokens = plan["training"]["batch_size"] * plan["training"]["seq_len"]
    result = json.loads(output)
    return {**result, "clock": elapsed, "width": plan["model"]["hidden_size"], "tokens": result["steps"] * tokens}


def measure(text: Path, load: Load, options: argparse.Namespace, *, compares: bool) -> dict[str, Any]:
    """One training, and the quiet one of as many steps if ``compares``."""
    with tempfile.TemporaryDirectory() as directory:
        place, arguments = Path(directory), [*options.settings]
        minutes = ["--minutes", str(options.minutes)]
        found = train(text, place, [*arguments, *minutes], load, 60 * options.minutes)
        row = {
            "load": load.name,
            "seconds": round(found["clock"], 1),
            "late": round(found["clock"] - 60 * options.minutes, 1),
            "width": found["width"],
            "steps": found["steps"],
            "tokens": found["tokens"],
            "bits per byte": bits_per_byte(found),
        }
        if compares:
            same = [*arguments, "--steps", str(found["steps"]), "--set", f"model.hidden_size={found['width']}"]
            straight = train(text, place, same, Load("quiet", 0, 0), 1e6)
            row["by steps"] = bits_per_byte(straight)
    return row


def bits_per_byte(result: dict[str, Any]) -> float:
    """On the held-out split, or on the tuning split where there is none."""
    return round(float(result.get("held_out_bits_per_byte", result["tuning_bits_per_byte"])), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--loads", default="0,1,2,4", help="numbers of busy processes, the first 0")
    parser.add_argument("--runs", type=int, default=2, help="trainings beside each load")
    parser.add_argument("--settings", nargs="*", default=[], help="further arguments of `train`")
    parser.add_argument(
        "--compare-steps", action="store_true", help="repeat the first training beside each load with as many steps"
    )
    options = parse_arguments(parser, smoke="{dir}/corpus.txt --minutes 0.1 --loads 0,1 --runs 1")
    loads = loads_from([int(count) for count in options.loads.split(",")])
    rows: list[dict[str, Any]] = []
    for load in loads:
        for number in range(options.runs):
            rows.append(measure(options.text, load, options, compares=options.compare_steps and number == 0))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    quiet = statistics.mean(row["tokens"] for row in rows[: options.runs])
    for number, row in enumerate(rows):
        row["of the fair share"] = round(row["tokens"] / (quiet * loads[number // options.runs].fair_share()), 3)
    print(json.dumps({"machine": machine(), "minutes": options.minutes, "trainings": rows}, indent=1))


if __name__ == "__main__":
    main()
