"""Languages side by side: what a model writes in them is cut, listed and shown as their scripts want it."""

import unicodedata

import pytest

from gru_complete.cli.console import terminal_text
from gru_complete.cli.interactive import _without_controls
from gru_complete.model.manifest import TextFacts
from gru_complete.runtime.boundaries import UNTIL
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.session import TypingSession
from gru_complete.runtime.wordbreaks import spans
from gru_complete.runtime.words import most_likely_words

# By language: how a text begins, the rest of its sentence in the words or pieces of a model, and what follows.
SPACED = {
    "English": ("The old", [" man", " doesn’t", " know", " it", "."], " Who does?"),
    "German": ("„Das ist", [" unser", " Haus", ",", " Dr", ".", " Vogt", ".“"], " Sie nickte."),
    "French": ("«\u202fElle", [" n’est", " pas", " là", "\u202f!", "\u202f»"], " Il part."),
    "Spanish": ("¿Dónde", [" está", " el", " niño", "?"], " Aquí."),
    "Polish, decomposed": ("Zo\u0301\u0142ty", [" kwiat", " rosi\u0301nie", " tu", "!"], " Tak."),
    "Vietnamese, decomposed": ("Tô\u0301i", [" thi\u0301ch", " uô\u0301ng", " tra\u0300", "."], " Còn bạn?"),
    "Greek": ("Πού", [" είναι", " το", " σπίτι", ";"], " Εδώ."),
    "Russian": ("Кто-то", [" идёт", " по", " улице", "…"], " Тихо."),
    "Armenian": ("Նա", [" գնում", " է", " տուն", "։"], " Ես՝ ոչ։"),
    "Georgian": ("ის", [" მიდის", " სახლში", "."], " დიახ."),
    "Hebrew, pointed": ("שָׁלוֹם", [" לְכָל", " הָעוֹלָם", "!"], " כן."),
    "Arabic": ("أين", [" يذهبُ", " الولدُ", "؟"], " إلى البيت."),
    "Persian": ("او", [" می\u200cخواهد", " برود", "."], " نه؟"),
    "Urdu": ("وہ", [" گھر", " جاتا", " ہے", "۔"], " میں نہیں۔"),
    "Hindi": ("मेरी", [" बहन", " हिन्दी", " पढ़ती", " है", "।"], " मैं भी।"),
    "Bengali": ("আমি", [" বাংলায়", " লিখি", "।"], " তুমি?"),
    "Tamil": ("நான்", [" தமிழ்", " படிக்கிறேன்", "."], " நீ?"),
    "Amharic": ("እሱ", [" ወደ", " ቤት", " ሄደ", "።"], " እሷም።"),
    "Korean": ("나는", [" 집에", " 있다", "."], " 너는?"),
}
UNSPACED = {
    "Chinese": ("小明", ["今天", "去", "学校", "。"], "“好。”"),
    "Japanese": ("太郎は", ["学校", "へ", "行きます", "。"], "いいえ。"),
    "Burmese": ("သူ", ["အိမ်", "သို့", "သွားသည်", "။"], "ကျွန်တော်။"),
    "Khmer": ("គាត់", ["ទៅ", "ផ្ទះ", "។"], "ខ្ញុំ។"),
}
UNMARKED = {"Thai": ("แม่", ["ไป", "ตลาด", "วันนี้"], " พ่ออยู่บ้าน"), "Lao": ("ແມ່", ["ໄປ", "ຕະຫຼາດ"], " ພໍ່ຢູ່ບ້ານ")}
LANGUAGES = {**SPACED, **UNSPACED, **UNMARKED}
each_language = pytest.mark.parametrize("language", LANGUAGES)


@pytest.fixture
def writer(says):
    """What a model that writes a language makes of how a text begins."""

    def make(language):
        begins, pieces, following = LANGUAGES[language]
        return says(*pieces, following, prompt=begins.encode(), text=TextFacts(["Dr"]))

    return make


@each_language
def test_a_completion_is_the_rest_of_the_sentence(writer, language):
    begins, pieces, following = LANGUAGES[language]
    completion = writer(language).complete(begins.encode(), CompletionOptions())
    assert str(completion) == "".join(pieces) + (following if language in UNMARKED else "")


@each_language
def test_until_word_and_words_agree_on_the_next_word(writer, language):
    begins, pieces, _ = LANGUAGES[language]
    completer, prompt = writer(language), begins.encode()
    written = completer.complete(prompt, CompletionOptions(until="word"))
    assert str(written) == pieces[0]
    if language in SPACED:  # there the list without a space is of words that begin with the last
        prompt += b" "
    best = most_likely_words(completer.hypotheses(completer.read(prompt)), 1)[0]
    assert best.text == pieces[0].lstrip()


@each_language
def test_typing_is_offered_the_next_word_and_the_rest_of_the_sentence(writer, language):
    begins, pieces, following = LANGUAGES[language]
    typing = TypingSession(writer(language), CompletionOptions())
    listed = typing.candidates(begins.encode())
    assert [candidate.rest for candidate in listed] == [pieces[0]]
    assert listed[0].word == pieces[0].lstrip()
    suggested = typing.suggest(begins.encode())
    assert suggested.startswith("".join(pieces[:3]))
    assert suggested == "".join(pieces) + (following if language in UNMARKED else "") or len(suggested.split()) == 5


@pytest.mark.parametrize("language", SPACED)
def test_the_words_are_those_between_spaces_without_punctuation(language):
    begins, pieces, following = LANGUAGES[language]
    text = begins + "".join(pieces) + following
    expected = [word.strip("„“”«»¿?!.…;,։՝؟۔।።") for word in text.split()]
    assert [text[start:end] for start, end in spans(text)] == [word for word in expected if word]


@pytest.mark.parametrize("language", {**UNSPACED, **UNMARKED})
def test_without_spaces_every_letter_is_a_word_with_its_marks(language):
    begins, pieces, following = LANGUAGES[language]
    text = begins + "".join(pieces) + following
    words = [text[start:end] for start, end in spans(text)]
    letters = [character for character in text if unicodedata.category(character)[0] in "LMN"]
    assert "".join(words) == "".join(letters)
    assert all(unicodedata.category(word[0]).startswith("L") for word in words)
    assert all(unicodedata.category(mark).startswith("M") for word in words for mark in word[1:])


@each_language
def test_a_terminal_and_the_editor_show_it_as_it_is(language):
    begins, pieces, following = LANGUAGES[language]
    text = begins + "".join(pieces) + following
    assert terminal_text(text) == _without_controls(text) == text


@each_language
@pytest.mark.parametrize("until", UNTIL)
def test_no_end_is_within_a_letter_and_its_marks(writer, language, until):
    begins, pieces, following = LANGUAGES[language]
    written = str(writer(language).complete(begins.encode(), CompletionOptions(until=until)))
    rest = ("".join(pieces) + following).removeprefix(written)
    assert not rest or not unicodedata.category(rest[0]).startswith("M")
