"""Bytes of one document in, clean text out; anything but text is refused with its place and a remedy."""

import codecs
import re
from collections.abc import Iterator
from itertools import chain

from gru_complete.errors import CorpusError, printable, shell_word
from gru_complete.text.cleaning import Cleaner

# How a file that is not plain text begins, what it is, and the command that prints the text in it.
_MAGIC = (
    (b"\x1f\x8b", "gzip data", "gzip -dc {}"),
    (b"\xfd7zXZ\x00", "xz data", "xz -dc {}"),
    (tuple(b"BZh%d1AY&SY" % level for level in range(1, 10)), "bzip2 data", "bzip2 -dc {}"),
    (b"\x28\xb5\x2f\xfd", "zstd data", "zstd -dc {}"),
    (b"\x04\x22\x4d\x18", "lz4 data", "lz4 -dc {}"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x -so {}"),
    (b"PK\x03\x04", "a zip archive or an office document", "unzip -p {}"),
    (b"%PDF-", "a PDF", "pdftotext {} -"),
    (b"\x7fELF", "a program", None),
    ((b"\x89PNG\r\n", b"\xff\xd8\xff"), "an image", None),
    (b"SQLite format 3\x00", "a database", None),
)
_BYTE_ORDER_MARKS = (  # UTF-32 before UTF-16: its little-endian mark begins with the other's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
_NO_TEXT = re.compile(r"[\x01-\x08\x0e-\x1a\x1c-\x1f]|^$")
"""What text with stray NULs does not have besides them: control characters, or nothing at all."""
_MARK_BYTES = 4  # of the longest mark
_HEAD_BYTES = 16  # of the longest beginning by which a format is known


class DocumentReader:
    """Turns the bytes of one document into clean text, or says where the first fault is.

    Args:
        name: the name of the file; "-" for standard input, "" if ``what`` says it all.
        what: what messages call the document.
        command: a command that reads the document from a pipe, for hints; None if there is no such command.
        may_end_anywhere: whether the text may end within a character, as a prompt may.

    Attributes:
        encoding: the encoding that the byte order mark says; UTF-8 without one.
        had_mark: whether a byte order mark was dropped at the start.
        changes: what else was changed.
        unfinished: the bytes of a character that the text does not finish; always b"" unless that is allowed.
    """

    def __init__(
        self,
        name: str,
        *,
        what: str = "corpus",
        command: str | None = "gru-complete train - -m NAME",
        may_end_anywhere: bool = False,
    ) -> None:
        self.name = name
        self._what = what
        self._command = command
        self._may_end_anywhere = may_end_anywhere
        self._cleaner = Cleaner()
        self.encoding = "utf-8"
        self.had_mark = False
        self.changes = self._cleaner.changes
        self.unfinished = b""

    def texts(self, blocks: Iterator[bytes]) -> Iterator[str]:
        """The text as ``text/cleaning.py`` cleans it, in stretches.

        Raises:
            CorpusError: the document is not text.
        """
        for text in self._decoded(*_split_head(blocks)):
            if clean := self._cleaner.feed(text):
                yield clean
        if clean := self._cleaner.feed("", is_last=True):
            yield clean

    def utf8(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The bytes of a text in UTF-8 as they are, also where they are no UTF-8; other encodings become UTF-8.

        Raises:
            CorpusError: the text is of a known format that is not text, or is not of the encoding that its mark says.
        """
        head, rest = _split_head(blocks)
        self._read_mark(head)
        if self.encoding == "utf-8":
            yield head
            yield from rest
        else:
            for text in self._decoded(head, rest):
                yield text.encode()

    def _decoded(self, head: bytes, blocks: Iterator[bytes]) -> Iterator[str]:
        """The text with the line ends it has; raises at the first byte that is not text."""
        mark = self._read_mark(head)
        decoder = codecs.getincrementaldecoder(self.encoding)("strict")
        offset, line = len(mark), 1
        for block, is_last in chain(((block, False) for block in chain([head[len(mark) :]], blocks)), [(b"", True)]):
            pending = decoder.getstate()[0]  # type: ignore[no-untyped-call, unused-ignore]
            if is_last and self._may_end_anywhere and self.encoding == "utf-8":
                self.unfinished = pending
                return
            fault: UnicodeDecodeError | None = None
            try:
                text = decoder.decode(block, is_last)
            except UnicodeDecodeError as error:
                fault = error
                text = error.object[: error.start].decode(self.encoding)
            start = offset - len(pending)
            if "\0" in text:
                position = start + len(text[: text.index("\0")].encode(self.encoding))
                problem, encoding = f"it looks binary (NUL at byte {position})", _utf16_by_its_nuls(head)
                raise self._refused(problem, encoding, has_stray_nuls=_NO_TEXT.search(text.replace("\0", "")) is None)
            if fault is not None:
                place = f"at byte {start + fault.start} (line {line + text.count(chr(10))})"
                value = f"0x{fault.object[fault.start]:02x}"
                raise self._refused(
                    f"not valid {self.encoding.upper()[:6]} {place}: {value}", _utf16_by_its_nuls(head) or "LATIN1"
                )
            offset += len(block)
            line += text.count("\n")
            yield text

    def _read_mark(self, head: bytes) -> bytes:
        """Refuse known formats that are not text; find the encoding and the byte order mark."""
        for magic, kind, command in _MAGIC:
            if head.startswith(magic):
                hint = None if command is None else self._pipe(command)
                raise CorpusError(f"{self._label} is {kind}, not text", hint=hint)
        for mark, encoding in _BYTE_ORDER_MARKS:
            if head.startswith(mark):
                self.encoding = encoding
                self.had_mark = True
                return mark
        return b""

    def _refused(self, problem: str, likely_encoding: str | None, *, has_stray_nuls: bool = False) -> CorpusError:
        hint = None
        if self.encoding == "utf-8" and likely_encoding:
            command = self._pipe(f"iconv -f {likely_encoding} -t UTF-8 {{}}")
            hint = command and f"if it is text in another encoding: {command}"
        elif self.encoding == "utf-8" and has_stray_nuls:  # as a crash leaves them in a log
            command = self._pipe("cat {} | tr -d '\\0'")
            hint = command and f"to leave the NULs out: {command}"
        return CorpusError(f"{self._label}: {problem}", hint=hint)

    @property
    def _label(self) -> str:
        """What messages call the document."""
        return f"{self._what} '{printable_source(self.name)}'" if self.name else self._what

    def _pipe(self, command: str) -> str | None:
        if self._command is None:
            return None
        if self.name == "-":
            return f"{command.replace(' {}', '')} | {self._command}"
        name = f"./{self.name}" if self.name.startswith("-") else self.name
        return f"{command.format(shell_word(name))} | {self._command}"


def _split_head(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The beginning of a document, by which its format is known, and the other blocks.

    A pipe may give single bytes: they are collected, but no longer than to the end of the first line (a newline or
    NUL), after which whoever writes may wait for an answer.
    """
    head = b""
    for block in blocks:
        head += block
        is_mark = head[:1] == b"\xff" and len(head) < _MARK_BYTES  # or its beginning
        if len(head) >= _HEAD_BYTES or b"\n" in head or (b"\0" in head and not is_mark):
            break
    return head, blocks


def printable_source(name: str) -> str:
    """The name of a source for a message, without control characters."""
    return "standard input" if name == "-" else printable(name)


def _utf16_by_its_nuls(head: bytes) -> str | None:
    """The kind of UTF-16 that this may be: Latin letters have a NUL in every second byte, and only there."""
    sample = head[:4096]
    even, odd = (part.count(0) / max(1, len(part)) for part in (sample[::2], sample[1::2]))
    if min(even, odd) > 0.2 or not sample.strip(b"\0"):
        return None
    return "UTF-16LE" if odd > 0.3 else "UTF-16BE" if even > 0.3 else None
