import gzip
import io
import os
import tracemalloc
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.errors import CorpusError, EnvironmentFailure
from gru_complete.text import corpus
from gru_complete.text.cleaning import cleaned
from gru_complete.text.corpus import read_blocks, spool
from tests.text.spooling import outcome, spool_files


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
    pieces=st.lists(st.sampled_from([*"\r\nxé字\U0001f600\ufeff\u2028\f", "\r\n", "e\u0301", "\x1b[1m"]), max_size=40),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    block_bytes=st.integers(8, 40),
)
def test_clean_text_does_not_depend_on_the_blocks_it_is_read_in(pieces, encoding, block_bytes):
    text = "start " + "".join(pieces)
    data = text.encode(encoding)
    with mock.patch.object(corpus, "BLOCK_BYTES", block_bytes):
        in_blocks = outcome(data)
    assert in_blocks == outcome(data)
    assert in_blocks[0] == cleaned(text).encode()


@settings(max_examples=300, deadline=None)
@given(data=st.binary(min_size=1, max_size=60), block_bytes=st.integers(8, 24))
def test_any_bytes_are_read_or_refused_whatever_the_blocks(data, block_bytes):
    with mock.patch.object(corpus, "BLOCK_BYTES", block_bytes):
        in_blocks = outcome(data)
    assert in_blocks == outcome(data)


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
    assert out.getvalue() == "Grüße\nGrüße\n".encode()


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


def test_a_spool_that_shrank_or_went_away_is_an_environment_failure(tmp_path):
    path = tmp_path / "spool"
    with pytest.raises(EnvironmentFailure, match="cannot read"):
        list(read_blocks(path, 0, 10))
    path.write_bytes(b"abcdef")
    assert list(read_blocks(path, 1, 6, block_bytes=2)) == [b"bc", b"de", b"f"]
    with pytest.raises(EnvironmentFailure, match="ends at byte 6"):
        list(read_blocks(path, 0, 10))
