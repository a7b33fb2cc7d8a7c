import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_complete.runtime.boundaries import UNTIL, TextCutter, boundary
from gru_complete.runtime.options import CompletionOptions
from gru_complete.text.letters import is_unspaced
from gru_complete.text.terminators import FULL_STOPS, SPACED_TERMINATORS, TERMINATORS, UNSPACED_TERMINATORS

ABBREVIATIONS = ("Mr", "Mrs", "etc")


def cut(text, until="none", *, before="", stops=(), size=1):
    """Feed a text in pieces of one size; return what was let through and why it ended."""
    cutter = TextCutter(boundary(until, before=before, abbreviations=ABBREVIATIONS), stops)
    through = []
    for start in range(0, len(text), size):
        through.append(cutter.feed(text[start : start + size]))
        if cutter.reason:
            return "".join(through), cutter.reason
    through.append(cutter.finish())
    return "".join(through), cutter.reason


WORDS = [
    ("", "son goes", "son"),
    ("Mr Wat", "son goes", "son"),
    ("Mr Watson", " goes home", " goes"),
    ("Mr Watson", ", who goes", ", who"),
    ("", " \n word\n", " \n word"),
    ("", "don't stop", "don't"),
    ("", "dogs' tails", "dogs"),
    ("", "wo_ rd", "wo_"),
    ("", "naïve 3", "naïve"),
    ("", "--x y", "--x"),
    ("He", " goes. She", " goes"),
    ("", '"Go!" she', '"Go'),
    ("", "well-known, old", "well-known"),
    ("", "nai\u0308ve, old", "nai\u0308ve"),
    ("", "हिन्दी। अब", "हिन्दी"),
    ("", "שָׁלוֹם, עולם", "שָׁלוֹם"),
    ("", "می\u200cخواهم.", "می\u200cخواهم"),
    ("❤", "\ufe0f und", "\ufe0f und"),
]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(("before", "text", "expected"), WORDS)
def test_a_word_ends_where_its_letters_and_marks_end(before, text, expected, size):
    assert cut(f"{text} ", "word", before=before, size=size) == (expected, "until")


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["今天", "很", "好。"], "今天"),
        ([" 今", "天"], " 今"),
        (["。", "きょう", "は"], "。きょう"),
        (["ไป", "เที่ยว", "กัน"], "ไป"),
        (["ก", "ั", "น", "ไป"], "กั"),
        (["ก", "ัน", "ไป"], "กัน"),
        (["\u0e31", "น", "ไป"], "\u0e31น"),
        (["မြန်", "မာ"], "မြန်"),
        (["GPU", "東京"], "GPU"),
    ],
)
def test_without_spaces_a_word_is_a_piece_with_its_marks(pieces, expected):
    cutter = TextCutter(boundary("word", before="", abbreviations=()), [])
    through = ""
    for piece in pieces:
        through += cutter.feed(piece)
        if cutter.reason:
            break
    assert (through, cutter.reason) == (expected, "until")


def test_a_line_ends_before_its_newline_even_at_once():
    assert cut("one\ntwo", "line") == ("one", "until")
    assert cut("\ntwo", "line") == ("", "until")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo\n\nthree", "one\ntwo"),
        ("one\n \t\ntwo", "one"),
        ("\n\none\n\n", "\n\none"),
        ("one\n  indented\n\n", "one\n  indented"),
    ],
)
def test_a_paragraph_ends_at_a_blank_line(text, expected):
    assert cut(text, "paragraph") == (expected, "until")


SENTENCES = [
    ("", "He goes. She", "He goes."),
    ("", " He goes! She", " He goes!"),
    ("", "Does he? She", "Does he?"),
    ("", "Well… She", "Well…"),
    ("", "Well... She", "Well..."),
    ("", "What?! She", "What?!"),
    ("", '"Go." She', '"Go."'),
    ("", "“Go.” She", "“Go.”"),
    ("", "„Geh.“ Sie", "„Geh.“"),
    ("", "«Va.» Elle", "«Va.»"),
    ("", "(He goes.) She", "(He goes.)"),
    ("", "(He goes (etc.).) She", "(He goes (etc.).)"),
    ("", "He goes.\nShe", "He goes."),
    ("", "Mr. Watson and Mrs. Watson go. She", "Mr. Watson and Mrs. Watson go."),
    ("", "J. Watson goes. She", "J. Watson goes."),
    ("", "In the U.S. they go. She", "In the U.S. they go."),
    ("", "At 3.50 it is. She", "At 3.50 it is."),
    ("", "See example.com now. She", "See example.com now."),
    ("", "Call Mr! She", "Call Mr!"),
    ("", "It was 1984. She", "It was 1984."),
    ("", "他走了。她", "他走了。"),
    ("", "「走。」她", "「走。」"),
    ("", "走吗？！她", "走吗？！"),
    ("", "CHAPTER ONE\n\nHe", "CHAPTER ONE"),
    ("", "CHAPTER ONE\n \nHe", "CHAPTER ONE"),
    ("", "one\ntwo. She", "one\ntwo."),
    ("He goes.", " She goes. He", " She goes."),
    ("He goes.", "\n\nShe goes. He", "\n\nShe goes."),
    ("He goes. ", "She goes. He", "She goes."),
    ("He saw Mr", ". Watson. He", ". Watson."),
    ("He saw Mr.", " Watson. He", " Watson."),
    ("He saw J", ". Watson. He", ". Watson."),
    ("In the U.S", ". they go. He", ". they go."),
    ("He goes", ". She", "."),
    ("He went etc", ".) They go. He", ".) They go."),
    ('"Go.', '" He left. She', '" He left.'),
]


