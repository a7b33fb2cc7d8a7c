"""Writes the listing in ``docs/architecture.md``: a line for each file, the first sentence of its docstring.

python docs/architecture.py
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gru_complete"
PAGE = ROOT / "docs" / "architecture.md"
START = "<!-- The rest of this page is written by docs/architecture.py. -->\n"
# In the order of imports: each room may import from those above it.
ROOMS = (
    *("storage", "text", "sample_world", "ngrams", "model", "nn", "training", "runtime"),
    *("checking", "evaluation", "inspection", "comparison", "cli", "base"),
)
OTHER_FILES = {
    "kernel.c": "The time loops of the default cell in float32",
    "bfloat16.c": "The time loops of the default cell in bfloat16, with matrix units or vectors",
    "watson.grammar": "The words and rules of the sample world",
    "page.html": "The page that `inspect --html` fills in",
}


def summary(path: Path) -> str:
    """The first sentence of a module's docstring, or what is known of a file without one."""
    if path.suffix != ".py":
        return OTHER_FILES[path.name]
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = " ".join(docstring.split("\n\n")[0].split())
    return first.removesuffix(".").replace("``", "`").replace("|", r"\|")


def listing() -> Iterator[str]:
    """The lines of the page below its hand-written part."""
    for room in ("", *ROOMS):
        directory = PACKAGE / room
        yield f"### `{room}/`" if room else "### `gru_complete/`"
        yield ""
        if room:
            yield f"{summary(directory / '__init__.py')}."
            yield ""
        yield "| file | holds |"
        yield "|---|---|"
        for path in sorted(directory.iterdir()):
            if path.is_file() and path.name != "py.typed" and not (room and path.name == "__init__.py"):
                yield f"| `{path.name}` | {summary(path)} |"
        yield ""


def page() -> str:
    """The whole page, its hand-written part as it is."""
    written = PAGE.read_text(encoding="utf-8").partition(START)[0]
    return "\n".join([written + START, *listing()]).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
