"""How much quicker `complete --lines` is than one prompt after another: python benchmarks/lines.py MODEL TEXT.

The prompts are sentences of TEXT, each cut at a random byte. They are completed one by one and many at once, in turn, a
block of each, in one process and on one thread; so a machine that changes its speed changes both. Figures are per
prompt; the ratio is the quotient of the sums. "products" is how far the matrix products of all rows at once alone are
quicker than one row at a time: where nothing but products takes time, no more can be gained.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from common import parse_arguments

from gru_complete.model.home import find_model
from gru_complete.runtime.batch import WIDTH, complete_each
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.draft import Completion
from gru_complete.runtime.options import CompletionOptions

BLOCK = 500  # prompts; the last ones of a block leave the product narrow, as the last ones of a file do
PRODUCT_ROUNDS = 100

Result = TypeVar("Result")


def some_prompts(text: bytes, number: int) -> list[bytes]:
    """Sentences, each cut at a random byte; the same ones every time."""
    generator = random.Random(0)
    sentences = [sentence.strip() for sentence in text.replace(b"\n", b" ").split(b".") if 40 < len(sentence) < 200]
    if not sentences:
        raise SystemExit("the text has no sentences of 40 to 200 bytes")
    chosen = [generator.choice(sentences) for _ in range(number)]
    return [sentence[: generator.randint(10, len(sentence) - 1)] for sentence in chosen]


def timed(work: Callable[[], Result]) -> tuple[Result, dict[str, float]]:
    """What work gives, and the seconds it took: of the process, and on the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def one_by_one(completer: Completer, prompts: list[bytes], options: CompletionOptions) -> list[Completion]:
    """Complete each prompt alone."""
    return [completer.complete(prompt, options) for prompt in prompts]


def side_by_side(completer: Completer, prompts: list[bytes], options: CompletionOptions) -> list[Completion]:
    """Complete many prompts at once, as ``--lines`` does."""
    rest = iter(prompts)

    def take(waits: bool) -> bytes:
        for prompt in rest:
            return prompt
        raise EOFError

    return list(complete_each(completer, take, options))


def compare(completer: Completer, prompts: list[bytes], until: str) -> dict[str, float]:
    """Complete the prompts both ways: milliseconds per prompt, the ratios, and how many texts are equal."""
    options = CompletionOptions(until=until)
    totals = {f"{way}_{clock}": 0.0 for way in ("single", "batched") for clock in ("cpu", "wall")}
    equal = tokens = 0
    for prompt in prompts[:50]:  # what is computed once per model
        completer.complete(prompt, options)
    for start in range(0, len(prompts), BLOCK):
        block = prompts[start : start + BLOCK]
        single, seconds = timed(partial(one_by_one, completer, block, options))
        for clock, value in seconds.items():
            totals[f"single_{clock}"] += value
        batched, seconds = timed(partial(side_by_side, completer, block, options))
        for clock, value in seconds.items():
            totals[f"batched_{clock}"] += value
        assert [one.prompt for one in batched] == block
        equal += sum(one.data == other.data for one, other in zip(single, batched, strict=True))
        tokens += sum(one.tokens for one in single)
    found = {f"{name}_ms": 1000 * value / len(prompts) for name, value in totals.items()}
    found |= {f"ratio_{clock}": totals[f"single_{clock}"] / totals[f"batched_{clock}"] for clock in ("cpu", "wall")}
    return found | {"tokens": tokens / len(prompts), "equal": equal, "prompts": len(prompts)}


def product_ratio(completer: Completer) -> float:
    """How much quicker a step's and its scores' products are with ``WIDTH`` rows at once, per row."""
    stepper = completer.predictor.stepper
    matrices = [stepper.output]
    for layer in stepper.layers:
        matrices += [layer.weight_gates, layer.weight_candidate]
    generator = np.random.default_rng(0)
    rows = [generator.normal(size=(WIDTH, len(matrix))).astype(np.float32) for matrix in matrices]
    one, many = [], []
    for _ in range(PRODUCT_ROUNDS):
        one.append(timed(lambda: [part[0].dot(matrix) for matrix, part in zip(matrices, rows, strict=True)])[1]["wall"])
        many.append(timed(lambda: [part.dot(matrix) for matrix, part in zip(matrices, rows, strict=True)])[1]["wall"])
    return float(np.median(one) * WIDTH / np.median(many))


def as_table(results: dict[str, dict[str, float]], products: float) -> str:
    """Markdown."""
    lines = [
        "| until | tokens | one by one, ms (CPU) | --lines, ms (CPU) | ratio (CPU) | ratio (clock) | equal texts |",
        "|---|---|---|---|---|---|---|",
    ]
    for until, found in results.items():
        lines.append(
            f"| {until} | {found['tokens']:.1f} | {found['single_cpu_ms']:.2f} | {found['batched_cpu_ms']:.2f} "
            f"| {found['ratio_cpu']:.2f} | {found['ratio_wall']:.2f} | {found['equal']:.0f} of {found['prompts']:.0f} |"
        )
    return "\n".join([*lines, "", f"products: {products:.2f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parse_arguments(parser, smoke="{dir}/model {dir}/text.txt --prompts 20")
    completer = Completer.load(find_model(options.model))
    prompts = some_prompts(options.text.read_bytes(), options.prompts)
    results = {until: compare(completer, prompts, until) for until in ("sentence", "word")}
    products = product_ratio(completer)
    print(json.dumps(results | {"products": products}, indent=1) if options.json else as_table(results, products))


if __name__ == "__main__":
    main()
