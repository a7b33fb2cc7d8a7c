import io
import os
import re
import signal
import stat
import sys

import pytest

from gru_complete.errors import CorpusError, EnvironmentFailure
from gru_complete.text import tokenizer_child, tokenizer_training
from gru_complete.text.sentencepiece_model import FIRST_PIECE
from gru_complete.text.tokenizer import Tokenizer
from gru_complete.text.tokenizer_training import sample_blocks, train_tokenizer
from tests.text.samples import SAMPLE


def test_words_are_learnt_also_where_nothing_varies_after_them():
    commands = b"git commit\ngit push\nmake\nls\n" * 50
    tokenizer = Tokenizer(tokenizer_child.train(commands, 40))
    assert {b"git", b" commit", b" push", b"make", b"ls"} <= set(tokenizer.pieces)


def test_a_text_of_ever_new_words_takes_bounded_memory(monkeypatch):
    monkeypatch.setattr(tokenizer_child, "MAX_WORDS", 3)
    text = b"often often twice" + b"".join(b" w%03d" % number for number in range(500)) + b" twice often"
    assert tokenizer_child._word_table(text, 100) == [(" often", 2), (" twice", 2), (" w000", 1)]


def test_no_word_is_counted_more_or_less_than_it_is():
    table = [(" a", 7), ("b", 5), (" c", 4), ("\nd", 2), (" e", 1)]
    counts = dict.fromkeys(dict(table), 0)
    for row in tokenizer_child._repeated_rows(table):
        text, _, count = row.rpartition("\t")
        for word in re.findall(r" \w|\w|\n\w", text):
            counts[word] += int(count)
    assert counts == dict(table)


def test_the_same_sample_gives_the_same_model(model_bytes):
    assert train_tokenizer([SAMPLE], vocab_size=40) == model_bytes
    assert Tokenizer(model_bytes).sha256 == Tokenizer(model_bytes).sha256


def test_a_model_holds_no_path_and_no_text_but_its_pieces(model_bytes):
    assert b"/" not in model_bytes.rpartition(b"\x12")[2]


@pytest.mark.parametrize("vocab_size", [1, 2, 10, 30, 50_000])
def test_the_vocabulary_is_what_the_sample_allows(vocab_size):
    tokenizer = Tokenizer(tokenizer_child.train(SAMPLE, vocab_size))
    assert FIRST_PIECE < tokenizer.vocab_size <= FIRST_PIECE + vocab_size
    assert vocab_size > 50 or vocab_size == 2 or tokenizer.vocab_size == FIRST_PIECE + vocab_size
    assert tokenizer.decode(tokenizer.encode(SAMPLE)) == SAMPLE


@pytest.mark.parametrize("sample", [b"a", b"ab", b"a b", b"the cat sat", "字がた。".encode(), b"\n\n\n"])
def test_a_tiny_sample_gives_a_tokenizer(sample):
    tokenizer = Tokenizer(tokenizer_child.train(sample, 100))
    assert tokenizer.decode(tokenizer.encode(sample)) == sample


def test_an_alphabet_larger_than_the_vocabulary_falls_back_to_bytes():
    text = "".join(chr(0x4E00 + number % 3000) for number in range(9000)).encode()
    tokenizer = Tokenizer(tokenizer_child.train(text, 200))
    assert tokenizer.vocab_size <= FIRST_PIECE + 200
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_sentencepieces_own_marks_do_not_lose_their_neighbours():
    text = "▅word▅ ▁other▁ ␉more␉\n".encode() * 50
    tokenizer = Tokenizer(tokenizer_child.train(text, 50))
    assert {b"word", b"other", b"more"} <= {piece.strip() for piece in tokenizer.pieces}
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_sample_without_words_is_a_corpus_error_without_places_in_c():
    with pytest.raises(CorpusError, match="^no tokenizer can be made of this text: ") as caught:
        train_tokenizer(["▅▁".encode() * 100], vocab_size=50)
    assert ".cc" not in str(caught.value)


def test_the_child_is_isolated_in_an_empty_directory(monkeypatch, tmp_path):
    (tmp_path / "sentencepiece.py").write_text("raise SystemExit(9)")
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", ["", ".", *sys.path])
    assert train_tokenizer([SAMPLE], vocab_size=20)
    child = "import os, sys; sys.path[:] = sys.argv[2:]; print(os.listdir(), sys.flags.isolated, '' in sys.path)"
    monkeypatch.setattr(tokenizer_training, "_CHILD", child)
    assert train_tokenizer([SAMPLE], vocab_size=20) == b"[] 1 False\n"


def test_the_child_reads_text_and_writes_a_model(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tokenizer_child", "30"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for text, code in ((SAMPLE, 0), (b"", tokenizer_child.REFUSED_SAMPLE)):
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(out))
            assert tokenizer_child.main() == code
            assert (len(out.getvalue()) > 0) == (code == 0)
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Replaces the Python that trains by a shell script."""

    def replace(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(path))

    return replace


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_training_is_an_environment_failure(number, child):
    child(f"kill -{int(number)} $$")
    with pytest.raises(EnvironmentFailure, match=rf"was killed \(signal {int(number)}, likely memory\)") as caught:
        train_tokenizer([SAMPLE] * 100, vocab_size=50)
    assert "tokenizer.sample_bytes" in caught.value.hint


def test_a_broken_child_is_an_environment_failure(child, tmp_path):
    child("echo Traceback >&2; echo 'ImportError: no \x1b[31mmodule' >&2; exit 1")
    with pytest.raises(EnvironmentFailure, match=r"failed: ImportError: no \\x1b\[31mmodule$"):
        train_tokenizer([SAMPLE] * 100, vocab_size=50)
    (tmp_path / "python").unlink()
    with pytest.raises(EnvironmentFailure, match="cannot start"):
        train_tokenizer([SAMPLE], vocab_size=50)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_ends_the_training_at_once(child, tmp_path):
    child("cat > /dev/null; exec sleep 100")

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.7)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_tokenizer([SAMPLE] * 100, vocab_size=50)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_an_error_while_reading_the_sample_ends_the_training(child, tmp_path):
    child("exec sleep 100")

    def sample():
        while not (tmp_path / "pid").exists():
            yield b"x"
        raise RuntimeError("disk gone")

    with pytest.raises(RuntimeError, match="disk gone"):
        train_tokenizer(sample(), vocab_size=50)
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_a_sample_is_all_of_a_short_text_and_spread_over_a_long_one(tmp_path, monkeypatch):
    path = tmp_path / "spool"
    path.write_bytes(b"".join(b"w%04d " % number for number in range(10_000)))
    assert b"".join(sample_blocks(path, [(0, 60), (120, 180)], max_bytes=120)) == b"".join(
        b"w%04d " % number for number in [*range(10), *range(20, 30)]
    )
    monkeypatch.setattr(tokenizer_training, "_SAMPLE_PIECE_BYTES", 100)
    blocks = list(sample_blocks(path, [(0, 30_000), (30_000, 60_000)], max_bytes=1000))
    assert len(blocks) == 10
    assert 800 < sum(map(len, blocks)) <= 1000
    assert all(re.fullmatch(rb"( w\d{4})+", block) for block in blocks)
    numbers = [int(block[2:6]) for block in blocks]
    assert numbers == [1, 1001, 2001, 3001, 4001, 5001, 6001, 7001, 8001, 9001]


def test_a_sample_of_a_text_without_white_space_is_cut_anywhere(tmp_path):
    path = tmp_path / "spool"
    path.write_bytes(b"x" * 5000)
    assert list(sample_blocks(path, [(0, 5000)], max_bytes=1000)) == [b"x" * 1000]
