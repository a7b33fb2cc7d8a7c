import bz2
import gzip
import io
import lzma
import random
import subprocess
import zipfile

import pytest

from gru_complete.errors import CorpusError
from gru_complete.text import corpus
from gru_complete.text.decoding import DocumentReader
from tests.text.spooling import outcome, spool_files, spooled


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


@pytest.mark.parametrize("seed", range(40))
def test_nuls_in_a_text_get_a_command_that_leaves_them_out_and_a_file_of_nuls_does_not(seed, tmp_path):
    rng = random.Random(seed)
    lines = ["".join(rng.choices("abc äé日 \t", k=rng.randint(1, 60))) + "\n" for _ in range(rng.randint(1, 20))]
    text = "".join(lines).encode()
    block = b"\0" * rng.choice([1, 2, 7, 512, 4096])
    name = rng.choice(["a.log", "my log.txt", "it's.log", "-x.log"])
    with pytest.raises(CorpusError, match=f"NUL at byte {len(text)}") as caught:
        list(DocumentReader(name).texts(iter([text + block + rng.choice([b"", text])])))
    command = caught.value.hint.removeprefix("to leave the NULs out: ").removesuffix(" | gru-complete train - -m NAME")
    (tmp_path / name).write_bytes(text + block)
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, check=True).stdout == text
    with pytest.raises(CorpusError, match="NUL at byte 0") as caught:
        list(DocumentReader(name).texts(iter([block])))
    assert caught.value.hint is None


def test_a_program_without_a_known_beginning_gets_no_hint():
    with pytest.raises(CorpusError, match="NUL at byte") as caught:
        list(DocumentReader("x").texts(iter([b"\x01\x02ab\0\x03\x04\0\x05"])))
    assert caught.value.hint is None


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
        (gzip.compress(b"text", mtime=0), "gzip data", "gzip -dc ./-x.txt |"),
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


def test_what_is_cleaned_is_counted_for_all_files_together(tmp_path):
    (tmp_path / "a.txt").write_bytes("a\r\nb\rc\u2028d\x1b[31mred\x1b[0m\r".encode())
    (tmp_path / "b.txt").write_bytes("a\r\nb\x07\ufeffc\x85".encode())
    text, result = spool_files([tmp_path])
    assert text == b"a\nb\nc\ndred\na\nbc\n"
    assert result.report.notes == (
        "2 files: CRLF line ends became LF",
        "2 files: 4 line ends of other kinds (CR, NEL, form feed, U+2028 ...) became LF",
        f"{tmp_path}/a.txt: 2 terminal sequences (such as colours) were dropped",
        f"{tmp_path}/b.txt: 2 control characters or stray byte order marks were dropped",
    )


@pytest.mark.parametrize(
    ("texts", "form"),
    [(["plain"], "NFC"), (["é"], "NFC"), (["e\u0301"], "NFD"), (["é", "e"], "NFC"), (["é", "e\u0301"], None)],
)
def test_the_normal_form_of_all_files_is_reported_and_a_mixture_is_noted(texts, form, tmp_path):
    for index, text in enumerate(texts):
        (tmp_path / f"{index}.txt").write_text(text)
    report = spool_files([tmp_path])[1].report
    assert report.normal_form == form
    assert len(report.notes) == (form is None)
    assert form or "neither NFC nor NFD" in report.notes[0]
