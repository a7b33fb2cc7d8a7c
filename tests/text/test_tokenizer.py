import io
import os
import random
import re
import signal
import stat
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.errors import CorpusError, EnvironmentFailure, ModelError
from gru_complete.text import tokenizer as tokenizer_module
from gru_complete.text import tokenizer_child, tokenizer_training
from gru_complete.text.sentencepiece_model import FIRST_PIECE
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer, segments
from gru_complete.text.tokenizer_training import sample_blocks, train_tokenizer

SAMPLE = (
    b"Mr Watson goes to Paris, and Mrs Watson goes to Rome.\n\nThe dog went there in 1895.\n"
    b"def f(x):\n\t\treturn x\n\t\tgoes\n\t\tto\n\n        indented indented\n"
    + "Ein Mädchen, ▁▅␉. <unk> <0x0A> </s>\n".encode()
) * 20
TEXTS = [
    b"",
    b" ",
    b"On",
    b"On ",
    b"Mr Watson\n\nThe dog",
    b"\t\t\treturn  \r\n\x0b\x0c\x00",
    "▁ ▁▁a ▅ ␉\t \u2028\u3000 ﬁ \ufeff \uffff \U0010ffff e\u0301 👩\u200d👩".encode(),
    b"<unk><s></s><pad><0x00><0x0A> \xe2\x96\x81<unk>",
    b"\xff\xfe\x80 \xe2\x96 \xed\xa0\x80 Wat\xc3son",
    bytes(range(256)),
    "字".encode() * 50,
    b"x" * 64 + b" " * 200 + b"y" * 65,
]


@pytest.fixture(scope="module")
def model_bytes(tmp_path_factory):
    return train_tokenizer([SAMPLE[:1000], SAMPLE[1000:]], vocab_size=40, work_dir=tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="module")
def tokenizer(model_bytes):
    return Tokenizer(model_bytes)


# ------------------------------------------------------------------------------------------ encoding


def test_ids_are_the_document_end_then_bytes_then_pieces(tokenizer):
    assert tokenizer.vocab_size == len(tokenizer.pieces) == FIRST_PIECE + 40
    assert tokenizer.pieces[DOCUMENT_END] == b""
    assert tokenizer.pieces[1:FIRST_PIECE] == [bytes([value]) for value in range(256)]
    assert b" Watson" in tokenizer.pieces[FIRST_PIECE:]


@pytest.mark.parametrize("piece", [b" Watson", b"\n\n", b"\t\t", b"goes", b" "])
def test_pieces_hold_spaces_newlines_and_tabs(piece, tokenizer):
    assert any(piece in learnt for learnt in tokenizer.pieces[FIRST_PIECE:])


def test_frequent_words_are_one_token_and_digits_are_single(tokenizer):
    assert [tokenizer.pieces[token] for token in tokenizer.encode(b"Mr Watson\n\nThe 1895")][1:3] == [
        b" Watson",
        b"\n\n",
    ]
    assert all(len(re.findall(rb"\d", piece)) <= 1 for piece in tokenizer.pieces)


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_gives_back_what_was_encoded(text, tokenizer):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert DOCUMENT_END not in ids


@settings(max_examples=300, deadline=None)
@given(
    text=st.one_of(
        st.binary(max_size=300), st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    )
)
def test_any_bytes_come_back_and_are_never_a_document_end(text, tokenizer):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert DOCUMENT_END not in ids


@settings(max_examples=300, deadline=None)
@given(
    words=st.lists(
        st.sampled_from([b" ", b"\n", b"Watson", b"\xff", "字".encode(), b"x" * 63, b" " * 40, b"\x80"]), max_size=30
    ),
    cuts=st.lists(st.integers(1, 90), min_size=1, max_size=20),
)
def test_ids_do_not_depend_on_how_the_text_is_cut_into_blocks(words, cuts, tokenizer):
    text = b"".join(words)
    blocks, start = [b""], 0
    while start < len(text):
        size = cuts[len(blocks) % len(cuts)]
        blocks.append(text[start : start + size])
        start += size
    in_blocks = [token for ids in tokenizer.encode_blocks(blocks) for token in ids.tolist()]
    assert in_blocks == tokenizer.encode(text)
    assert in_blocks == [token for segment in segments(text) for token in tokenizer.encode_segment(segment)]


