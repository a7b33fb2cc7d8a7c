"""What several benchmarks share: their smoke mode, facts about the machine, timed commands, precision and recall.

It imports no numpy, so that a benchmark may still set the number of threads after importing it.
"""

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

GRU_COMPLETE = [sys.executable, "-m", "gru_complete"]
SMOKE = "--smoke"
SAMPLE_BYTES = 1 << 20  # of the text, for the tokenizer of a model of random weights
FLAG_PREFIXES = ("avx", "amx", "fma", "neon", "asimd", "sve")
PACKAGES = ("torch", "numpy", "sentencepiece")


def parse_arguments(parser: argparse.ArgumentParser, *, smoke: str) -> argparse.Namespace:
    """Parse the command line; ``--smoke DIRECTORY`` stands for arguments with which the benchmark takes seconds.

    The tests run every benchmark in this way (``tests/benchmarks/test_smoke.py``), to see that it runs at all.

    Args:
        parser: of the benchmark.
        smoke: the arguments of the smoke mode. ``{dir}`` is the directory, in which there are a tiny ``model``,
            its ``corpus.txt``, another ``text.txt`` and minimal pairs in ``pairs.jsonl``.
    """
    if sys.argv[1:2] == [SMOKE] and len(sys.argv) == 3:
        return parser.parse_args([argument.format(dir=sys.argv[2]) for argument in smoke.split()])
    return parser.parse_args()


def compiled_environment() -> dict[str, str]:
    """The environment in which Python keeps its bytecode.

    Installed packages are compiled; a checkout whose bytecode may not be written would be compiled in every run.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds_of(command: Sequence[str]) -> float:
    """The seconds that a command takes, from its start to its end."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = time.perf_counter()
    subprocess.run(command, check=True, env=compiled_environment(), **quiet)
    return time.perf_counter() - start


def machine() -> dict[str, Any]:
    """What figures depend on besides the code, and which code it was."""
    cpuinfo = Path("/proc/cpuinfo")
    facts = dict(
        (part.strip() for part in line.split(":", 1))
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.exists() else ())
        if ":" in line
    )
    flags = facts.get("flags", facts.get("Features", "")).split()
    return {
        "processor": facts.get("model name", platform.processor()),
        "cores": os.cpu_count(),
        "flags": sorted(flag for flag in flags if flag.startswith(FLAG_PREFIXES)),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "commit": commit(),
    }


def commit() -> str:
    """The commit of this checkout, with a note if files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, check=True, text=True).stdout
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.strip() + ("+changes" if changed else "")


def describe_text(path: Path) -> dict[str, Any]:
    """By what a text is known again."""
    data = path.read_bytes()
    return {"file": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def make_random_models(directory: Path, text: bytes, sizes: tuple[int, int, int]) -> tuple[Path, Path]:
    """Write two models of random weights, which have the speed of trained ones: without n-gram counts, and with.

    Their scores are spread as those of trained models are, so that as many tokens may be drawn.

    Args:
        directory: where to write.
        text: from which tokenizer and counts are made.
        sizes: embedding_size, hidden_size, vocab_size; the last is less where the text is small.
    """
    import numpy as np  # here, as all of these: see the module's docstring

    from gru_complete.model.architecture import Architecture
    from gru_complete.model.directory import ModelContents, save_model
    from gru_complete.model.manifest import NGRAMS
    from gru_complete.ngrams.building import count_ngrams
    from gru_complete.ngrams.mixture import NUM_OUTPUTS, NUM_SLOPES, MixingWeights, NGramMixture
    from gru_complete.text.sentencepiece_model import FIRST_PIECE
    from gru_complete.text.tokenizer import Tokenizer
    from gru_complete.text.tokenizer_training import train_tokenizer

    embedding_size, hidden_size, vocab_size = sizes
    sample = [text[:SAMPLE_BYTES]]
    tokenizer = Tokenizer(train_tokenizer(sample, vocab_size=vocab_size - FIRST_PIECE))
    stream = np.array([0, *tokenizer.encode(text), 0], np.uint16)
    arch = Architecture("gru", tokenizer.vocab_size, embedding_size, hidden_size, 1)
    generator = np.random.default_rng(0)
    shapes = arch.tensor_shapes().items()
    weights = {name: generator.normal(size=shape, scale=shape[-1] ** -0.5).astype(np.float32) for name, shape in shapes}
    weights["projection"] *= 6
    weights["output_bias"] = np.log(np.bincount(stream, minlength=arch.vocab_size) + 1).astype(np.float32)
    ngrams = count_ngrams(stream, vocab_size=arch.vocab_size, max_bytes=1_500_000 + 2 * len(text))
    mixing = np.zeros((ngrams.order + NUM_SLOPES, NUM_OUTPUTS), np.float32)
    mixing[: ngrams.order] = 0.5, 0.5, 1, 0, 0
    mixture = NGramMixture(ngrams, MixingWeights(mixing), adapts=False).to_bytes()
    contents = ModelContents(arch=arch, weights=weights, tokenizer=tokenizer, metrics={}, training={})
    paths = directory / "gru", directory / "mixture"
    for path, extra_files in zip(paths, ({}, {NGRAMS: mixture}), strict=True):
        path.mkdir()
        save_model(path, contents, extra_files=extra_files)
    return paths


class Detection(NamedTuple):
    """What a detector reports.

    Attributes:
        found: how many places it reports.
        right: how many of them are right.
        actual: how many places there are to be found.
    """

    found: int
    right: int
    actual: int

    @property
    def precision(self) -> float:
        """The share of reported places that are right."""
        return self.right / max(1, self.found)

    @property
    def recall(self) -> float:
        """The share of actual places that are reported."""
        return self.right / max(1, self.actual)

    @property
    def f_half(self) -> float:
        """F0.5, which weighs precision more than recall."""
        return 1.25 * self.precision * self.recall / max(1e-9, 0.25 * self.precision + self.recall)


def best_threshold(scored: Iterable[tuple[float, int]], actual: Collection[int]) -> float:
    """The threshold with the best F0.5, the highest such; 0 where nothing right is scored.

    Args:
        scored: scores of places; with a threshold, those of at least that are reported.
        actual: the places to be found.
    """
    ordered = sorted(scored, reverse=True)
    best, threshold, right = 0.0, 0.0, 0
    for count, (score, place) in enumerate(ordered, start=1):
        right += place in actual
        if count < len(ordered) and ordered[count][0] == score:
            continue  # a threshold takes all of the same score or none
        value = Detection(count, right, len(actual)).f_half
        if value > best:
            best, threshold = value, score
    return threshold
