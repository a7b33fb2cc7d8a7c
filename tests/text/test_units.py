"""Texts of lines and texts of sentences, all of them made here."""

import random
import textwrap

import pytest

from gru_complete.text.terminators import TERMINATORS
from gru_complete.text.units import Units, find_units

SEEDS = range(10)
NAMES = ["Anna", "Bo", "Carl", "Dina", "Eva", "Finn"]


def words(draw, number):
    return [draw.choice(["river", "stone", "green", "old", "house", "walks", "under", "a"]) for _ in range(number)]


def sentence(draw, mark="."):
    return f"{draw.choice(['The', 'The', 'Her', 'Some'])} {' '.join(words(draw, draw.randint(3, 20)))}{mark}"


def paragraph(draw):
    return " ".join(sentence(draw, draw.choice([".", ".", "?", "!", "…", '."'])) for _ in range(draw.randint(1, 6)))


def chinese_sentence(draw):
    return "他们" + "".join(draw.choices("山水人大小天地日月", k=draw.randint(3, 12))) + draw.choice("。。！？")


def lines_of(number, make):
    return "\n".join(make(index) for index in range(number))


OF_LINES = {
    "names": (lambda draw: lines_of(300, lambda _: f"{draw.choice(NAMES)} {draw.choice(NAMES)}son"), None),
    "a shell history": (
        lambda draw: lines_of(
            400, lambda _: draw.choice(["git add .", "cd ..", "git push", "git log", "./run.sh a.txt", "ls src/"])
        ),
        "git ",
    ),
    "a log of sentences": (
        lambda draw: lines_of(300, lambda i: f"2024-03-01 10:{i % 60:02} host {paragraph(draw)}"),
        "2024-03-01 ",
    ),
    "records with sentences": (
        lambda draw: lines_of(300, lambda i: f'{{"id": {i}, "text": "{paragraph(draw)}"}}'),
        '{"id": ',
    ),
    "CSV with sentences": (lambda draw: lines_of(300, lambda i: f'{i},"{sentence(draw)}",{i % 7}'), ""),
    "records without spaces": (lambda draw: lines_of(300, lambda i: f'{{"id":{i},"a":"{words(draw, 1)[0]}"}}'), '{"id'),
    "a chat": (
        lambda draw: lines_of(
            300, lambda i: f"{draw.choice(NAMES)}: {sentence(draw, draw.choice(['', '', '?', '!']))}"
        ),
        None,
    ),
    "a list": (lambda draw: lines_of(100, lambda _: f"- buy {' '.join(words(draw, 2))}"), "- buy "),
    "Chinese names": (lambda draw: lines_of(300, lambda _: "王小" + draw.choice("月日天地")), "王小"),
    "lines as long as a margin": (lambda draw: lines_of(300, lambda _: " ".join(words(draw, 30))[:72].strip()), None),
}
OF_SENTENCES = {
    "paragraphs and blank lines": (lambda draw: "\n\n".join(paragraph(draw) for _ in range(100)), "The "),
    "a paragraph a line": (lambda draw: "\n".join(paragraph(draw) for _ in range(100)), "The "),
    "paragraphs broken at a margin": (
        lambda draw: "\n\n".join(textwrap.fill(paragraph(draw), 72) for _ in range(100)),
        "The ",
    ),
    "broken at a margin without blank lines": (
        lambda draw: "\n".join(textwrap.fill("  " + paragraph(draw), 60) for _ in range(100)),
        "The ",
    ),
    "a sentence a line": (lambda draw: "\n".join(sentence(draw) for _ in range(200)), "The "),
    "one long line": (lambda draw: " ".join(sentence(draw) for _ in range(200)), "The "),
    "a Chinese paragraph a line": (
        lambda draw: "\n".join("".join(chinese_sentence(draw) for _ in range(5)) for _ in range(100)),
        "他们",
    ),
    "mail": (
        lambda draw: "\n".join(
            f"From: {draw.choice(NAMES)}\nSubject: {' '.join(words(draw, 2))}\n\nHi!\n\n{paragraph(draw)}\n"
            for _ in range(100)
        ),
        None,
    ),
}


@pytest.mark.parametrize("kind", OF_LINES)
def test_a_text_of_lines_is_known_by_its_lines(kind):
    check(*OF_LINES[kind], until="line")


@pytest.mark.parametrize("kind", OF_SENTENCES)
def test_prose_is_known_by_its_sentences_however_it_is_broken_into_lines(kind):
    check(*OF_SENTENCES[kind], until="sentence")


def test_prose_is_known_by_the_sentence_ends_of_every_script_also_after_a_mark():
    for terminator in sorted(TERMINATORS):
        draw = random.Random(terminator)
        for last in ("", "\u0948", "\u0301"):
            sentences = [" ".join(words(draw, 6)) + last + terminator for _ in range(60)]
            lines = [" ".join(sentences[place : place + 3]) for place in range(0, 60, 3)]
            assert find_units(["\n".join(lines).encode()]).until == "sentence", terminator


def check(make, beginning, until):
    for seed in SEEDS:
        text = make(random.Random(seed))
        found = find_units([text.encode()])
        assert found.until == until, text[:300]
        assert found.start == ("\n\n" if until == "sentence" and "\n\n" in text else "\n")
        if beginning is not None:
            assert found.beginning == beginning, text[:300]
        if found.beginning:
            occurs_at = sum(line.lstrip().startswith(found.beginning.strip()) for line in text.split("\n"))
            assert occurs_at >= 3 or until == "sentence"


def test_what_no_line_has_in_common_is_no_prompt():
    assert find_units([b"one a\ntwo b\nsix c\nten d\n" * 2]) == Units("line", "\n", "")
    assert find_units([b"tab\there\n" * 5]) == Units("line", "\n", "tab")
    assert find_units([b"\x1b[31mred\n" * 5]).beginning == ""


def test_a_text_without_a_word_or_a_line_has_no_beginning():
    assert find_units([]) == Units("sentence", "\n\n", "")
    assert find_units([b"\n\n\n"]).beginning == ""
    assert find_units([b"... --- ...\n" * 9]).beginning == ""


def test_blocks_may_cut_anywhere():
    text = "\n\n".join("Über Nacht fiel Schnee. Über Tag nicht." for _ in range(20)).encode()
    assert find_units([text]) == find_units(text[i : i + 7] for i in range(0, len(text), 7))
    assert find_units([text]) == Units("sentence", "\n\n", "Über ")
