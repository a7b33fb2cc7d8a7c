"""Where a prompt stands: how likely are the right first, second and third word of a line, if the line is the prompt.

For each kind of text (the file TEXT, and a shell history, JSON lines and mail made up here) a model is trained on the
first nine tenths, and lines of the rest are completed: nothing, one word or two words of a line are the prompt, and
the next word is right. "within" is the same for two words from the middle of a line. The probability is that of the
word and white space after it, summed over segmentations; each figure is a mean over the lines, and in brackets the mean
of the logarithm.

    python benchmarks/first_words.py [TEXT] [--minutes 0.5] [--lines 150] [--models DIRECTORY]

With --models, the models are kept there, and those that are there already are used.
"""

import argparse
import math
import random
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from common import GRU_COMPLETE, parse_arguments
from made_up_texts import KINDS, made_up_text

from gru_complete.runtime.completer import Completer
from gru_complete.runtime.segmentation import END_BYTE

WHITE_SPACE = [*b"\t\n\r ", END_BYTE]
MADE_UP_BYTES = {"history": 200_000, "json": 400_000, "mail": 400_000}
PLACES = ("first", "second", "third", "within")
MAX_WORD_BYTES = 40  # a word must fit into a segment


def prompts(lines: Sequence[str], number: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Where the word is, what comes before it, and the word, for some of the lines."""
    written = [line for line in lines if line.strip()]
    for line in random.Random(0).sample(written, min(number, len(written))):
        words = line.split(" ")
        if not all(words[:3]):
            continue
        for place, before in zip(PLACES, range(3), strict=False):
            if len(words) > before:
                yield place, "".join(f"{word} " for word in words[:before]).encode(), words[before].encode()
        if len(words) > 8:
            yield "within", f"{words[4]} {words[5]} ".encode(), words[6].encode()


def probability(completer: Completer, prompt: bytes, word: bytes) -> float:
    """The probability that a word comes next, and white space or the end after it."""
    state = completer.read(prompt)
    before = completer.hypotheses(state)
    after, log_probability = before.extended(word)
    return math.exp(log_probability) * float(after.next_bytes()[WHITE_SPACE].sum())


def measure(completer: Completer, text: str, number: int) -> dict[str, tuple[float, float]]:
    """The mean probability and the mean of its logarithm, by place."""
    found: dict[str, list[float]] = {}
    for place, prompt, word in prompts(text.split("\n"), number):
        if len(word) <= MAX_WORD_BYTES:
            found.setdefault(place, []).append(probability(completer, prompt, word))
    return {
        place: (float(np.mean(values)), float(np.mean(np.log(np.maximum(values, 1e-12)))))
        for place, values in found.items()
    }


def model_of(kind: str, text: str, directory: Path, limit: Sequence[str]) -> Path:
    """Train a model, unless it is there."""
    path = directory / kind
    if not path.exists():
        corpus = directory / f"{kind}.txt"
        corpus.write_text(text)
        command = [*GRU_COMPLETE, "train", str(corpus), "-m", str(path), *limit, "--quiet", "--set", "data.held_out=0"]
        subprocess.run(command, check=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, nargs="?", help="prose")
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--steps", type=int, help="instead of --minutes")
    parser.add_argument("--lines", type=int, default=150)
    parser.add_argument("--bytes", type=int, help="of each text, at most")
    parser.add_argument("--models", type=Path)
    smoke = "{dir}/text.txt --steps 2 --lines 3 --bytes 20000 --models {dir}/first_words"
    options = parse_arguments(parser, smoke=smoke)
    texts = {kind: made_up_text(kind, options.bytes or MADE_UP_BYTES[kind]) for kind in KINDS}
    if options.text:
        texts["prose"] = options.text.read_text()[: options.bytes]
    limit = ["--steps", str(options.steps)] if options.steps else ["--minutes", f"{options.minutes:g}"]
    print("| text | stands before a prompt | first | second | third | within |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="gru-complete-first-words-") as name:
        directory = options.models or Path(name)
        directory.mkdir(exist_ok=True)
        for kind, text in texts.items():
            cut = text.index("\n", len(text) * 9 // 10) + 1
            path = model_of(kind, text[:cut], directory, limit)
            completer = Completer.load(path)
            figures = measure(completer, text[cut:], options.lines)
            cells = [
                f"{figures[place][0]:.3f} ({figures[place][1]:.2f})" if place in figures else "-" for place in PLACES
            ]
            start = completer.reader.prompt_start().tail
            print(f"| {kind} | {start!r} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
