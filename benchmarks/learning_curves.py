"""What a training knows, second by second: network, counts, both together, and adapted, on a text that chooses nothing.

One training as ``gru-complete train TRAIN --minutes M --set data.held_out=0`` does it. Every evaluation on the tuning
split leaves a checkpoint; it is kept (by hard links, which take no time) with the seconds since this command began.
Afterwards each is scored on TEST as the model that it would have become: the gate is fitted on the tuning split with
counts of the training split alone, then the counts take in the tuning split. The seconds of the fit are added to the
mixture's. The last point is the finished model, at the second at which it was there. The counts have one score, from
the second at which they were counted.

The learning rate ends at zero when the minutes end: stopped half-way, a training is worse than one that was given half
the time. ``quality.py`` with a shorter budget shows the latter.

    python benchmarks/learning_curves.py TRAIN TEST --minutes 3 [--plot curve.png] [--json curve.json]
        [--targets 1.88 1.60 1.4697] [--seed 0] [--set section.key=value] [--test-bytes 300000] [--work DIRECTORY]

With --work the training stays in that directory, and the same command later only scores it.
"""

import argparse
import importlib.util
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import describe_text, machine, parse_arguments

# The package is imported in the functions: what its import takes is part of the training's time.

COUNTING = "counting phrases"  # as the training says it
LOOKS_FILE = "looks.json"
STYLES = {  # how each curve is told from the others without colour
    "network": {"linestyle": "-", "marker": "o", "markerfacecolor": "white"},
    "mixture": {"linestyle": "-", "marker": "s"},
    "adapted": {"linestyle": "--", "marker": "^"},
}
NAMES = {"network": "network alone", "mixture": "mixture, static", "adapted": "mixture, adapted"}


def train(options: argparse.Namespace, work: Path, started: float) -> None:
    """Train in ``work`` and keep the model of every look; ``LOOKS_FILE``, written last, says when each was there."""
    from gru_complete.config import load_config
    from gru_complete.model.run_dir import RunDir
    from gru_complete.training import events
    from gru_complete.training.run import TrainingRequest, run_training

    settings = [f"training.minutes={options.minutes:g}", f"training.seed={options.seed}", "data.held_out=0"]
    config = load_config(None, [*settings, *options.settings])
    request = TrainingRequest([str(options.train)], work / "model", config, replace=True, started=started)
    for left_over in (work / "looks", RunDir.beside(request.model_path).path):  # of a training that was broken off
        shutil.rmtree(left_over, ignore_errors=True)
    looks: list[dict[str, Any]] = []
    counted_seconds, stage = None, ""
    for event in run_training(request, stop_signal=lambda: None):
        seconds = time.monotonic() - started
        if isinstance(event, events.Working):
            if stage == COUNTING:
                counted_seconds = seconds
            stage = event.stage
        elif isinstance(event, events.Evaluated) and event.checkpoint is not None:
            kept = work / "looks" / event.checkpoint.name
            shutil.copytree(event.checkpoint, kept, copy_function=os.link, ignore=shutil.ignore_patterns("optimizer*"))
            looks.append({"step": event.step, "seconds": seconds, "path": str(kept.relative_to(work))})
            print(f"{seconds:7.1f} s, step {event.step}: {event.tuning_bits_per_byte:.4f}", file=sys.stderr)
        elif isinstance(event, events.Finished):
            looks.append({"step": event.step, "seconds": seconds, "path": "model"})
    (work / LOOKS_FILE).write_text(json.dumps({"counted_seconds": counted_seconds, "looks": looks}))


