"""Whether the same call gives the same bytes: python benchmarks/determinism.py MODEL TEXT [--calls 200] [--json].

Prompts begin anywhere in TEXT and are cut anywhere, within words and characters too. In groups of ten they share random
options: temperature, filters, seed, end, beam, words, confidence. Every call is a process of its own, run with one
thread, with two, and with one again; the bytes of stdout and the exit code must be the same. Then the prompts of each
group go through ``--lines`` (with ``-0``, for there are newlines in them), where many are one product: the texts must
be those of the single calls, but for a few where rounding decides between two of the same probability.
"""

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from common import compiled_environment, parse_arguments

THREADS = (1, 2, 1)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GROUP = 10
MAX_PROMPT = 3000  # bytes; their logarithm is uniform


class Group(NamedTuple):
    """Calls with the same options."""

    options: list[str]
    prompts: list[bytes]


def random_options(generator: random.Random) -> list[str]:
    """Options of a call, of a kind that goes together."""
    end = ["--until", generator.choice(["word", "line", "sentence", "paragraph", "none"])]
    end += ["--max-tokens", str(generator.randint(1, 60))]
    drawing = ["--temperature", f"{generator.uniform(0.1, 1.5):.2f}", "--seed", str(generator.randrange(2**32))]
    filters = [
        ["--top-k", str(generator.randint(1, 50))],
        ["--top-p", f"{generator.uniform(0.3, 1):.2f}"],
        ["--min-p", f"{generator.uniform(0, 0.2):.2f}"],
        ["--typical", f"{generator.uniform(0.3, 1):.2f}"],
        ["--repetition-penalty", f"{generator.uniform(1, 1.5):.2f}"],
        ["--no-repeat", "3"],
    ]
    kinds = [
        [*drawing, *end],
        [*drawing, *end, *sum(generator.sample(filters, 2), [])],
        [*drawing, *end, "--json", "-n", str(generator.randint(1, 3))],
        ["--temperature", "0", *end],
        ["--beam", str(generator.randint(1, 4)), *end],
        ["--words", str(generator.randint(1, 8))],
        ["--min-confidence", f"{generator.uniform(0.01, 0.5):.2f}", *end],
    ]
    chosen = generator.choices(kinds, [4, 4, 2, 2, 2, 3, 1])[0]
    if "--json" not in chosen and generator.random() < 0.3:
        chosen = [*chosen, "--json"]
    return [*chosen, generator.choice(["--learn-from-prompt", "--no-learn-from-prompt"])]


def random_groups(text: bytes, number: int, generator: random.Random) -> list[Group]:
    groups = []
    while number > 0:
        prompts = []
        for _ in range(min(GROUP, number)):
            length = int(MAX_PROMPT ** generator.random())
            start = generator.randrange(max(1, len(text) - length))
            prompts.append(text[start : start + length])
        groups.append(Group(random_options(generator), prompts))
        number -= len(prompts)
    return groups


def run(model: str, arguments: list[str], given: bytes, threads: int) -> tuple[bytes, int]:
    """Run a call; returns what it has printed, and its exit code."""
    command = [sys.executable, "-m", "gru_complete", "complete", "-m", model, *arguments]
    environment = compiled_environment() | dict.fromkeys(THREAD_VARIABLES, str(threads))
    done = subprocess.run(command, input=given, capture_output=True, env=environment)
    if done.returncode not in (0, 1):  # 1: nothing to offer
        print(*arguments, repr(given[-40:]), done.stderr.decode(errors="replace"), sep="\n  ", file=sys.stderr)
    return done.stdout, done.returncode


def of_single(options: list[str], output: bytes) -> list[bytes]:
    """What a single call has answered, without what only its form decides: newlines, and digits of probabilities."""
    if "--json" in options:
        answers = [from_record(json.loads(line)) for line in output.split(b"\n") if line]
        return [answer for answer in answers if answer]  # where there is none, only --lines has a record that says so
    return [output.removesuffix(b"\n").replace(b"\n", b"\t") if "--words" in options else output.removesuffix(b"\n")]


def of_lines(options: list[str], output: bytes, number: int) -> list[list[bytes]]:
    """The same of a call with ``--lines -0``, for each of its prompts."""
    if "--json" not in options:
        return [[answer] for answer in output.split(b"\0")[:-1]]
    answers: list[list[bytes]] = []
    for record in map(json.loads, filter(None, output.split(b"\n"))):
        # Several completions of a prompt are drawn with the seeds that follow the one given.
        is_new = "-n" not in options or record["seed"] == int(options[options.index("--seed") + 1])
        if is_new:
            answers.append([])
        if answer := from_record(record):
            answers[-1].append(answer)
    return answers


def from_record(record: dict[str, Any]) -> bytes:
    if "words" in record:
        return "\t".join(f"{word['probability']:.4f}\t{word['word']}" for word in record["words"]).encode()
    text: str = record["text"]
    return text.encode()


def measure(model: str, groups: list[Group]) -> dict[str, Any]:
    num_calls = num_same = num_same_in_lines = num_failed = 0
    for group in groups:
        singles = []
        for prompt in group.prompts:
            # Of stdin, one newline at the end is dropped.
            outputs = [run(model, group.options, prompt + b"\n", threads) for threads in THREADS]
            num_calls += 1
            num_failed += outputs[0][1] not in (0, 1)
            num_same += outputs.count(outputs[0]) == len(outputs)
            if outputs.count(outputs[0]) != len(outputs):
                print("not the same:", *group.options, prompt, outputs, sep="\n  ", file=sys.stderr)
            singles.append(outputs[0][0])
        given = b"".join(prompt + b"\0" for prompt in group.prompts)
        output, _ = run(model, [*group.options, "--lines", "-0"], given, 1)
        together = of_lines(group.options, output, len(singles))
        together += [[]] * (len(singles) - len(together))
        for prompt, alone, line in zip(group.prompts, singles, together, strict=True):
            is_same = of_single(group.options, alone) == line
            num_same_in_lines += is_same
            if not is_same:
                print("not the same in --lines:", *group.options, prompt, alone, line, sep="\n  ", file=sys.stderr)
    return {
        "calls": num_calls,
        "same bytes for 1, 2 and again 1 threads": num_same,
        "same texts through --lines": num_same_in_lines,
        "failed": num_failed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parse_arguments(parser, smoke="{dir}/model {dir}/text.txt --calls 2")
    groups = random_groups(options.text.read_bytes(), options.calls, random.Random(options.seed))
    result = measure(options.model, groups)
    print(json.dumps(result, indent=1) if options.json else "\n".join(f"| {k} | {v} |" for k, v in result.items()))


if __name__ == "__main__":
    main()