@pytest.mark.parametrize(("before", "text", "expected"), SENTENCES)
def test_a_sentence_ends_after_its_marks_or_at_a_blank_line(before, text, expected):
    assert cut(text, "sentence", before=before) == (expected, "until")


SENTENCES_IN_SCRIPTS = [
    ("", "वह जाता है। वह आती है।", "वह जाता है।"),
    ("", "वह जाता है।वह आती है।", "वह जाता है।"),
    ("", "धर्मः॥ ततः", "धर्मः॥"),
    ("", "यह मित्र. यह घर", "यह मित्र."),  # not an initial: the letter follows a mark
    ("", "أين هو؟ في البيت.", "أين هو؟"),
    ("", "أين هو؟! في البيت.", "أين هو؟!"),
    ("", "وہ بی۔بی۔سی سنتا ہے۔ وہ", "وہ بی۔بی۔سی سنتا ہے۔"),
    ("", "Πού είναι; Εδώ.", "Πού είναι;"),
    ("", "Πού είναι\u037e Εδώ.", "Πού είναι\u037e"),
    ("", "He comes; she goes. He", "He comes; she goes."),
    ("", "Он идёт; она. Он", "Он идёт; она."),
    ("", "Նա գնում է։ Նա", "Նա գնում է։"),
    ("", "ቤት ነው። እሱ", "ቤት ነው።"),
    ("", "ནང་ལ་ཡོད། ཁོ་", "ནང་ལ་ཡོད།"),
    ("", "သွားသည်။သူ", "သွားသည်။"),
    ("", "ទៅផ្ទះ។ គាត់", "ទៅផ្ទះ។"),
    ("", "בְּרֵאשִׁית בָּרָא׃ וְהָאָרֶץ", "בְּרֵאשִׁית בָּרָא׃"),
    ("", "である．次に", "である．"),
    ("", "３．５である．次に", "３．５である．"),
    ("", "Ｕ．Ｓ．である。次", "Ｕ．Ｓ．である。"),
    ("", "行く｡次", "行く｡"),
    ("", "“走。”“好。”", "“走。”"),
    ("", "他走了。“好。”", "他走了。"),
    ("", "『走！』『好。』", "『走！』"),
    ("", "他走了！？（笑）", "他走了！？"),
    ("", "«\xa0Va.\xa0» Elle", "«\xa0Va.\xa0»"),
    ("", "«\u202fVa\u202f!\u202f» Elle", "«\u202fVa\u202f!\u202f»"),
    ("", "Va.\xa0Elle va. Il", "Va."),
    ("", "Va.\xa0« Oui", "Va."),
    ("", "M.\xa0Dupont va. Elle", "M.\xa0Dupont va."),
    ("", "É. Zola va. Elle", "É. Zola va."),
    ("", "E\u0301. Zola va. Elle", "E\u0301. Zola va."),
    ("", "»Gå.« Hun", "»Gå.«"),
    ("", "‹Va.› Elle", "‹Va.›"),
    ("", "״לך.״ היא", "״לך.״"),
    ("", "לך!\u200f היא", "לך!\u200f"),
    ("", "Ja‼\ufe0f Nein", "Ja‼\ufe0f"),
]


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize(("before", "text", "expected"), SENTENCES_IN_SCRIPTS)
def test_a_sentence_ends_as_its_script_ends_it(before, text, expected, size):
    assert cut(text, "sentence", before=before, size=size) == (expected, "until")


@pytest.mark.parametrize("space", [" ", "\n", "\u3000", "\xa0", "\u2009"], ids=ascii)
def test_each_terminator_of_unicode_ends_a_sentence_before_white_space(space):
    for terminator in sorted(TERMINATORS):
        for closer in ("", ")", "”", "»", "’’", "」", '"', "״", terminator, "!"):
            sentence = f"one two{terminator}{closer}"
            assert cut(f"{sentence}{space}three", "sentence") == (sentence, "until")


