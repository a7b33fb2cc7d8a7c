"""Bytes of one document in, clean text out; anything but text is refused with its place and a remedy."""

import codecs
import re
from collections.abc import Iterator
from itertools import chain

from gru_complete.errors import CorpusError, printable, shell_word

# How a file that is not plain text begins, what it is, and the command that prints the text in it.
_MAGIC = (
    (rb"\x1f\x8b", "gzip data", "gzip -dc {}"),
    (rb"\xfd7zXZ\x00", "xz data", "xz -dc {}"),
    (rb"BZh[1-9]1AY&SY", "bzip2 data", "bzip2 -dc {}"),
    (rb"\x28\xb5\x2f\xfd", "zstd data", "zstd -dc {}"),
    (rb"\x04\x22\x4d\x18", "lz4 data", "lz4 -dc {}"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x -so {}"),
    (rb"PK\x03\x04", "a zip archive or an office document", "unzip -p {}"),
    (rb"%PDF-", "a PDF", "pdftotext {} -"),
    (rb"\x7fELF", "a program", None),
    (rb"\x89PNG\r\n|\xff\xd8\xff", "an image", None),
    (rb"SQLite format 3\x00", "a database", None),
)
_BYTE_ORDER_MARKS = (  # UTF-32 before UTF-16: its little-endian mark begins with the other's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)


class DocumentReader:
    """Turns the bytes of one document into clean text, or says where the first fault is.

    Args:
        name: the name of the file; "-" for standard input.
        what: what messages call the document.
        command: a command that reads the document from a pipe, for hints.

    Attributes:
        encoding: the encoding that the byte order mark says; UTF-8 without one.
        had_mark: whether a byte order mark was dropped.
        had_crlf: whether line ends were changed.
    """

    def __init__(self, name: str, *, what: str = "corpus", command: str = "gru-complete train - -m NAME") -> None:
        self.name = name
        self._what = what
        self._command = command
        self.encoding = "utf-8"
        self.had_mark = False
        self.had_crlf = False

    def texts(self, blocks: Iterator[bytes]) -> Iterator[str]:
        """The text with LF line ends, a stretch for each block.

        Raises:
            CorpusError: the document is not text.
        """
        carry = ""  # a CR, whose LF may be in the next block
        for text in self._decoded(blocks):
            if carry:
                text = carry + text
                carry = ""
            if "\r" in text:
                if text[-1] == "\r":
                    text, carry = text[:-1], "\r"
                lines = text.replace("\r\n", "\n")
                self.had_crlf |= len(lines) != len(text)
                text = lines
            if text:
                yield text
        if carry:
            yield carry

    def _decoded(self, blocks: Iterator[bytes]) -> Iterator[str]:
        """The text with the line ends it has; raises at the first byte that is not text."""
        head = next(blocks, b"")
        mark = self._read_mark(head)
        decoder = codecs.getincrementaldecoder(self.encoding)("strict")
        offset, line = len(mark), 1
        for block, is_last in chain(((block, False) for block in chain([head[len(mark) :]], blocks)), [(b"", True)]):
            pending = len(decoder.getstate()[0])  # type: ignore[no-untyped-call, unused-ignore]
            fault: UnicodeDecodeError | None = None
            try:
                text = decoder.decode(block, is_last)
            except UnicodeDecodeError as error:
                fault = error
                text = error.object[: error.start].decode(self.encoding)
            start = offset - pending
            if "\0" in text:
                position = start + len(text[: text.index("\0")].encode(self.encoding))
                raise self._refused(f"it looks binary (NUL at byte {position})", _utf16_by_its_nuls(head))
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
            if re.match(magic, head):
                hint = None if command is None else self._pipe(command)
                raise CorpusError(f"{self._what} '{printable_source(self.name)}' is {kind}, not text", hint=hint)
        for mark, encoding in _BYTE_ORDER_MARKS:
            if head.startswith(mark):
                self.encoding = encoding
                self.had_mark = True
                return mark
        return b""

    def _refused(self, problem: str, likely_encoding: str | None) -> CorpusError:
        hint = None
        if self.encoding == "utf-8" and likely_encoding:
            command = self._pipe(f"iconv -f {likely_encoding} -t UTF-8 {{}}")
            hint = f"if it is text in another encoding: {command}"
        return CorpusError(f"{self._what} '{printable_source(self.name)}': {problem}", hint=hint)

    def _pipe(self, command: str) -> str:
        if self.name == "-":
            return f"{command.replace(' {}', '')} | {self._command}"
        name = f"./{self.name}" if self.name.startswith("-") else self.name
        return f"{command.format(shell_word(name))} | {self._command}"


def printable_source(name: str) -> str:
    """The name of a source for a message, without control characters."""
    return "standard input" if name == "-" else printable(name)


def _utf16_by_its_nuls(head: bytes) -> str | None:
    """The kind of UTF-16 that this may be: Latin letters have a NUL in every second byte."""
    sample = head[:4096]
    if sample[1::2].count(0) > 0.3 * len(sample[1::2]):
        return "UTF-16LE"
    return "UTF-16BE" if sample[::2].count(0) > 0.3 * len(sample[::2]) else None
