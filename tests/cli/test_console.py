import sys
import unicodedata

import pytest

from gru_complete.cli.console import HARMFUL, Console, terminal_text


def test_colour_only_when_asked_for_or_on_a_terminal(run, monkeypatch):
    assert "\x1b" not in run("complete", "x")[2]
    console = Console("always")
    assert console.has_color(sys.stderr)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Console("auto").has_color(sys.stderr)


def test_the_colour_choice_holds_for_the_error_line_and_for_one_command_only(run, monkeypatch):
    assert run("--color", "always", "complete", "x")[2].startswith("\x1b[1;31merror:\x1b[0m no model")
    assert run("complete", "x")[2].startswith("error: no model")
    monkeypatch.setattr("gru_complete.cli.console.is_terminal", lambda _: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" in run("complete", "x")[2]
    assert "\x1b" not in run("--color", "never", "complete", "x")[2]


def test_what_could_steer_a_terminal_is_shown_as_an_escape():
    assert terminal_text("a\x1b[31mb\tc\nd\r\x9b\u202e") == "a\\x1b[31mb\tc\nd\\r\\x9b\\u202e"
    assert terminal_text("👩\u200d🚀 می\u200cخواهم") == "👩\u200d🚀 می\u200cخواهم"
    assert terminal_text("Ω", "latin-1") == "\\u03a9"


STEERING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def all_characters():
    return (chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)


def test_of_all_characters_those_are_harmful_that_control_break_lines_or_turn_the_direction():
    expected = {
        char
        for char in all_characters()
        if unicodedata.category(char) in ("Cc", "Zl", "Zp") or unicodedata.bidirectional(char) in STEERING
    }
    assert expected - {"\t", "\n"} == HARMFUL
    assert all(terminal_text(char) == ascii(char)[1:-1] for char in HARMFUL)


def test_all_other_characters_are_shown_as_they_are():
    harmless = "".join(char for char in all_characters() if char not in HARMFUL)
    assert terminal_text(harmless) == harmless


@pytest.mark.parametrize(
    "text",
    [
        "Il dit\xa0: «\u202fNon\xa0!\u202f»",
        "\u3000太郎は学校へ行く。",
        "\u200fשלום\u200e, עולם",
        "قال\u061c: نعم",
        "Donau\xaddampf\xadschiff",
        "می\u200cخواهم",
        "👩\u200d🚀 ❤\ufe0f",
    ],
)
def test_the_spaces_and_marks_of_scripts_are_shown_as_they_are(text):
    assert terminal_text(text) == text
