"""How long `complete` takes from the key press to its end, beside the imports that it cannot do without.

Everything is run in turn, round after round, so that a machine that changes its speed changes all; the ratios are
medians over the rounds, and they are what to quote. Beside the model, one of random weights with H=512 and V=2048 is
measured. With --old, another version completes the same in each round: 20 rounds are 20 pairs, old and new.

    python benchmarks/cold_start.py [MODEL] [--runs 20] [--old WHERE] [--new WHERE]

WHERE is a Python interpreter that has gru_complete installed, or a directory with a ``gru-complete`` script in it.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import make_random_models, parse_arguments, seconds_of

FLOOR = [sys.executable, "-c", "import numpy, sentencepiece, typer"]
COMMANDS = [["--help"], ["train", "--help"], ["complete", "--help"], ["eval", "--help"], ["models", "--help"]]
LARGE = (256, 512, 2048)  # E, H, V
DATA = Path(__file__).parent.parent / "data" / "watson.txt"


def program(where: str) -> list[str]:
    """The command that runs gru-complete there."""
    path = Path(where)
    return [str(path / "gru-complete")] if path.is_dir() else [where, "-m", "gru_complete"]


def seconds_in_turn(commands: Mapping[str, Sequence[str]], runs: int) -> dict[str, list[float]]:
    """The seconds of each command in each round, without the first, which warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for round_number in range(runs + 1):
        for name, command in commands.items():
            value = seconds_of(command)
            if round_number:
                seconds[name].append(value)
    return seconds


def cold_starts(model: str, programs: Mapping[str, Sequence[str]], runs: int) -> dict[str, float]:
    """Medians of the seconds of each program, and of its ratios to the imports and to the old program."""
    arguments = ["complete", "Mr Watson goes", "-m", model, "--until", "none", "--max-tokens", "20"]
    commands = {name: [*command, *arguments] for name, command in programs.items()}
    seconds = seconds_in_turn({**commands, "imports": FLOOR}, runs)
    result = {f"{name}_seconds": statistics.median(values) for name, values in seconds.items()}
    pairs = [(name, "imports") for name in programs] + [("new", "old")] * ("old" in programs)
    for one, other in pairs:
        ratios = [value / base for value, base in zip(seconds[one], seconds[other], strict=True)]
        result[f"{one}_to_{other}"] = statistics.median(ratios)
    return {name: round(value, 4) for name, value in result.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="build/demo/watson")
    parser.add_argument("--runs", type=int, default=20, help="rounds")
    parser.add_argument("--old", metavar="WHERE", help="another version to compare with")
    parser.add_argument("--new", metavar="WHERE", default=sys.executable, help="default: this interpreter")
    parser.add_argument("--text", type=Path, default=DATA, help="from which the tokenizer of the large model is made")
    options = parse_arguments(parser, smoke="{dir}/model --runs 1 --text {dir}/corpus.txt --old " + sys.executable)
    programs = {"new": program(options.new)}
    if options.old is not None:
        programs["old"] = program(options.old)
    with tempfile.TemporaryDirectory() as directory:
        _, large = make_random_models(Path(directory), options.text.read_bytes(), LARGE)
        models = {Path(options.model).name: options.model, "H=512, V=2048": str(large)}
        result: dict[str, object] = {name: cold_starts(path, programs, options.runs) for name, path in models.items()}
    helps = {" ".join(arguments): [*programs["new"], *arguments] for arguments in COMMANDS}
    times = seconds_in_turn(helps, min(5, options.runs))
    result |= {f"{name}, seconds": round(statistics.median(values), 4) for name, values in times.items()}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
