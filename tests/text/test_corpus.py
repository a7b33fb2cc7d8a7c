import bz2
import gzip
import io
import lzma
import os
import random
import tracemalloc
import zipfile
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.errors import CorpusError, EnvironmentFailure
from gru_complete.text import abbreviations, corpus
from gru_complete.text.abbreviations import find_abbreviations
from gru_complete.text.corpus import read_blocks, spool
from gru_complete.text.splitting import split

TEXT_FILES = (".txt", "md")


def spooled(data, name="-"):
    """What one document becomes, with its report."""
    out = io.BytesIO()
    return out.getvalue, spool([name], out, extensions=TEXT_FILES, stdin=io.BytesIO(data))


def outcome(data):
    """The clean text and the report, or the error."""
    out = io.BytesIO()
    try:
        report = spool(["-"], out, extensions=(), stdin=io.BytesIO(data)).report
    except CorpusError as error:
        return str(error)
    return out.getvalue(), report


def spool_files(sources):
    out = io.BytesIO()
    result = spool([str(source) for source in sources], out, extensions=TEXT_FILES)
    return out.getvalue(), result


# ------------------------------------------------------------------------------------------- reading


def test_the_report_counts_what_is_there(tmp_path):
    (tmp_path / "a.txt").write_bytes("eins\nzwölf\n".encode())
    (tmp_path / "b.txt").write_bytes(b"no line end")
    text, result = spool_files([tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "a.txt"])
    assert text == "eins\nzwölf\nno line endeins\nzwölf\n".encode()
    assert result.document_ends == [12, 23, 35]
    report = result.report
    assert (report.num_bytes, report.num_chars, report.num_documents, report.num_duplicates) == (35, 33, 3, 1)
    assert (report.num_lines, report.longest_line_bytes) == (5, 11)
    assert report.distinct_chars == len(set("eins\nzwölfno line end"))
    assert report.notes == ()


def test_the_hash_knows_text_and_document_ends(tmp_path):
    for name, text in {"a": "a", "ab": "ab", "bc": "bc", "c": "c"}.items():
        (tmp_path / name).write_text(text)
    hashes = {
        spool_files([tmp_path / name for name in names])[1].report.sha256
        for names in (["a", "bc"], ["ab", "c"], ["a", "c"], ["c", "a"])
    }
    assert len(hashes) == 4


@settings(max_examples=200, deadline=None)
@given(
    pieces=st.lists(
        st.sampled_from(["\r", "\n", "\r\n", "x", "é", "字", "\U0001f600", "\ufeff", "\u2028"]), max_size=40
    ),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    block_bytes=st.integers(8, 40),
)
def test_clean_text_does_not_depend_on_the_blocks_it_is_read_in(pieces, encoding, block_bytes):
    text = "start " + "".join(pieces)
    data = text.encode(encoding)
    with mock.patch.object(corpus, "BLOCK_BYTES", block_bytes):
        in_blocks = outcome(data)
    assert in_blocks == outcome(data)
    assert in_blocks[0] == text.replace("\r\n", "\n").encode()


@settings(max_examples=300, deadline=None)
@given(data=st.binary(min_size=1, max_size=60), block_bytes=st.integers(8, 24))
def test_any_bytes_are_read_or_refused_whatever_the_blocks(data, block_bytes):
    with mock.patch.object(corpus, "BLOCK_BYTES", block_bytes):
        in_blocks = outcome(data)
    assert in_blocks == outcome(data)


@pytest.mark.parametrize("position", [0, 6, 15, 16, 17, 40])
@pytest.mark.parametrize("bad", [b"\xff", b"\xc3(", b"\xed\xa0\x80"])
def test_invalid_utf8_is_refused_with_byte_and_line(position, bad, monkeypatch):
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 16)
    good = ("äöü\r\n" * 10).encode()
    position -= position % 8 % 2  # between characters
    message = f"not valid UTF-8 at byte {position} (line {1 + good[:position].count(10)}): 0x{bad[0]:02x}"
    with pytest.raises(CorpusError) as caught:
        spooled(good[:position] + bad + good[position:])
    assert message in str(caught.value)
    assert "iconv -f LATIN1 -t UTF-8 | gru-complete train - -m NAME" in caught.value.hint


