"""Is the automatic choice of a base right? Trains on each text from a base and from nothing, and asks what was chosen.

The last tenth of a text, at most 60 kB, is scored; the training has the rest.

    python benchmarks/base_choice.py TEXT... [--minutes 1] [--sizes 20000 100000] [--json out.json]
"""

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import machine, parse_arguments
from quality import measure

from gru_complete.model.directory import load_model
from gru_complete.model.home import BUILT_IN, built_in_model
from gru_complete.training.base_choice import BaseChoice, choose_base

MAX_TEST_BYTES = 60_000
WAYS = (BUILT_IN, "none")
KINDS = {"static": "static", "adapted": "learning as it reads"}


def parts(text: bytes, size: int | None) -> tuple[bytes, bytes]:
    """What to train on, ``size`` bytes of it if that is given, and the end of the text that follows it."""
    end = len(text) if size is None else min(len(text), size * 10 // 9)
    start = end - min(end // 10, MAX_TEST_BYTES)
    return tuple(part.decode(errors="ignore").encode() for part in (text[:start], text[start:end]))  # type: ignore[return-value]


def choice_of(base: Path, train: Path) -> BaseChoice:
    """What `train` would choose."""
    return choose_base(load_model(base), train, train.stat().st_size)


def row(path: Path, size: int | None, minutes: float, base: Path) -> dict[str, Any]:
    """All figures of one text of one size."""
    with tempfile.TemporaryDirectory(prefix="gru-complete-base-choice-") as name:
        train, test = Path(name, "train.txt"), Path(name, "test.txt")
        for file, data in zip((train, test), parts(path.read_bytes(), size), strict=True):
            file.write_bytes(data)
        choice = choice_of(base, train)
        runs = {
            way: measure(train, test, minutes, 0, [f"training.base={way if way == 'none' else base}"]) for way in WAYS
        }
        return {
            "text": path.name,
            "bytes": train.stat().st_size,
            **choice._asdict(),
            "chosen": BUILT_IN if choice.takes_base else "none",
            "minutes": minutes,
            "runs": runs,
        }


def bits(row: dict[str, Any], way: str, kind: str) -> float:
    scores = row["runs"][way]["scores"]
    return float(scores.get(kind, scores["static"])["bits_per_byte"])


def loss(row: dict[str, Any], kind: str) -> float:
    """How much worse the chosen way is than the better one."""
    return bits(row, row["chosen"], kind) / min(bits(row, way, kind) for way in WAYS) - 1


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| text | kB | base, unread | own counts | chosen | from the base | from nothing | worse than the better |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in rows:
        costs = [" / ".join(f"{bits(each, way, kind):.3f}" for kind in KINDS) for way in WAYS]
        worst = max(loss(each, kind) for kind in KINDS)
        cells = [each["text"], f"{each['bytes'] / 1000:,.0f}", f"{each['base_bits']:.2f}", f"{each['counts_bits']:.2f}"]
        lines.append("| " + " | ".join([*cells, each["chosen"], *costs, f"{100 * worst:.2f} %"]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", type=Path, nargs="+", metavar="TEXT")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--sizes", type=int, nargs="+", metavar="BYTES", help="to train on; default: all of each text")
    parser.add_argument("--base", type=Path, default=built_in_model(), help="default: the built-in one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure, row by row")
    smoke = "{dir}/corpus.txt --minutes 0.02 --base {dir}/model --json {dir}/choice.json"
    options = parse_arguments(parser, smoke=smoke)
    rows: list[dict[str, Any]] = []
    for path in options.texts:
        sizes = [size for size in options.sizes or [math.inf] if size * 10 / 9 < path.stat().st_size]
        for size in sizes or [None]:
            rows.append(row(path, size, options.minutes, options.base))
            if options.json is not None:
                options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    print(as_markdown(rows))
    print(f"\nin bits per byte: {' / '.join(KINDS.values())}; {options.minutes:g} minutes each")


if __name__ == "__main__":
    main()
