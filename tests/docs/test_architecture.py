import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("architecture", ROOT / "docs/architecture.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_listing_says_what_the_docstrings_say(script):
    assert script.page() == PAGE, "run: python docs/architecture.py"


def test_the_listing_has_every_room(script):
    rooms = {path.name for path in script.PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert set(script.ROOMS) == rooms


def test_every_file_is_summed_up_in_one_line(script):
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", PAGE.partition(script.START)[2], re.MULTILINE)
    assert len(rows) > 100
    assert [name for name, summary in rows if not 10 < len(summary) < 140] == []


def test_the_files_to_look_in_are_there():
    section = PAGE.partition("## Where to look")[2].partition("\n## ")[0]
    paths = [path for path in re.findall(r"`([\w/]+\.py|\w+/)`", section)]
    assert len(paths) > 12
    assert [path for path in paths if not (ROOT / "gru_complete" / path).exists()] == []