def test_a_character_cut_off_at_the_end_is_refused():
    with pytest.raises(CorpusError, match=r"not valid UTF-8 at byte 4 \(line 2\): 0xe2"):
        spooled(b"abc\n\xe2\x82")


@pytest.mark.parametrize(
    ("data", "position", "encoding"),
    [
        (b"a\r\nb\0cdefghi", 4, None),
        ("plain text".encode("utf-16-le"), 1, "UTF-16LE"),
        ("plain text".encode("utf-16-be"), 0, "UTF-16BE"),
    ],
)
def test_a_nul_is_refused_with_its_place_and_a_guess(data, position, encoding):
    with pytest.raises(CorpusError, match=rf"looks binary \(NUL at byte {position}\)") as caught:
        spooled(data)
    assert encoding is None or f"iconv -f {encoding} " in caught.value.hint


def test_utf16_without_a_mark_is_recognised_before_its_first_nul():
    with pytest.raises(CorpusError, match="not valid UTF-8 at byte 0") as caught:
        spooled("äußerst einfach".encode("utf-16-le"))
    assert "iconv -f UTF-16LE " in caught.value.hint


def test_a_nul_in_utf16_is_refused_with_its_place():
    with pytest.raises(CorpusError, match=r"NUL at byte 6"):
        spooled("é字\0".encode("utf-16"))


def zipped(data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "kind", "command"),
    [
        (gzip.compress(b"text"), "gzip data", "gzip -dc ./-x.txt |"),
        (lzma.compress(b"text"), "xz data", "xz -dc"),
        (bz2.compress(b"text"), "bzip2 data", "bzip2 -dc"),
        (b"\x28\xb5\x2f\xfd....", "zstd data", "zstd -dc"),
        (b"7z\xbc\xaf\x27\x1c", "7z archive", "7z x -so"),
        (zipped(b"text"), "zip archive", "unzip -p"),
        (b"%PDF-1.7\n", "a PDF", "pdftotext ./-x.txt - |"),
        (b"\x89PNG\r\n\x1a\n", "an image", None),
    ],
)
def test_what_is_no_text_is_refused_with_the_command_that_helps(data, kind, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x.txt").write_bytes(data)
    with pytest.raises(CorpusError, match=f"corpus '-x.txt' is .*{kind}") as caught:
        spool_files(["-x.txt"])
    assert command is None or command in caught.value.hint


def test_text_that_only_begins_like_an_archive_is_text():
    assert outcome(b"BZh is an abbreviation\n")[0] == b"BZh is an abbreviation\n"


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8-sig", "a byte order mark was dropped"),
        ("utf-16", "UTF-16 became UTF-8"),
        ("utf-32", "UTF-32 became UTF-8"),
    ],
)
def test_byte_order_marks_are_understood_and_noted(encoding, note):
    text, report = outcome("Grüße\n".encode(encoding))
    assert text == "Grüße\n".encode()
    assert report.notes == (f"standard input: {note}",)


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-32-be"])
def test_big_endian_marks_are_understood(encoding):
    assert outcome("\ufeffGrüße\n".encode(encoding))[0] == "Grüße\n".encode()


def test_a_broken_utf16_text_is_refused():
    with pytest.raises(CorpusError, match=r"not valid UTF-16 at byte 4 \(line 1\)") as caught:
        spooled("a".encode("utf-16") + b"\x00\xdc" + "b".encode("utf-16-le"))
    assert caught.value.hint is None


