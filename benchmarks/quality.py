"""What the minutes given to `train` buy: the cost of a test text that had no part in training, over seeds and budgets.

Each run is the command itself, ``gru-complete train TRAIN --minutes M --seed S --set data.held_out=0``, as a process of
its own that is timed and watched from outside; then ``gru-complete eval`` scores TEST. The test text chooses nothing.

Beside the static score, which carries the state over the whole text, stands one that compares with transformers of a
fixed window (nanoGPT reads 256 characters): TEST is cut into consecutive pieces of 256 characters; each is encoded
alone and scored as a document of its own, from an empty state and an empty context of the counts, without the document
end that would follow it; the nats of all pieces are summed and divided by the characters.

    python benchmarks/quality.py TRAIN TEST --minutes 3 [--minutes 10] [--seeds 0 1 2] [--name shakespeare]
                                 [--set section.key=value] [--json out.json]
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import GRU_COMPLETE, describe_text, machine, parse_arguments

from gru_complete.model.directory import LoadedModel, load_model
from gru_complete.model.run_dir import RunDir
from gru_complete.text.tokenizer import DOCUMENT_END

WINDOW_CHARS = 256
WATCH_SECONDS = 0.1
SCORES = {
    "static": "static",
    "windows": "static, windows of 256 characters",
    "adapted": "adapted",
    "gru_only": "the network alone, static",
    "ngrams_only": "the counts alone, static",
}
UNITS = ("nats_per_char", "bits_per_byte")
COSTS = {  # key: name, what it is divided by, digits
    "command_seconds": ("whole command, s", 1, 1),
    "peak_bytes": ("peak memory of all its processes, MB", 1e6, 0),
    "model_bytes": ("model directory, MB", 1e6, 1),
    "parameters": ("parameters, million", 1e6, 2),
    "steps": ("steps", 1, 0),
    "tokens_per_second": ("tokens/s in the steps", 1, 0),
}


def watched(command: Sequence[str], environment: dict[str, str]) -> tuple[str, float, int]:
    """Run a command: its standard output, the seconds it took, and the most memory that its processes held."""
    start, peak = time.monotonic(), 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak = max(peak, resident_bytes(process.pid))
            time.sleep(WATCH_SECONDS)
        seconds = time.monotonic() - start
        assert process.stdout is not None
        output = process.stdout.read()  # one line, which fits the pipe
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return output, seconds, peak


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants, pages that they share counted for each; Linux only, else 0.

    Never less than the most that the kernel has noted for the process itself, so that no peak is missed between looks.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended, or there is no such file system
        return 0
    below = sum(resident_bytes(int(child)) for child in children)
    return max(1024 * kilobytes.get("VmRSS", 0) + below, 1024 * kilobytes.get("VmHWM", 0))


def measure(train: Path, test: Path, minutes: float, seed: int, settings: Sequence[str]) -> dict[str, Any]:
    """Train once and score the test text; all figures of the run."""
    with tempfile.TemporaryDirectory(prefix="gru-complete-quality-") as name:
        path = Path(name) / "model"
        environment = {**os.environ, "GRU_COMPLETE_HOME": name}  # the user's last model stays the last one
        command = [*GRU_COMPLETE, "train", str(train), "-m", str(path), "--minutes", f"{minutes:g}"]
        command += ["--seed", str(seed), "--json"]
        for setting in ("data.held_out=0", *settings):
            command += ["--set", setting]
        trained, seconds, peak = watched(command, environment)
        command = [*GRU_COMPLETE, "eval", str(test), "-m", str(path), "--json"]
        evaluated, _, _ = watched(command, environment)
        report, model = json.loads(evaluated), load_model(path)
        training = json.loads(RunDir.beside(path).plan_path.read_bytes())["config"]["training"]
        tokens = json.loads(trained)["steps"] * training["batch_size"] * training["seq_len"]
        return {
            "minutes": minutes,
            "seed": seed,
            "command_seconds": round(seconds, 1),
            "peak_bytes": peak or None,
            "model_bytes": sum(file.stat().st_size for file in path.iterdir()),
            "steps": json.loads(trained)["steps"],
            "tokens_per_second": round(tokens / float(model.manifest.training["seconds"])),
            "parameters": model.manifest.arch.num_parameters,
            "scores": {
                "static": {unit: report[unit] for unit in UNITS},
                "windows": windows_cost(model, test.read_text(encoding="utf-8-sig")),
                **{key: report[key] for key in SCORES if key in report},
            },
        }


def windows_cost(model: LoadedModel, text: str) -> dict[str, float]:
    """The text in pieces, each read from nothing; the module's docstring says exactly how."""
    import torch  # here, so that the first training does not share the machine with it

    from gru_complete.evaluation.report import network_from_model
    from gru_complete.training.scoring import document_nats

    pieces = [text[start : start + WINDOW_CHARS].encode() for start in range(0, len(text), WINDOW_CHARS)]
    streams = [np.array([DOCUMENT_END, *model.tokenizer.encode(piece)]) for piece in pieces]
    nats = float(document_nats(network_from_model(model, torch.device("cpu")), streams, mixture=model.mixture).sum())
    return {"bits_per_byte": nats / math.log(2) / sum(map(len, pieces)), "nats_per_char": nats / len(text)}


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation, of the sample; the mean alone where there is one value."""
    mean = f"{statistics.mean(values):,.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):,.{digits}f}"


def as_markdown(report: dict[str, Any]) -> str:
    facts = {key: ", ".join(value) if isinstance(value, list) else value for key, value in report["machine"].items()}
    budgets = {
        minutes: [run for run in report["runs"] if run["minutes"] == minutes]
        for minutes in sorted({run["minutes"] for run in report["runs"]})
    }
    names = [f"{minutes:g} minutes" for minutes in budgets]
    lines = [
        "; ".join(f"{key} {value}" for key, value in facts.items()),
        "",
        f"{report['name']}: trained on {report['train']['bytes']:,} bytes, scored on {report['test']['bytes']:,}; "
        f"seeds {', '.join(map(str, report['seeds']))}; settings {' '.join(report['settings']) or 'none'}",
        "",
        "| nats per character (bits per byte) | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for key, name in SCORES.items():
        cells = []
        for runs in budgets.values():
            costs = [run["scores"][key] for run in runs if key in run["scores"]]
            nats, bits = (spread([cost[unit] for cost in costs], 4) if costs else "-" for unit in UNITS)
            cells.append(f"{nats} ({bits})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for key, (name, scale, digits) in COSTS.items():
        cells = [
            spread([run[key] / scale for run in runs], digits) if all(run[key] for run in runs) else "-"
            for runs in budgets.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--minutes", type=float, action="append", required=True, help="may be given several times")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--name", help="of the text, for the table; default: that of the file")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="settings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure of every run, run by run")
    options = parse_arguments(parser, smoke="{dir}/corpus.txt {dir}/text.txt --minutes 0.02 --json {dir}/quality.json")
    report: dict[str, Any] = {
        "name": options.name or options.train.stem,
        "machine": machine(),
        "train": describe_text(options.train),
        "test": describe_text(options.test),
        "seeds": options.seeds,
        "settings": options.settings,
        "runs": [],
    }
    for minutes in options.minutes:
        for seed in options.seeds:
            report["runs"].append(measure(options.train, options.test, minutes, seed, options.settings))
            if options.json is not None:
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(as_markdown(report))


if __name__ == "__main__":
    main()
