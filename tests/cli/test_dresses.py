"""The same text gives the same answer, whatever encoding, line ends and normal form it has, and wherever it is read."""

import hashlib
import json
import time
import unicodedata

import pytest

from gru_complete.api import load
from gru_complete.config import load_config
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.session import TypingSession
from gru_complete.training.run import TrainingRequest, run_training
from tests.conftest import TINY, small_text
from tests.dresses import DRESSES, FORMS, dressed

ACCENTS = str.maketrans({"a": "á", "o": "ộ"})
PROMPT = "The cat saw the\nold dog and the bird".translate(ACCENTS)
MANY_LINES = small_text(60).replace(". ", ".\n").replace("dog", "QzXv", 1).translate(ACCENTS)
PLAIN = ("utf-8", "\n", "NFC", "")
OPTIONS = ["--temperature", "0", "--max-tokens", "8", "--until", "none"]


def train(path, text):
    path.with_suffix(".txt").write_bytes(text)
    request = TrainingRequest([str(path.with_suffix(".txt"))], path, load_config(None, TINY), started=time.monotonic())
    for _ in run_training(request, stop_signal=lambda: None):
        pass
    return path


@pytest.fixture(scope="module", params=FORMS)
def model(request, tmp_path_factory):
    """A model of a text with accents; all of it has one form."""
    directory = tmp_path_factory.mktemp("dresses")
    text = unicodedata.normalize(request.param, small_text().translate(ACCENTS))
    return train(directory / "accents", text.encode())


def sample(step, *, lines=False):
    """Every so many dresses, and the plain one; a line of standard input ends only with LF or CRLF."""
    chosen = [dress for dress in DRESSES[1::step] if not lines or dress[1] in ("\n", "\r\n")]
    return [*chosen, PLAIN]


def forms():
    """The two forms, otherwise plain: for files of JSON."""
    return [("utf-8", "\n", form, "") for form in FORMS]


def complete_file(run, model, path):
    return run("complete", "-f", path, "-m", model, *OPTIONS)


def complete_stdin(run, model, path):
    return run("complete", "-m", model, *OPTIONS, stdin=path.read_bytes())


def complete_words(run, model, path):
    return run("complete", "-m", model, "--words", "4", stdin=path.read_bytes())


def primed(run, model, path):
    state = path.with_name("s.gru")
    assert run("prime", path, "--state-out", state, "-m", model, "-q")[0] == 0
    return run("complete", "", "--state-in", state, "-m", model, *OPTIONS)


def complete_lines(run, model, path):
    return run("complete", "--lines", "-m", model, *OPTIONS, stdin=path.read_bytes())


def words_by_line(run, model, path):
    return run("complete", "--lines", "--words", "3", "-m", model, stdin=path.read_bytes())


def file_before_lines(run, model, path):
    return run("complete", "--lines", "-f", path, "-m", model, *OPTIONS, stdin=b"x")


def checked(run, model, path):
    return run("check", "-m", model, "--threshold", "0.01", stdin=path.read_bytes())


def checked_lines(run, model, path):
    return run("check", "-m", model, "--lines", "--threshold", "0.01", stdin=path.read_bytes())


def evaluated(run, model, path):
    code, out, err = run("eval", "-", "-m", model, "--json", stdin=path.read_bytes())
    return code, {key: value for key, value in json.loads(out).items() if key != "tokens_per_second"}, err


def inspected(run, model, path):
    return run("inspect", "-", "-m", model, "--json", stdin=path.read_bytes())


def scored_pairs(run, model, path):
    text, _, wrong = path.read_text().partition("\n")
    path.write_text(json.dumps({"right": text, "wrong": wrong, "phenomenon": "x", "distance": 1}))
    return run("eval", "--pairs", path, "-m", model, "--json")


ENTRIES = [
    complete_file, complete_stdin, complete_words, primed, complete_lines, words_by_line, file_before_lines, checked,
    checked_lines, evaluated, inspected, scored_pairs,
]  # fmt: skip


def answers(entry, run, model, tmp_path, step):
    for dress in forms() if entry is scored_pairs else sample(step, lines=entry in (complete_lines, words_by_line)):
        path = tmp_path / "text.txt"
        path.write_bytes(dressed(MANY_LINES if entry is checked_lines else PROMPT, *dress))
        yield entry(run, model, path)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.__name__)
def test_a_text_gives_one_answer_in_all_dresses(run, model, tmp_path, entry):
    first, *others = answers(entry, run, model, tmp_path, 97)
    assert first[0] in (0, 1)
    assert first[1]
    assert others == [first] * len(others)


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.__name__)
def test_a_text_gives_one_answer_in_every_dress(run, model, tmp_path, entry):
    first, *others = answers(entry, run, model, tmp_path, 1)
    assert others == [first] * len(others)


def test_training_gives_the_same_weights_in_all_dresses(model, tmp_path):
    form = json.loads((model / "manifest.json").read_text())["training"]["normal_form"]
    expected = hashlib.sha256((model / "weights.safetensors").read_bytes()).hexdigest()
    text = small_text().translate(ACCENTS)
    for number, (encoding, line_end, _, leftover) in enumerate(DRESSES[5::300]):
        again = train(tmp_path / f"again{number}", dressed(text, encoding, line_end, form, leftover))
        assert hashlib.sha256((again / "weights.safetensors").read_bytes()).hexdigest() == expected


def test_what_is_echoed_is_what_was_given_byte_for_byte(run, model, tmp_path):
    path = tmp_path / "text.txt"
    for encoding, line_end, form, leftover in sample(29):
        given = dressed(PROMPT, encoding, line_end, form, leftover)
        path.write_bytes(given)
        as_text = given.decode(encoding)[encoding.endswith("be") :]  # decoding drops the other marks
        echoed = given if encoding.startswith("utf-8") else as_text.encode()
        _, plain, _ = run("complete", "-f", path, "-m", model, *OPTIONS)
        assert run("complete", "-f", path, "-m", model, "--echo", *OPTIONS)[1] == echoed + plain
        assert run("complete", "-m", model, "--echo", *OPTIONS, stdin=given)[1] == echoed + plain
        _, record, _ = run("complete", "-m", model, "--json", *OPTIONS, stdin=given)
        assert json.loads(record)["prompt"].encode() == echoed


def test_what_is_typed_is_suggested_for_in_all_dresses(model):
    completer = Completer.load(model)
    expected = TypingSession(completer, CompletionOptions()).suggest(dressed(PROMPT, *PLAIN), lambda: False)
    for encoding, *dress in DRESSES[::17]:
        if encoding == "utf-8":
            text = dressed(PROMPT, encoding, *dress)
            assert TypingSession(completer, CompletionOptions()).suggest(text, lambda: False) == expected


def test_python_reads_text_as_the_command_line_does(run, model, tmp_path):
    python = load(model)
    options = {"temperature": 0, "max_tokens": 8, "until": "none"}
    for dress in sample(61):
        given = dressed(PROMPT, *dress)
        completion = python.complete(given, **options)
        assert completion.data + b"\n" == run("complete", "-m", model, *OPTIONS, stdin=given)[1]
        assert completion.prompt == given
        assert python.words(given, 3) == python.words(dressed(PROMPT, *PLAIN), 3)
        assert python.check(given, threshold=0.01) == python.check(dressed(PROMPT, *PLAIN), threshold=0.01)