def test_crlf_becomes_lf_and_other_returns_stay(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a\r\nb\rc\r\r\n\r")
    (tmp_path / "b.txt").write_bytes(b"a\r\n")
    text, result = spool_files([tmp_path])
    assert text == b"a\nb\rc\r\n\ra\n"
    assert result.report.notes == ("2 files: CRLF line ends became LF",)


def test_directories_are_read_in_order_by_ending_and_without_hidden_files(tmp_path):
    for name in ["b.txt", "a.TXT", "c.md", "d.png", ".e.txt", "sub/f.txt", ".git/g.txt", "empty.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("" if name == "empty.txt" else name)
    os.mkfifo(tmp_path / "fifo.txt")
    text, result = spool_files([tmp_path])
    assert text == b"a.TXTb.txtc.mdsub/f.txt"
    assert result.report.notes == (f"{tmp_path}/empty.txt: empty, left out",)


def test_a_directory_without_known_files_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(CorpusError, match="is a directory without files of the known kinds") as caught:
        spool_files([tmp_path])
    assert "data.extensions" in caught.value.hint


@pytest.mark.parametrize("name", ["missing.txt", "a\x1b[2J\n.txt", "--help", "nul\0.txt"])
def test_a_missing_file_is_one_line_without_control_characters(name):
    with pytest.raises(CorpusError, match=r"^cannot read corpus '.*': [a-z]") as caught:
        spool_files([name])
    assert str(caught.value).isprintable()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    (tmp_path / "a.txt").touch(mode=0)
    with pytest.raises(CorpusError, match="permission denied"):
        spool_files([tmp_path / "a.txt"])


def test_a_directory_that_cannot_be_listed_is_refused(tmp_path, monkeypatch):
    def walk(top, onerror):
        onerror(PermissionError(13, "Permission denied", top))

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(CorpusError, match="permission denied"):
        spool_files([tmp_path])


def test_a_fifo_is_read(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    if os.fork() == 0:
        try:
            path.write_bytes(b"through a pipe")
        finally:
            os._exit(0)
    assert spool_files([path])[0] == b"through a pipe"
    os.wait()


def test_standard_input_may_come_in_drops():
    class Drops(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 3))

    out = io.BytesIO()
    spool(["-"], out, extensions=(), stdin=Drops(gzip.compress(b"x")[:0] + "\ufeffGrüße\r\n".encode() * 2))
    assert out.getvalue() == "Grüße\n\ufeffGrüße\n".encode()


def test_standard_input_is_read_once_and_must_be_open(monkeypatch):
    with pytest.raises(CorpusError, match="only be read once"):
        spool(["-", "-"], io.BytesIO(), extensions=(), stdin=io.BytesIO(b"x"))
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(CorpusError, match="standard input is closed"):
        spool(["-"], io.BytesIO(), extensions=())


@pytest.mark.parametrize(("data", "problem"), [(b"", r"is empty \(0 bytes"), (b" \n\t", "nothing but white space")])
def test_a_corpus_without_text_is_refused(data, problem, tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=f"^corpus '.*x.txt' .*{problem}"):
        spool_files([path])
    with pytest.raises(CorpusError, match="^the corpus "):
        spool_files([path, path])


class LongLine(io.RawIOBase):
    """A stream of so many bytes that nobody stores."""

    def __init__(self, num_bytes):
        self.left = num_bytes

    def read(self, size=-1):
        size = min(size, self.left)
        self.left -= size
        return b"x" * size


class Discard:
    def write(self, data):
        pass


def peak_bytes(num_bytes):
    tracemalloc.start()
    report = spool(["-"], Discard(), extensions=(), stdin=LongLine(num_bytes)).report
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.longest_line_bytes == report.num_chars == num_bytes
    return peak


def test_one_long_line_takes_bounded_memory():
    assert peak_bytes(50_000_000) < 25_000_000


@pytest.mark.slow
def test_one_line_of_a_gigabyte_takes_bounded_memory():
    assert peak_bytes(1_000_000_000) < 25_000_000


# ----------------------------------------------------------------------------------------- splitting


def split_text(tmp_path, documents, *, held_out=0.1, tuning=0.05, max_held_out_bytes=10**6, max_tuning_bytes=10**6):
    """The three parts as lists of texts."""
    path = tmp_path / "spool"
    path.write_bytes(b"".join(documents))
    ends = [sum(map(len, documents[: index + 1])) for index in range(len(documents))]
    parts = split(
        path,
        ends,
        held_out=held_out,
        max_held_out_bytes=max_held_out_bytes,
        tuning=tuning,
        max_tuning_bytes=max_tuning_bytes,
    )
    data = path.read_bytes()
    return [[data[start:end] for start, end in part] for part in (parts.training, parts.tuning, parts.held_out)]


def lines(first, last):
    return b"".join(b"line %06d\n" % number for number in range(first, last))


def test_held_out_text_is_the_end_and_one_slice_of_a_small_text_is_its_middle(tmp_path):
    training, tuning, held_out = split_text(tmp_path, [lines(0, 1000)])
    assert training == [lines(0, 425), lines(475, 900)]
    assert tuning == [lines(425, 475)]
    assert held_out == [lines(900, 1000)]


def test_the_tuning_slices_of_a_large_text_are_spread_evenly(tmp_path):
    training, tuning, held_out = split_text(tmp_path, [lines(0, 16_000)], held_out=0)
    assert tuning == [lines(950 + 2000 * index, 1050 + 2000 * index) for index in range(8)]
    assert b"".join(sorted(training + tuning)) == lines(0, 16_000)
    assert held_out == []


def test_parts_are_cut_at_documents_that_are_near(tmp_path):
    documents = [lines(0, 424), lines(424, 476), lines(476, 896), lines(896, 1000)]
    training, tuning, held_out = split_text(tmp_path, documents)
    assert (training, tuning, held_out) == ([documents[0], documents[2]], [documents[1]], [documents[3]])


def test_a_slice_may_span_documents(tmp_path):
    documents = [lines(10 * index, 10 * index + 10) for index in range(100)]
    _, tuning, _ = split_text(tmp_path, documents, held_out=0, tuning=0.08)
    assert len(tuning) == 8
    assert all(document in documents for document in tuning)


def test_held_out_text_may_hold_many_documents_and_a_part_of_one(tmp_path):
    documents = [lines(number, number + 30) for number in range(0, 990, 30)]
    training, tuning, held_out = split_text(tmp_path, documents)
    assert b"".join(sorted(training + tuning + held_out)) == lines(0, 990)
    assert held_out == [lines(891, 900), *documents[-3:]]  # 99 of 990 lines


def test_the_largest_sizes_hold(tmp_path):
    _, tuning, held_out = split_text(tmp_path, [lines(0, 1000)], max_held_out_bytes=105, max_tuning_bytes=60)
    assert held_out == [lines(992, 1000)]
    assert len(tuning) == 1
    assert len(tuning[0]) == 60


def test_a_single_line_is_cut_before_white_space(tmp_path):
    training, tuning, held_out = split_text(tmp_path, [b"word " * 2000])
    assert all(part[0].startswith(b" word") for part in (tuning, held_out))
    assert abs(len(held_out[0]) - 1000) <= 2


def test_a_single_word_is_cut_between_characters(tmp_path):
    parts = split_text(tmp_path, ["字".encode() * 3001])
    assert "".join(text.decode() for part in parts for text in part) == "字" * 3001
    assert abs(len(parts[2][0]) - 900) <= 3


def test_a_repeated_document_stays_with_the_first_one(tmp_path):
    first, middle, last = lines(0, 300), lines(300, 700), lines(2000, 2300)
    training, tuning, held_out = split_text(tmp_path, [first, middle, last, first])
    assert training.count(first) == 2
    assert b"".join([*sorted(training[:-1] + tuning), *held_out]) == first + middle + last


def test_repeats_of_held_out_text_are_left_out(tmp_path):
    document = lines(0, 1000)
    training, tuning, held_out = split_text(tmp_path, [document, document, document])
    assert b"".join(sorted(training + tuning) + held_out) == document


@pytest.mark.parametrize("num_bytes", [1, 41, 1023])
def test_a_small_corpus_is_refused_with_the_size_that_is_needed(num_bytes, tmp_path):
    with pytest.raises(CorpusError, match=rf"{num_bytes} bytes of text; at least 1024 are needed"):
        split_text(tmp_path, [b"x" * num_bytes])
    with pytest.raises(CorpusError, match="repeated documents aside"):
        split_text(tmp_path, [b"x" * num_bytes] * 2000)


def test_shares_that_leave_nothing_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="leave too little of 12000 bytes"):
        split_text(tmp_path, [lines(0, 1000)], held_out=0.5, tuning=0.5)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_documents=st.integers(1, 12),
    alphabet=st.sampled_from(["ab \n", "ab ", "字é", "a\n", "字\u3000\n"]),
    held_out=st.sampled_from([0, 0.01, 0.1, 0.4]),
    tuning=st.sampled_from([0.03, 0.3]),
    most=st.sampled_from([70, 500, 10**6]),
)
def test_parts_are_disjoint_complete_in_order_and_of_the_right_size(
    tmp_path_factory, seed, num_documents, alphabet, held_out, tuning, most
):
    rng = random.Random(seed)
    documents = ["".join(rng.choices(alphabet, k=rng.choice([1, 30, 2000]))).encode() for _ in range(num_documents)]
    documents = list(dict.fromkeys([*documents, "".join(rng.choices(alphabet, k=1500)).encode()]))
    total = sum(map(len, documents))
    parts = split_text(
        tmp_path_factory.mktemp("split"),
        documents,
        held_out=held_out,
        tuning=tuning,
        max_held_out_bytes=most,
        max_tuning_bytes=most,
    )
    assert sorted(b"".join(sum(parts, []))) == sorted(b"".join(documents))
    assert b"".join(documents).endswith(b"".join(parts[2]))
    assert all(text.decode() for part in parts for text in part)
    for part, share in zip(parts[1:], (tuning, held_out), strict=True):
        size = sum(map(len, part))
        wanted = min(max(total * share, 64), most) if share else 0
        assert wanted * 0.5 - 4 <= size <= min(wanted * 1.05 + 1, most)
    assert parts[0]


