"""What may be shown of a name."""

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from gru_complete.errors import printable, shell_word


def test_names_are_printed_without_control_characters():
    assert printable("a b\x1b[0m\n\u202e\udcff\x9b") == r"a b\x1b[0m\n\u202e\udcff\x9b"
    assert printable(Path("ünïcode")) == "ünïcode"


def strings(count=500, seed=0):
    """File names of all kinds: bytes, control characters, quotes and what shells make something of."""
    rng = random.Random(seed)
    special = [
        *" \t\n\r\x1b\x07'\"\\$`!*?[]{}()<>|&;#~=%^-",
        "é",
        "日",
        "\u202e",
        "\u2028",
        "a\u0301",
        "🦌",
        "\udcff",
        "\udc80",
    ]
    for _ in range(count):
        plain = rng.choices("abcXYZ019._/-", k=rng.randint(1, 5))
        mixed = rng.choices(special, k=rng.randint(0, 5)) + plain
        rng.shuffle(mixed)
        yield "".join(mixed)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_word_for_a_shell_is_printable_and_comes_out_as_it_was():
    texts = list(strings())
    words = [shell_word(text) for text in texts]
    assert all(word.isprintable() for word in words)
    script = f"printf '%s\\0' {' '.join(words)}"
    result = subprocess.run(
        ["bash"],
        input=script.encode(),
        stdout=subprocess.PIPE,
        check=True,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
    )
    assert result.stdout.split(b"\0")[:-1] == [os.fsencode(text) for text in texts]


def test_a_plain_word_has_no_quotes():
    assert shell_word("novel-2.txt") == "novel-2.txt"
    assert shell_word(Path("my novel")) == "'my novel'"
    assert shell_word("~/x") == "'~/x'"
    assert shell_word("a\nb'c") == r"$'a\x0ab\'c'"