def score(work: Path, text: str) -> dict[str, Any]:
    """All points of the curves and the score of the counts."""
    import numpy as np
    import torch

    from gru_complete.evaluation.report import network_from_model
    from gru_complete.model.directory import load_model
    from gru_complete.model.run_dir import RunDir
    from gru_complete.ngrams.evidence import total_nats
    from gru_complete.ngrams.mixture import NGramMixture
    from gru_complete.text.shards import documents
    from gru_complete.text.tokenizer import DOCUMENT_END
    from gru_complete.training.mixing import count_parts, fit_mixing_weights
    from gru_complete.training.plan import read_plan
    from gru_complete.training.tokenized_corpus import read_tokenized_corpus

    run_dir, cpu = RunDir.beside(work / "model"), torch.device("cpu")
    prepared = read_tokenized_corpus(run_dir)
    settings = read_plan(run_dir).config.ngrams
    stream = np.array([DOCUMENT_END, *prepared.tokenizer.encode(text.encode()), DOCUMENT_END])

    def cost(nats: float) -> dict[str, float]:
        return {"bits_per_byte": nats / math.log(2) / len(text.encode()), "nats_per_char": nats / len(text)}

    def counts_of(*parts: str) -> Any:
        return count_parts(prepared, parts, settings)

    counts, whole = (counts_of("training"), counts_of("training", "tuning")) if settings.order else (None, None)
    found = json.loads((work / LOOKS_FILE).read_text())
    points = []
    for look in found["looks"]:
        model = load_model(work / look["path"])
        module, mixture, seconds = network_from_model(model, cpu), model.mixture, look["seconds"]
        if mixture is None and counts is not None:
            start = time.monotonic()
            mixing = fit_mixing_weights(module, counts, documents(prepared.streams["tuning"]), device=cpu)
            seconds += time.monotonic() - start
            mixture = NGramMixture(whole, mixing, adapts=True)
        costs = {name: cost(nats) for name, nats in nats_of(module, stream, mixture).items()}
        points.append({"step": look["step"], "seconds": look["seconds"], "mixed_seconds": seconds, **costs})
        print(f"{look['seconds']:7.1f} s, step {look['step']}: scored", file=sys.stderr)
    alone = None if whole is None else {"seconds": found["counted_seconds"], **cost(total_nats(whole, stream))}
    return {"counts": alone, "points": points}


def nats_of(module: Any, stream: Any, mixture: Any) -> dict[str, float]:
    """The text's nats under the network, and where there are counts under the mixture, static and adapted."""
    from gru_complete.training.scoring import MixtureScorer, read_documents

    scorers = {"network": MixtureScorer(None)}
    if mixture is not None:
        scorers |= {"mixture": MixtureScorer(mixture), "adapted": MixtureScorer(mixture, adapted=True)}
    totals = dict.fromkeys(scorers, 0.0)
    for chunk in read_documents(module, [stream]):
        for name, scorer in scorers.items():
            totals[name] += float(scorer.predict(chunk).nats.sum())
    return totals


def seconds_of(point: dict[str, Any], curve: str) -> float:
    return float(point["seconds" if curve == "network" else "mixed_seconds"])


def time_to(target: float, points: Sequence[dict[str, Any]], curve: str) -> float | None:
    """The first second at which a curve was at or below a target in nats per character; None if it never was."""
    reached = [seconds_of(point, curve) for point in points if point[curve]["nats_per_char"] <= target]
    return min(reached, default=None)