def test_a_spool_that_shrank_or_went_away_is_an_environment_failure(tmp_path):
    path = tmp_path / "spool"
    with pytest.raises(EnvironmentFailure, match="cannot read"):
        list(read_blocks(path, 0, 10))
    path.write_bytes(b"abcdef")
    assert list(read_blocks(path, 1, 6, block_bytes=2)) == [b"bc", b"de", b"f"]
    with pytest.raises(EnvironmentFailure, match="ends at byte 6"):
        list(read_blocks(path, 0, 10))


# ------------------------------------------------------------------------------------- abbreviations


def test_abbreviations_are_short_words_mostly_followed_by_a_period_and_a_word():
    text = (
        b"Then Mr. Holmes met Dr. Watson and St. Paul in Tunbridge. They saw them, etc. and so on.\n" * 12
        + b"St John and etc etc\n" * 2  # too often without a period
        + b"Prof. Moriarty\n" * 9  # too rare
    )
    assert find_abbreviations([text]) == ["Dr", "Mr"]
    assert find_abbreviations(text[start : start + 7] for start in range(0, len(text), 7)) == ["Dr", "Mr"]


def test_abbreviations_take_bounded_memory_and_time(monkeypatch):
    monkeypatch.setattr(abbreviations, "_MAX_WORDS_COUNTED", 100)
    letters = "abcdefghijklmnop"
    rare = " ".join(a + b + c for a in letters for b in letters for c in letters).encode()
    blocks = [b"Mr. Holmes said to Mr. Watson: " * 400, rare, b"\n", rare, b"Mr. X\n"]
    assert find_abbreviations(blocks) == ["Mr"]
    assert find_abbreviations([b"x" * 3_000_000, b"x" * 3_000_000]) == []
    monkeypatch.setattr(abbreviations, "_ABBREVIATION_BYTES", 10)
    assert find_abbreviations([b"Mr. Holmes " * 100]) == []