def test_a_long_text_is_encoded_in_blocks(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer_module, "_BLOCK_BYTES", 10)
    assert tokenizer.decode(tokenizer.encode(SAMPLE[:300])) == SAMPLE[:300]


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
    for row in tokenizer_child._rows(table):
        text, _, count = row.rpartition("\t")
        for word in re.findall(r" \w|\w|\n\w", text):
            counts[word] += int(count)
    assert counts == dict(table)


def test_what_is_remembered_of_a_text_is_bounded(model_bytes, monkeypatch):
    monkeypatch.setattr(tokenizer_module, "_CACHED_SEGMENTS", 5)
    forgetful = Tokenizer(model_bytes)
    assert forgetful.encode(SAMPLE) == Tokenizer(model_bytes).encode(SAMPLE)
    assert len(forgetful._packed_ids) <= 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"Mr Watson  goes\n\nThe end. ", [b"Mr", b" Watson", b"  goes", b"\n\nThe", b" end.", b" "]),
        (b" \t\r\n", [b" \t\r\n"]),
        (b"a" * 130, [b"a" * 64, b"a" * 64, b"aa"]),
        (b"x" + "字".encode() * 22, [b"x" + "字".encode() * 21, "字".encode()]),
        (b"\x80" * 65, [b"\x80" * 64, b"\x80"]),
        (" a\u3000b".encode(), [" a\u3000b".encode()]),
    ],
)
def test_segments_are_white_space_and_the_word_after_it(text, expected):
    assert list(segments(text)) == expected


# ------------------------------------------------------------------------------------------ training


def test_the_same_sample_gives_the_same_model(model_bytes, tmp_path):
    assert train_tokenizer([SAMPLE], vocab_size=40, work_dir=tmp_path) == model_bytes
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


def test_a_sample_without_words_is_a_corpus_error_without_places_in_c(tmp_path):
    with pytest.raises(CorpusError, match="^no tokenizer can be made of this text: ") as caught:
        train_tokenizer(["▅▁".encode() * 100], vocab_size=50, work_dir=tmp_path)
    assert ".cc" not in str(caught.value)


def test_training_imports_nothing_from_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "sentencepiece.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    assert train_tokenizer([SAMPLE], vocab_size=20, work_dir=tmp_path / "run")


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
def test_a_killed_training_is_an_environment_failure(number, child, tmp_path):
    child(f"kill -{int(number)} $$")
    with pytest.raises(EnvironmentFailure, match=rf"was killed \(signal {int(number)}, likely memory\)") as caught:
        train_tokenizer([SAMPLE] * 100, vocab_size=50, work_dir=tmp_path)
    assert "tokenizer.sample_bytes" in caught.value.hint


def test_a_broken_child_is_an_environment_failure(child, tmp_path):
    child("echo Traceback >&2; echo 'ImportError: no \x1b[31mmodule' >&2; exit 1")
    with pytest.raises(EnvironmentFailure, match=r"failed: ImportError: no \\x1b\[31mmodule$"):
        train_tokenizer([SAMPLE] * 100, vocab_size=50, work_dir=tmp_path)
    with pytest.raises(EnvironmentFailure, match="cannot start"):
        train_tokenizer([SAMPLE], vocab_size=50, work_dir=tmp_path / "missing")


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
            train_tokenizer([SAMPLE] * 100, vocab_size=50, work_dir=tmp_path)
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
        train_tokenizer(sample(), vocab_size=50, work_dir=tmp_path)
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


# -------------------------------------------------------------------------------- models of strangers