def test_without_white_space_those_end_a_sentence_that_are_not_inside_words():
    for terminator in sorted(UNSPACED_TERMINATORS):
        for following in ("x", "字", "“", "(", "3"):
            assert cut(f"one{terminator}{following}", "sentence") == (f"one{terminator}", "until")
    for terminator in sorted(SPACED_TERMINATORS):
        assert cut(f"v2{terminator}5x", "sentence") == (f"v2{terminator}5x", None)


def test_a_letter_after_any_mark_is_no_initial_and_a_mark_takes_none_of_its_word():
    marks = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("M")]
    assert len(marks) > 2000
    for mark in marks:
        assert cut(f"Xa{mark}b. Y", "sentence") == (f"Xa{mark}b.", "until")
        assert cut(f"Mr{mark}. Y", "sentence") == (f"Mr{mark}.", "until")


def test_every_full_stop_may_end_an_initial_or_an_abbreviation():
    for stop in sorted(FULL_STOPS):
        assert cut(f"J{stop} Watson and Mr{stop} Smith go{stop} She", "sentence") == (
            f"J{stop} Watson and Mr{stop} Smith go{stop}",
            "until",
        )


def test_a_model_that_writes_any_terminator_is_cut_after_it(says):
    for terminator in sorted(TERMINATORS):
        completer = says(" goes", terminator, " She", " goes", terminator, prompt=b"He")
        completion = completer.complete(b"He", CompletionOptions())
        assert (str(completion), completion.stop_reason) == (f" goes{terminator}", "until")


@pytest.mark.parametrize("text", ["He goes", "He goes.", "He went to Mr. ", "J. ", "走", "走。", "one\n", "\n\n", ""])
def test_a_text_without_a_certain_sentence_end_is_kept_whole(text):
    assert cut(text, "sentence") == (text, None)


def test_none_never_ends():
    assert cut("One. Two.\n\n\nThree", "none") == ("One. Two.\n\n\nThree", None)


def test_a_stop_string_ends_the_text_before_itself():
    assert cut("one END two", stops=["END"]) == ("one ", "stop")


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_the_first_stop_string_to_be_complete_counts(size):
    assert cut("xabcdx", stops=["abcd", "bc"], size=size) == ("xa", "stop")


def test_the_beginning_of_a_stop_string_is_held_back_and_no_more():
    cutter = TextCutter(boundary("none", before="", abbreviations=()), ["aab"])
    assert [cutter.feed(character) for character in "xaaab"] == ["x", "", "", "a", ""]
    assert cutter.reason == "stop"


def test_text_that_was_held_back_is_returned_when_the_text_ends():
    cutter = TextCutter(boundary("sentence", before="", abbreviations=()), ["\nEND"])
    assert (cutter.feed("x\nEN"), cutter.finish(), cutter.reason) == ("x", "\nEN", None)


def test_a_blank_line_is_held_back_until_the_next_character():
    cutter = TextCutter(boundary("paragraph", before="", abbreviations=()), [])
    assert [cutter.feed(character) for character in "x\n y"] == ["x", "", "", "\n y"]


def test_sentence_marks_are_not_held_back():
    cutter = TextCutter(boundary("sentence", before="", abbreviations=()), [])
    assert [cutter.feed(character) for character in 'Go." He'[:5]] == list('Go."') + [""]
    assert cutter.reason == "until"


def test_a_stop_string_before_the_end_of_the_sentence_wins():
    assert cut("He goes. She", "sentence", stops=["go"]) == ("He ", "stop")
    assert cut("He goes. She", "sentence", stops=["She"]) == ("He goes.", "until")
    assert cut("He goes. She", "sentence", stops=[". "]) == ("He goes.", "until")


texts = st.text(alphabet='aJ.!?…。" \n\t)é走।؟．;ω\u0301\xa0»“\u200d', max_size=30)


@given(text=texts, before=texts, until=st.sampled_from(UNTIL), stops=st.lists(texts.filter(bool), max_size=3))
def test_the_end_does_not_depend_on_how_the_text_is_cut(text, before, until, stops):
    if until == "word":
        text = "".join(character for character in text if not is_unspaced(character))
    at_once = cut(text, until, before=before, stops=stops, size=100)
    assert text.startswith(at_once[0])
    assert at_once[1] is not None or at_once[0] == text
    assert not any(stop in at_once[0] for stop in stops)
    for size in (1, 2, 3):
        assert cut(text, until, before=before, stops=stops, size=size) == at_once


@pytest.mark.parametrize("until", UNTIL)
def test_a_copy_of_a_cutter_is_independent(until):
    text = "A word. Another,\n \nand one more stop."
    for cut in range(len(text)):
        first = TextCutter(boundary(until, before="", abbreviations=()), ["stop"])
        first.feed(text[:cut])
        if first.reason:
            break
        second = first.copy()
        after = first.feed(text[cut:]), first.reason
        assert (second.feed(text[cut:]), second.reason) == after
