"""What the documentation names exists: the targets of links, files, options; and the README stays short."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from gru_complete.cli.app import app
from tests.docs.blocks import read_blocks

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("benchmarks/*.md")),
]
CODE = re.compile(r"^    [^\n]*\n|^```.*?^```\n", re.MULTILINE | re.DOTALL)  # indented and fenced blocks
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FILE = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|c|yaml|grammar|md|toml))`")
OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z0][\w-]*")
SCRIPT_OPTION = re.compile(r'"(--[\w-]+)"')
README_WORDS = 1600


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = HEADING.findall(CODE.sub("", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("https://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_files_that_are_named_exist(page):
    """Paths are relative to the repository, the package or the page; in a listing of a directory, to that directory."""
    text = page.read_text(encoding="utf-8")
    places = [ROOT, ROOT / "gru_complete", page.parent]
    if page.name == "architecture.md":
        places += [path for path in (ROOT / "gru_complete").iterdir() if path.is_dir()]
    missing = [name for name in FILE.findall(text) if not any((place / name).exists() for place in places)]
    assert missing == []


@pytest.fixture(scope="module")
def options():
    """The options of each command, old spellings included, by the words that call it: `("models", "list")`."""
    return dict(options_below((), typer.main.get_command(app)))


def options_below(words, command):
    yield words, {"-h", "--help"}.union(*((*option.opts, *option.secondary_opts) for option in command.params))
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from options_below((*words, name), command.get_command(None, name))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_options_that_are_named_exist(page, options):
    """A bare option may belong to any command, or to a benchmark; one in a command line belongs to that command."""
    scripts = {option for path in ROOT.glob("benchmarks/*.py") for option in SCRIPT_OPTION.findall(path.read_text())}
    known = scripts.union(*options.values())
    codes = re.findall(r"`([^`\n]+)`", CODE.sub("", page.read_text(encoding="utf-8")))
    bare = {option for code in codes if code.startswith("-") for option in OPTION.findall(code)}
    assert bare - known == set()
    for block in read_blocks(page):
        for step in block.steps:
            codes.append(step.command)
    for code in codes:
        for words in calls(code):
            command = max((name for name in options if tuple(words[: len(name)]) == name), key=len)
            used = {word.split("=")[0] for word in words if OPTION.fullmatch(word.split("=")[0])}
            assert used - options[command] == set(), code


def calls(code):
    """The words after `gru-complete` in each call of it in a line of shell."""
    words = shlex.split(code, comments=True) if code.count('"') % 2 == code.count("'") % 2 == 0 else []
    while "gru-complete" in words:
        words = words[words.index("gru-complete") + 1 :]
        end = next(
            (place for place, word in enumerate(words) if word in {"|", "||", "&&", ";", ">", "<<<"}), len(words)
        )
        yield words[:end]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= README_WORDS
