"""What may be shown of a name."""

from pathlib import Path

from gru_complete.errors import printable


def test_names_are_printed_without_control_characters():
    assert printable("a b\x1b[0m\n\u202e\udcff\x9b") == r"a b\x1b[0m\n\u202e\udcff\x9b"
    assert printable(Path("ünïcode")) == "ünïcode"