def as_markdown(report: dict[str, Any]) -> str:
    points, counts = report["points"], report["counts"]
    curves = [curve for curve in NAMES if curve in points[0]]
    facts = {key: ", ".join(value) if isinstance(value, list) else value for key, value in report["machine"].items()}
    lines = [
        "; ".join(f"{key} {value}" for key, value in facts.items()),
        "",
        f"{report['name']}, {report['minutes']:g} minutes, seed {report['seed']}; trained on "
        f"{report['train']['bytes']:,} bytes, scored on {report['scored_bytes']:,}; "
        "bits per byte (nats per character)",
        "",
        "| seconds | with the gate | step | " + " | ".join(NAMES[curve] for curve in curves) + " |",
        "|---|---|---|" + "---|" * len(curves),
    ]
    for point in points:
        costs = (f"{point[curve]['bits_per_byte']:.4f} ({point[curve]['nats_per_char']:.4f})" for curve in curves)
        start = f"| {point['seconds']:.1f} | {point['mixed_seconds']:.1f} | {point['step']:,} | "
        lines.append(start + " | ".join(costs) + " |")
    if counts is not None:
        lines += ["", f"The counts alone: {counts['bits_per_byte']:.4f} ({counts['nats_per_char']:.4f}), "]
        lines[-1] += f"counted after {counts['seconds']:.1f} s."
    if report["targets"]:
        lines += ["", "| seconds to nats per character | " + " | ".join(NAMES[curve] for curve in curves) + " |"]
        lines.append("|---|" + "---|" * len(curves))
    for target, reached in report["targets"].items():
        shown = ("not reached" if reached[curve] is None else f"{reached[curve]:.1f}" for curve in curves)
        lines.append(f"| {target} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def plot(report: dict[str, Any], path: Path) -> None:
    """Bits per byte against seconds, on a logarithmic axis of time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

    points, counts = report["points"], report["counts"]
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for curve, style in STYLES.items():
        if curve in points[0]:
            times = [seconds_of(point, curve) for point in points]
            costs = [point[curve]["bits_per_byte"] for point in points]
            axes.plot(times, costs, color="black", linewidth=1.2, markersize=4, label=NAMES[curve], **style)
    last = points[-1]["seconds"]
    heights = [1.4 * min(point[curve]["bits_per_byte"] for point in points for curve in NAMES if curve in point)]
    if counts is not None:
        ends = [counts["seconds"], last]
        axes.plot(ends, [counts["bits_per_byte"]] * 2, color="black", linestyle=":", label="counts alone, static")
        heights.append(1.05 * counts["bits_per_byte"])
    bits_per_nat = points[0]["network"]["bits_per_byte"] / points[0]["network"]["nats_per_char"]
    for target in report["targets"]:
        height = float(target) * bits_per_nat
        heights.append(1.05 * height)
        axes.axhline(height, color="0.6", linewidth=0.8, zorder=0)
        place = axes.get_yaxis_transform()
        axes.text(0.01, height, f"{target} nats/char", transform=place, color="0.35", fontsize=7, va="top")
    axes.set_ylim(top=min(axes.get_ylim()[1], max(heights)))  # a network's first looks would flatten all the rest
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("seconds since the command began")
    axes.set_ylabel("bits per byte")
    axes.set_title(f"{report['name']}: train --minutes {report['minutes']:g}")
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


@contextmanager
def working_directory(wish: Path | None) -> Iterator[Path]:
    if wish is not None:
        wish.mkdir(parents=True, exist_ok=True)
        yield wish
        return
    with tempfile.TemporaryDirectory(prefix="gru-complete-curve-") as name:
        yield Path(name)


def main() -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", help="of the text, for title and table; default: that of the file")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="settings")
    parser.add_argument("--targets", nargs="+", default=[], help="nats per character; when was each reached?")
    parser.add_argument("--test-bytes", type=int, default=300_000, help="of TEST, from its beginning")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves; needs matplotlib")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--work", type=Path, metavar="DIRECTORY", help="where the training stays; default: nowhere")
    smoke = "{dir}/corpus.txt {dir}/text.txt --minutes 0.02 --targets 9 --set training.evaluations=2"
    options = parse_arguments(parser, smoke=smoke)
    if options.plot is not None and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install 'gru-complete[plots]'")
    with working_directory(options.work) as work:
        os.environ["GRU_COMPLETE_HOME"] = str(work)  # the user's last model stays the last one
        if not (work / LOOKS_FILE).exists():
            train(options, work, started)
        text = options.test.read_text(encoding="utf-8-sig").encode()[: options.test_bytes].decode(errors="ignore")
        found = score(work, text)
    report = {
        "name": options.name or options.train.stem,
        "machine": machine(),
        "train": describe_text(options.train),
        "test": describe_text(options.test),
        "scored_bytes": len(text.encode()),
        "minutes": options.minutes,
        "seed": options.seed,
        "settings": options.settings,
        **found,
        "targets": {
            target: {
                curve: time_to(float(target), found["points"], curve) for curve in NAMES if curve in found["points"][0]
            }
            for target in options.targets
        },
    }
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(as_markdown(report))
    if options.plot is not None:
        plot(report, options.plot)


if __name__ == "__main__":
    main()
