"""Kill a training with SIGKILL at random moments, again and again, and compare its end with one that was left alone.

    python benchmarks/kills.py [--kills 60] [--steps 400] [--seed 0]

Each kill hits a process that resumes the same run; the moments are uniform over the time that a training takes. The
last process is left to finish. Prints one JSON object; exit code 1 where the weights differ.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import GRU_COMPLETE, parse_arguments

from gru_complete.sample_world.writing import generate

SETTINGS = ["tokenizer.vocab_size=300", "model.hidden_size=48", "model.embedding_size=32", "model.dropout=0.2"]
SETTINGS += ["training.batch_size=8", "training.seq_len=32", "training.evaluations=40", "training.threads=1"]


def training(corpus: Path, model: Path, steps: int) -> list[str]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    command = [*GRU_COMPLETE, "train", str(corpus), "-m", str(model), "--steps", str(steps), "-q"]
    return [*command, *settings]


def weights_sha256(model: Path) -> str:
    return hashlib.sha256((model / "weights.safetensors").read_bytes()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parse_arguments(parser, smoke="--kills 1 --steps 10")
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        corpus = directory / "corpus.txt"
        corpus.write_text(generate(60_000, seed=3))
        start = time.monotonic()
        subprocess.run(training(corpus, directory / "straight", options.steps), check=True)
        whole_seconds = time.monotonic() - start
        expected = weights_sha256(directory / "straight")
        command = training(corpus, directory / "killed", options.steps)
        kills = trainings = equal = 0
        while kills < options.kills:
            process = subprocess.Popen(command)
            try:
                code = process.wait(timeout=rng.uniform(0, whole_seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                if not (directory / "killed.run" / "finished").exists():
                    continue
                code = 0  # killed on its way out, when all was written
            if code:
                print(f"a resumed training failed with exit code {code}", file=sys.stderr)
                return 1
            trainings += 1
            equal += weights_sha256(directory / "killed") == expected
            command = [*training(corpus, directory / "killed", options.steps), "--replace"]
        subprocess.run(command, check=True)
        trainings += 1
        equal += weights_sha256(directory / "killed") == expected
    print(
        json.dumps(
            {"kills": kills, "trainings_finished": trainings, "with_equal_weights": equal, "steps": options.steps}
        )
    )
    return int(equal != trainings)


if __name__ == "__main__":
    sys.exit(main())
