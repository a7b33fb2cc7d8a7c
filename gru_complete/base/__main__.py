"""Make a base from a folder of texts: ``python -m gru_complete.base FOLDER MODEL``, which trains for two hours.

Phrases are stored only if three sources have them (``configs/base.yaml``). Each file is a source, unless the folder or
the one around it has a table ``SOURCES.tsv`` with the columns ``file`` and ``source``: then the files of one source
(what stands before an ``@``) are joined.
"""

import csv
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gru_complete.cli import app
from gru_complete.errors import UsageError

CONFIG = Path(__file__).parents[2] / "configs" / "base.yaml"
TABLE = "SOURCES.tsv"
GAP = b"\n\n\n"  # between two files of one source


def sources(folder: Path) -> Mapping[str, Sequence[Path]]:
    """The files of each source, sorted by name.

    Raises:
        UsageError: there is no text in the folder.
    """
    names = dict(_named_sources(folder))
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.txt")):
        found.setdefault(names.get(path.resolve(), str(path.relative_to(folder))), []).append(path)
    if not found:
        raise UsageError(f"no .txt file in {folder}")
    return found


def _named_sources(folder: Path) -> Iterator[tuple[Path, str]]:
    """The source of each file that the table names."""
    for place in (folder, folder.parent):
        table = place / TABLE
        if table.exists():
            with table.open(encoding="utf-8", newline="") as stream:
                for row in csv.DictReader(stream, delimiter="\t"):
                    yield (place / row["file"]).resolve(), row["source"].partition("@")[0]
            return


def join_sources(folder: Path, directory: Path) -> None:
    """Write one file for each source into an empty directory."""
    for number, paths in enumerate(sources(folder).values()):
        (directory / f"{number:05}.txt").write_bytes(GAP.join(path.read_bytes() for path in paths))


def main(arguments: Sequence[str]) -> int:
    """Train a base; further arguments go to ``train``."""
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder, model, *rest = arguments
    with tempfile.TemporaryDirectory(prefix="gru-complete-base-") as name:
        join_sources(Path(folder), Path(name))
        return app.run(["train", name, "-m", model, "-c", str(CONFIG), *rest])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
