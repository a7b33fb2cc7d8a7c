import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest

from gru_complete.text.terminators import (
    FULL_STOPS,
    SPACED_TERMINATORS,
    TERMINATORS,
    UNSPACED_TERMINATORS,
    WIDE_FULL_STOPS,
)

ELLIPSIS, SOF_PASUQ, SHADS, GREEK_QUESTION_MARK = "…", "׃", "།༎༏༐༑༒", "\u037e"


def unicode_rows():
    """Each row of Unicode's own file: the first and last character, and their names."""
    text = Path(__file__).with_name("sentence_terminal.txt").read_text(encoding="utf-8")
    rows = re.findall(r"^([0-9A-F]+)(?:\.\.([0-9A-F]+))? +(.+)$", text, re.MULTILINE)
    for first, last, names in rows:
        name, _, last_name = names.partition("..")
        yield chr(int(first, 16)), chr(int(last or first, 16)), name, last_name or name


SENTENCE_TERMINAL = {chr(code) for first, last, *_ in unicode_rows() for code in range(ord(first), ord(last) + 1)}


def test_the_file_has_the_characters_that_its_names_say():
    for first, last, name, last_name in unicode_rows():
        assert unicodedata.name(first, name) == name  # this Python's Unicode may not have the newest yet
        assert unicodedata.name(last, last_name) == last_name
        assert unicodedata.category(first) in ("Po", "Cn")


def test_all_of_unicodes_terminators_end_sentences_and_few_others_do():
    assert len(SENTENCE_TERMINAL) == 170
    assert {*SENTENCE_TERMINAL, ELLIPSIS, SOF_PASUQ, *SHADS, GREEK_QUESTION_MARK} == TERMINATORS


def test_each_terminator_is_of_one_kind():
    kinds = (SPACED_TERMINATORS, WIDE_FULL_STOPS, UNSPACED_TERMINATORS)
    assert sum(map(len, kinds)) == len(TERMINATORS)
    assert FULL_STOPS <= TERMINATORS


@pytest.mark.skipif(shutil.which("perl") is None, reason="needs perl, which knows Unicode's properties")
def test_the_characters_are_those_of_perls_unicode():
    script = r"for (0..0xd7ff, 0xe000..0x10ffff) { print chr($_) if chr($_) =~ /\p{Sentence_Terminal}/ }"
    found = set(subprocess.run(["perl", "-CS", "-e", script], capture_output=True, check=True).stdout.decode())
    assert len(found) > 100
    # Perl's Unicode may be older than 17, and then has fewer; or newer, with characters that this Python does not know.
    assert all(unicodedata.category(character) == "Cn" for character in found - SENTENCE_TERMINAL)
