"""How quick `complete` is, for three sizes of model: a table for people, or JSON with --json.

    python benchmarks/runtime.py [--text data/watson.txt] [--runs 20] [--rounds 40] [--json]

The models are of the right shapes and know nothing: random weights, with a tokenizer and counts made from TEXT and a
gate that believes both. So they have the speed of trained ones, and need no training. What is compared runs in turn,
on one thread, so that a machine that changes its speed changes both; figures are medians, and the ratio is what to
quote. "bare products" are the products of a token's arrays alone, one row by each matrix that must be read: no code in
numpy can be quicker than the memory that they come from.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from common import GRU_COMPLETE, make_random_models, parse_arguments, seconds_of

from gru_complete.model.directory import load_model
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.stepper import Stepper
from gru_complete.runtime.words import most_likely_words

SIZES = ((128, 192, 512), (256, 384, 1024), (256, 512, 2048))  # E, H, V
FLOOR = "import numpy, sentencepiece, typer"
COMPLETE = "import sys; from gru_complete.cli.app import run; run(sys.argv[1:])"
BLOCK_TOKENS = 100  # generated in turn
KEYSTROKES = 300
READ_BYTES = 20_000
BATCHES = (1, 8, 32)


def in_turn(rounds: int, work: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """What each function returns, round after round, without the first."""
    results: dict[str, list[float]] = {name: [] for name in work}
    for index in range(rounds + 1):
        for name, measure in work.items():
            result = measure()
            if index:
                results[name].append(result)
    return results


def resident_megabytes(code: str, *arguments: str) -> float:
    """The most that a process held at a time. Only Linux says it of a process that was begun by a large one."""
    code += "; sys.stdout.flush(); print(*[line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line])"
    with suppress(OSError, subprocess.CalledProcessError):
        command = [sys.executable, "-c", "import sys; " + code, *arguments]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return int(output.split()[-1]) / 1024
    return float("nan")


def cold_start(model: Path, runs: int) -> dict[str, float]:
    arguments = ["complete", "Mr Watson goes", "-m", str(model), "--until", "none", "--max-tokens", "20"]
    seconds = in_turn(
        runs,
        {
            "complete": lambda: seconds_of([*GRU_COMPLETE, *arguments]),
            "imports": lambda: seconds_of([sys.executable, "-c", FLOOR]),
        },
    )
    ratios = [ours / floor for ours, floor in zip(seconds["complete"], seconds["imports"], strict=True)]
    return {
        "cold start, ms": 1e3 * statistics.median(seconds["complete"]),
        "imports alone, ms": 1e3 * statistics.median(seconds["imports"]),
        "cold start / imports": statistics.median(ratios),
        "resident, MB": resident_megabytes(COMPLETE, *arguments),
        "imports resident, MB": resident_megabytes(FLOOR),
    }


def generator_of(completer: Completer) -> Callable[[], float]:
    """What generates a block of tokens after a short prompt, and returns the seconds for each."""
    context = completer.read(b"Mr Watson goes")
    seeds = iter(range(1 << 30))

    def generate() -> float:
        num_tokens, seconds = 0, 0.0
        while num_tokens < BLOCK_TOKENS:
            options = CompletionOptions(max_tokens=BLOCK_TOKENS - num_tokens, until="none", seed=next(seeds))
            stream = completer.stream(context, options)  # which sums over the segmentations of the prompt's end
            start = time.perf_counter()
            deque(stream, maxlen=0)
            seconds += time.perf_counter() - start
            assert stream.result is not None
            num_tokens += stream.result.tokens
        return seconds / num_tokens

    return generate


def products_of(path: Path) -> Callable[[], float]:
    """What multiplies a row by the arrays that a token needs, as often, and returns the seconds for each token."""
    weights = load_model(path).weights
    recurrent = weights["cells.0.weight_h"]
    hidden_size = recurrent.shape[1]
    gates, candidate = recurrent[: 2 * hidden_size].copy(), recurrent[2 * hidden_size :].copy()
    projection, embedding = weights["projection"], weights["embedding"]
    hidden = np.ones(hidden_size, np.float32)

    def multiply() -> float:
        start = time.perf_counter()
        for _ in range(BLOCK_TOKENS):
            gates.dot(hidden)
            candidate.dot(hidden)
            embedding.dot(projection.dot(hidden))
        return (time.perf_counter() - start) / BLOCK_TOKENS

    return multiply


def generation(gru: Path, mixing: Path, rounds: int) -> dict[str, float]:
    work = {
        "products": products_of(gru),
        "gru": generator_of(Completer.load(gru)),
        "mixture": generator_of(Completer.load(mixing)),
    }
    seconds = in_turn(rounds, work)
    pairs = {name: zip(seconds["products"], seconds[name], strict=True) for name in ("gru", "mixture")}
    shares = {name: statistics.median(bare / whole for bare, whole in both) for name, both in pairs.items()}
    added = [whole - gru for whole, gru in zip(seconds["mixture"], seconds["gru"], strict=True)]
    return {
        "bare products, tokens/s": 1 / statistics.median(seconds["products"]),
        "tokens/s without counts": 1 / statistics.median(seconds["gru"]),
        "of the bare products": shares["gru"],
        "tokens/s with counts": 1 / statistics.median(seconds["mixture"]),
        "of the bare products, with counts": shares["mixture"],
        "the counts add, us": 1e6 * statistics.median(added),
    }


def batches(mixing: Path, rounds: int) -> dict[str, float]:
    model = load_model(mixing)
    predictor = Predictor(Stepper(model.manifest.arch, model.weights), model.mixture)
    stream = model.tokenizer.encode(b"Mr Watson goes to Paris. Mrs Watson goes to Rome.")

    def stepper_of(num_rows: int) -> Callable[[], float]:
        readings = [predictor.start()] * num_rows

        def step() -> float:
            nonlocal readings
            start = time.perf_counter()
            for token in stream:
                readings = predictor.step_many(readings, [token] * num_rows)
                predictor.log_probabilities(readings)
            return (time.perf_counter() - start) / (len(stream) * num_rows)

        return step

    seconds = in_turn(rounds, {f"batch of {rows}, tokens/s": stepper_of(rows) for rows in BATCHES})
    return {name: 1 / statistics.median(values) for name, values in seconds.items()}


def reading(mixing: Path, text: bytes, rounds: int) -> dict[str, float]:
    completer = Completer.load(mixing)
    prompt = text[-READ_BYTES:]
    num_tokens = len(completer.tokenizer.encode(prompt))

    def read() -> float:
        start = time.perf_counter()
        completer.read(prompt)
        return (time.perf_counter() - start) / num_tokens

    return {"prompt, tokens/s": 1 / statistics.median(in_turn(rounds, {"read": read})["read"])}


def keystrokes(mixing: Path, text: bytes) -> dict[str, float]:
    """Milliseconds from a key until the three likeliest words are known, typing the end of the text."""
    completer = Completer.load(mixing)
    typed = text[-KEYSTROKES:]
    context = completer.read(text[-2 * KEYSTROKES : -KEYSTROKES])
    seconds = []
    for key in _bytes(typed):
        start = time.perf_counter()
        context = completer.read(key, context)
        most_likely_words(completer.hypotheses(context), 3)
        seconds.append(time.perf_counter() - start)
    return {
        "a key, p50, ms": 1e3 * statistics.median(seconds),
        "a key, p99, ms": 1e3 * sorted(seconds)[int(0.99 * len(seconds))],
    }


def _bytes(data: bytes) -> Iterator[bytes]:
    return (data[index : index + 1] for index in range(len(data)))


def measure(text: bytes, sizes: tuple[int, int, int], *, runs: int, rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        gru, mixing = make_random_models(Path(directory), text, sizes)
        arch = load_model(gru).manifest.arch
        return {
            "E": arch.embedding_size,
            "H": arch.hidden_size,
            "V": arch.vocab_size,
            **cold_start(mixing, runs),
            **generation(gru, mixing, rounds),
            **batches(mixing, rounds),
            **reading(mixing, text, max(3, rounds // 10)),
            **keystrokes(mixing, text),
        }


def as_table(results: list[dict[str, float]]) -> str:
    lines = ["| |" + " |" * len(results), "|---|" + "---:|" * len(results)]
    for name in results[0]:
        cells = [f"{result[name]:,.0f}" if result[name] >= 100 else f"{result[name]:.3g}" for result in results]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, default=Path(__file__).parent.parent / "data" / "watson.txt")
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="how many sizes of model, from the smallest")
    parser.add_argument("--runs", type=int, default=20, help="cold starts")
    parser.add_argument("--rounds", type=int, default=40, help="turns of everything else")
    parser.add_argument("--json", action="store_true")
    options = parse_arguments(parser, smoke="--text {dir}/corpus.txt --sizes 1 --runs 1 --rounds 1")
    text = options.text.read_bytes()
    results = [measure(text, sizes, runs=options.runs, rounds=options.rounds) for sizes in SIZES[: options.sizes]]
    print(json.dumps(results, indent=1) if options.json else as_table(results))


if __name__ == "__main__":
    main()
