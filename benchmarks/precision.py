"""Training in bfloat16 compared with float32: the time of a whole step, and what each learns in the same steps.

A round takes one step in float32 and one in bfloat16, so that what slows the machine for a while slows both; the lower
quartiles over the rounds are shown, with their ratio, which is what to quote. With one thread (OMP_NUM_THREADS=1) the
time is the processor's, so that other programs hardly change it. Given a text, both train on it from the same seeds for
the same number of steps, and the bits per byte on the tuning split are compared at every evaluation.

    python benchmarks/precision.py [TEXT --steps 1500 --seeds 0 1 2] [--rounds 40] [--shapes 256,384,16,1281] [--json]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import describe_text, machine, parse_arguments

from gru_complete.config import TrainingConfig, load_config
from gru_complete.nn import bfloat16, kernel
from gru_complete.nn.language_model import LanguageModel
from gru_complete.training import events
from gru_complete.training.learner import Learner
from gru_complete.training.run import TrainingRequest, run_training

PRECISIONS = ("float32", "bfloat16")
SEQ_LEN = 64


class Shape(NamedTuple):
    """E embedding_size, H hidden_size, B rows, V vocab_size."""

    E: int
    H: int
    B: int
    V: int


SHAPES = [Shape(256, 384, 16, 1281), Shape(256, 512, 32, 2305)]


def shape(text: str) -> Shape:
    """A shape from the command line, e.g. "256,384,16,1281"."""
    return Shape(*map(int, text.split(",")))


def training_step(shape: Shape, precision: str) -> Callable[[], object]:
    """One update of a fresh network with dropout, on random tokens."""
    torch.manual_seed(0)
    model = LanguageModel(shape.V, embedding_size=shape.E, hidden_size=shape.H, dropout=0.2)
    learner = Learner(model, TrainingConfig(precision=precision), torch.device("cpu"))
    tokens, targets = np.random.default_rng(0).integers(1, shape.V, (2, shape.B, SEQ_LEN))
    return lambda: learner.update(tokens, targets, None, learning_rate=1e-3, dropout_seed=0)


def step_milliseconds(shape: Shape, rounds: int) -> dict[str, float]:
    """The lower quartile over the rounds for each precision, and the ratio of the two; two rounds more warm up."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    steps = {precision: training_step(shape, precision) for precision in PRECISIONS}
    found: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for round_number in range(rounds + 2):
        for precision, step in steps.items():
            start = clock()
            step()
            if round_number >= 2:
                found[precision].append(1000 * (clock() - start))
    quartiles = {
        precision: statistics.quantiles(times, n=4)[0] if len(times) > 1 else times[0]
        for precision, times in found.items()
    }
    return {**quartiles, "ratio": quartiles["bfloat16"] / quartiles["float32"]}


def learning_curve(text: Path, seed: int, precision: str, options: argparse.Namespace) -> dict[int, float]:
    """Bits per byte on the tuning split at each evaluation, by step."""
    settings = [f"training.seed={seed}", f"training.steps={options.steps}", f"training.precision={precision}"]
    # Without dropout: the masks are drawn in other ways, and other masks change the result as another seed does.
    settings += [f"model.hidden_size={options.hidden_size}", "model.dropout=0", "data.held_out=0"]
    config = load_config(None, settings)
    with tempfile.TemporaryDirectory() as directory:
        request = TrainingRequest([str(text)], Path(directory, "model"), config, started=time.monotonic())
        looks = [
            event
            for event in run_training(request, stop_signal=lambda: None)
            if isinstance(event, events.Evaluated) and event.checkpoint is not None
        ]
    return {look.step: look.tuning_bits_per_byte for look in looks}


def compare_curves(text: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The last score of each precision, and by how much bfloat16 is above float32 there and at most anywhere."""
    exact, rounded = (learning_curve(text, seed, precision, options) for precision in PRECISIONS)
    differences = {step: rounded[step] - exact[step] for step in sorted(exact.keys() & rounded.keys())}
    last = max(differences)
    return {
        "seed": seed,
        "step": last,
        "float32": exact[last],
        "bfloat16": rounded[last],
        "difference": differences[last],
        "largest_difference": max(map(abs, differences.values())),
    }


def as_markdown(report: dict[str, Any]) -> str:
    facts = ("processor", "cores", "torch", "threads", "loops", "bfloat16")
    lines = ["; ".join(f"{name} {report['machine'][name]}" for name in facts)]
    if report["steps"]:
        lines += ["", "| a whole step, T=64 | float32 ms | bfloat16 ms | ratio |", "|---|---|---|---|"]
    for step in report["steps"]:
        name = " ".join(f"{letter}{size}" for letter, size in step["shape"].items())
        lines.append(f"| {name} | {step['float32']:.1f} | {step['bfloat16']:.1f} | {step['ratio']:.3f} |")
    if report["curves"]:
        lines += [
            "",
            "| seed | step | float32 bits per byte | bfloat16 | difference | largest at any evaluation |",
            "|---|---|---|---|---|---|",
        ]
    for curve in report["curves"]:
        lines.append(
            f"| {curve['seed']} | {curve['step']} | {curve['float32']:.5f} | {curve['bfloat16']:.5f} "
            f"| {curve['difference']:+.5f} | {curve['largest_difference']:.5f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, nargs="?", metavar="TEXT", help="to train on")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=40, help="steps of each precision that are timed")
    parser.add_argument("--shapes", type=shape, nargs="+", default=SHAPES, metavar="E,H,B,V", help="sizes of the steps")
    parser.add_argument("--hidden-size", type=int, default=384, help="of the network that is trained on TEXT")
    parser.add_argument("--json", action="store_true", help="JSON instead of Markdown tables")
    options = parse_arguments(
        parser, smoke="{dir}/corpus.txt --steps 3 --seeds 0 --rounds 1 --shapes 8,32,16,40 --hidden-size 32"
    )
    loops, there = kernel.enable(), bfloat16.is_available(torch.device("cpu"))
    report = {
        "machine": {
            **machine(),
            "threads": torch.get_num_threads(),
            "loops": loops,
            "bfloat16": "compiled" if there else "not available: all figures are of float32",
        },
        "rounds": options.rounds,
        "steps": [
            {"shape": sizes._asdict(), **step_milliseconds(sizes, options.rounds)}
            for sizes in (options.shapes if options.rounds else ())
        ],
        "text": describe_text(options.text) if options.text else None,
        "curves": [compare_curves(options.text, seed, options) for seed in options.seeds] if options.text else [],
    }
    print(json.dumps(report, indent=1) if options.json else as_markdown(report))


if __name__ == "__main__":
    main()