def test_the_tokenizer_of_a_stranger_may_not_do_anything_else(model_bytes):
    def piece(name, rest=b"\x15\0\0\0\0"):
        body = b"\x0a" + bytes([len(name)]) + name + rest
        return b"\x0a" + bytes([len(body)]) + body

    normalizer = b"\x1a\x10\x0a\x08identity\x12\x00\x18\x00\x20\x00"
    assert normalizer in model_bytes
    changed = {
        "empty": b"",
        "no pieces": normalizer,
        "cut off": model_bytes[:-1],
        "more": model_bytes + b"\0",
        "self test data": model_bytes + b"\x22\x00",
        "denormalizer": model_bytes + b"\x2a\x00",
        "second normalizer": model_bytes + normalizer,
        "group": model_bytes + b"\x0b\x0c",
        "endless number": model_bytes + b"\x80" * 11,
        "number for a message": model_bytes.replace(normalizer, b"\x18\x01"),
        "no normalizer": model_bytes.replace(normalizer, b""),
        "nfkc": model_bytes.replace(normalizer, b"\x1a\x0c\x0a\x04nfkc\x12\x00\x18\x00\x20\x00"),
        "character map": model_bytes.replace(normalizer, b"\x1a\x12\x0a\x08identity\x12\x02xy\x18\x00\x20\x00"),
        "dummy prefix": model_bytes.replace(normalizer, normalizer[:-3] + b"\x01\x20\x00"),
        "fewer spaces": model_bytes.replace(normalizer, normalizer[:-1] + b"\x01"),
        "rules": model_bytes.replace(normalizer, b"\x1a\x13" + normalizer[2:] + b"\x32\x01x"),
        "field twice": model_bytes.replace(normalizer, b"\x1a\x12" + normalizer[2:] + b"\x20\x00"),
        "bpe": model_bytes.replace(b"\x18\x01\x20", b"\x18\x02\x20"),
        "no byte fallback": model_bytes.replace(b"\x98\x02\x01", b"\x98\x02\x00"),
        "byte out of order": model_bytes.replace(b"<0x41>", b"<0x42>"),
        "user-defined piece": piece(b"new", b"\x15\0\0\0\0\x18\x04") + model_bytes,
        "appended user-defined piece": model_bytes + piece(b"new", b"\x15\0\0\0\0\x18\x04"),
        "control piece": model_bytes + piece(b"new", b"\x15\0\0\0\0\x18\x03"),
        "NUL piece": model_bytes + piece(b"a\0b"),
        "space in a piece": model_bytes + piece(b"a b"),
        "empty piece": model_bytes + piece(b""),
        "long piece": model_bytes + piece(b"a" * 65),
        "piece twice": model_bytes + piece("▁Watson".encode()),
        "no UTF-8": model_bytes + piece(b"\xff"),
        "NaN score": model_bytes + piece(b"new", b"\x15\0\0\xc0\x7f"),
        "infinite score": model_bytes + piece(b"new", b"\x15\0\0\x80\x7f"),
        "short score": model_bytes + piece(b"new", b"\x15\0\0"),
        "too many": model_bytes + piece(b"new") * 70_000,
        "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    }
    for name, data in changed.items():
        assert data != model_bytes, name
        with pytest.raises(ModelError, match="tokenizer model"):
            Tokenizer(data)
    assert Tokenizer(model_bytes + piece(b"new")).pieces[-1] == b"new"


def test_what_sentencepiece_refuses_or_changes_is_refused(model_bytes, monkeypatch):
    processor = tokenizer_module.sentencepiece.SentencePieceProcessor
    monkeypatch.setattr(processor, "IdToPiece", lambda *_: "x")
    with pytest.raises(ModelError, match="not what they seem"):
        Tokenizer(model_bytes)

    def fail(*_):
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")

    monkeypatch.setattr(processor, "LoadFromSerializedProto", fail)
    with pytest.raises(ModelError, match=r"cannot be loaded \(UnicodeDecodeError\)"):
        Tokenizer(model_bytes)


def check_mutants(model_bytes, num_mutants):
    rng = random.Random(1)
    loaded = 0
    for _ in range(num_mutants):
        data = bytearray(model_bytes)
        for _ in range(rng.choice([1, 1, 2, 8])):
            place = rng.randrange(len(data)) if rng.random() < 0.5 else -1 - rng.randrange(min(len(data), 120))
            change = rng.random()
            if change < 0.7:
                data[place] = rng.randrange(256)
            elif change < 0.8:
                del data[place]
            elif change < 0.9:
                data.insert(place, rng.randrange(256))
            else:
                del data[place : place + rng.randrange(1, 300)]
        try:
            tokenizer = Tokenizer(bytes(data))
        except ModelError:
            continue
        loaded += 1
        for text in TEXTS:
            ids = tokenizer.encode(text)
            assert tokenizer.decode(ids) == text
            assert DOCUMENT_END not in ids
    assert 0 < loaded < num_mutants


def test_damaged_models_are_refused_or_still_exact(model_bytes):
    check_mutants(model_bytes, 1500)


@pytest.mark.slow
def test_many_damaged_models_are_refused_or_still_exact(model_bytes):
    check_mutants(model_bytes, 30_000)
