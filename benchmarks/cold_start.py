"""How long `complete` takes from the key press to its end, beside the imports that it cannot do without.

The two commands run in turn, so that a machine that changes its speed changes both; the ratio is what to quote.

    python benchmarks/cold_start.py [MODEL] [--runs 20]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

FLOOR = [sys.executable, "-c", "import numpy, sentencepiece, typer"]
COMMANDS = [["--help"], ["train", "--help"], ["complete", "--help"], ["eval", "--help"], ["models", "--help"]]


def seconds_of(command: list[str]) -> float:
    # Installed packages are compiled; a checkout whose bytecode may not be written would be compiled in every run.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="build/demo/watson")
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    ours = [sys.executable, "-m", "gru_complete", "complete", "Mr Watson goes", "-m", options.model]
    ours += ["--until", "none", "--max-tokens", "20"]
    pairs = [(seconds_of(ours), seconds_of(FLOOR)) for _ in range(options.runs + 1)][1:]
    result = {
        "complete_seconds": statistics.median(complete for complete, _ in pairs),
        "floor_seconds": statistics.median(floor for _, floor in pairs),
        "ratio": statistics.median(complete / floor for complete, floor in pairs),
    }
    for arguments in COMMANDS:
        command = [sys.executable, "-m", "gru_complete", *arguments]
        result[" ".join(arguments)] = statistics.median(seconds_of(command) for _ in range(5))
    print(json.dumps({name: round(value, 4) for name, value in result.items()}, indent=1))


if __name__ == "__main__":
    main()
