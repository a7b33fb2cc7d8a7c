"""Write the sample data, or score a text of the sample world.

python -m gru_complete.sample_world corpus data/watson.txt
python -m gru_complete.sample_world pairs data/watson-pairs.jsonl --corpus data/watson.txt
python -m gru_complete.sample_world score data/watson.txt
"""

if __name__ == "__main__":
    from gru_complete.search_paths import leave_out_current_directory

    leave_out_current_directory()

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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands ``corpus``, ``pairs`` and ``score``.

    Args:
        arguments: the words of the command line; those of the process if omitted.
    """
    parser = argparse.ArgumentParser(prog="python -m gru_complete.sample_world", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    corpus = commands.add_parser("corpus", help="write articles to a file ('-': stdout)")
    corpus.add_argument("path", type=Path)
    corpus.add_argument("--bytes", type=int, default=1_000_000, dest="num_bytes", help="the minimum size of the text")
    corpus.add_argument("--seed", type=int, default=1, help="another seed gives another text")
    pairs = commands.add_parser("pairs", help="write minimal pairs whose sentences are not in a corpus")
    pairs.add_argument("path", type=Path)
    pairs.add_argument("--count", type=int, default=2400)
    pairs.add_argument("--seed", type=int, default=2)
    pairs.add_argument("--corpus", type=Path, required=True, help="the text whose sentences no pair may contain")
    score = commands.add_parser("score", help="print the exact bits per byte of a text of this world")
    score.add_argument("path", type=Path)
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except GruCompleteError as error:
        parser.exit(error.exit_code, f"error: {error}\n")


def _run(options: argparse.Namespace) -> None:
    """Carry out a command.

    Raises:
        CorpusError: a text cannot be read, or the grammar cannot write it.
        UsageError: the grammar cannot give that many pairs.
        EnvironmentFailure: the result cannot be written.
    """
    if options.command == "score":
        print(f"{bits_per_byte(_read(options.path)):.6f}")
        return
    if options.command == "corpus":
        text = generate(options.num_bytes, seed=options.seed)
    else:
        seen = set(sentences(_read(options.corpus)))
        lines = [json.dumps(asdict(pair)) for pair in minimal_pairs(options.count, seed=options.seed, exclude=seen)]
        text = "\n".join(lines) + "\n"
    if str(options.path) == "-":
        sys.stdout.write(text)
    else:
        write_file(options.path, text.encode(), follows=True)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"cannot read {path}: {error}") from None


if __name__ == "__main__":
    main()
