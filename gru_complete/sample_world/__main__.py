"""The sample world as a program: ``python -m gru_complete.sample_world corpus|pairs|score``."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gru_complete.errors import CorpusError, GruCompleteError
from gru_complete.sample_world.pairs import minimal_pairs, sentences
from gru_complete.sample_world.probability import bits_per_byte
from gru_complete.sample_world.writing import generate
from gru_complete.storage.atomic import write_file

# ------------------------------------------------------------------------------------------------------ command line


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sample corpus, its minimal pairs or a fresh sample, or score a text of this world."""
    parser = argparse.ArgumentParser(prog="python -m gru_complete.sample_world", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    corpus = commands.add_parser("corpus", help="write articles to a file ('-': stdout)")
    corpus.add_argument("path", type=Path)
    corpus.add_argument("--bytes", type=int, default=1_000_000, dest="num_bytes", help="at least this many")
    corpus.add_argument("--seed", type=int, default=1, help="another seed, another sample")
    pairs = commands.add_parser("pairs", help="write minimal pairs whose sentences are not in a corpus")
    pairs.add_argument("path", type=Path)
    pairs.add_argument("--count", type=int, default=2400)
    pairs.add_argument("--seed", type=int, default=2)
    pairs.add_argument("--corpus", type=Path, required=True, help="the text to keep away from")
    score = commands.add_parser("score", help="print the exact bits per byte of a text of this world")
    score.add_argument("path", type=Path)
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except GruCompleteError as error:
        parser.exit(error.exit_code, f"error: {error}\n")


def _run(options: argparse.Namespace) -> None:
    if options.command == "score":
        print(f"{bits_per_byte(_read(options.path)):.6f}")
        return
    if options.command == "corpus":
        text = generate(options.num_bytes, seed=options.seed)
    else:
        known = set(sentences(_read(options.corpus)))
        lines = [json.dumps(asdict(pair)) for pair in minimal_pairs(options.count, seed=options.seed, exclude=known)]
        text = "\n".join(lines) + "\n"
    if str(options.path) == "-":
        sys.stdout.write(text)
    else:
        write_file(options.path, text.encode())


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"cannot read {path}: {error}") from None


if __name__ == "__main__":
    main()
