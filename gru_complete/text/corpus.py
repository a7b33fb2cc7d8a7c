"""From files, folders and pipes to one clean UTF-8 text on disk, and where its documents end.

Everything here works in blocks: no file is read whole and no line is assumed short. Offsets are bytes; a document is
one file (or what one pipe gave), never empty; a range ``(start, end)`` is a document or a part of one.
"""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gru_complete.errors import CorpusError, EnvironmentFailure, printable
from gru_complete.storage.os_calls import is_shortage
from gru_complete.text.cleaning import Changes
from gru_complete.text.decoding import DocumentReader, printable_source
from gru_complete.text.normal_form import FormDetector, NormalForm, texts_in_form
from gru_complete.text.secrets import SecretScanner

BLOCK_BYTES = 1 << 20
MIN_CORPUS_BYTES = 1024

Range = tuple[int, int]


@dataclass(frozen=True)
class CorpusReport:
    """Sizes of the text, and a hash that identifies it.

    Attributes:
        num_bytes: of the clean text.
        num_chars: Unicode characters.
        num_documents: files and pipes that are not empty.
        num_lines: an unfinished last line of a document counts too.
        num_duplicates: documents that repeat an earlier one byte for byte.
        longest_line_bytes: without the line end.
        distinct_chars: how many different characters there are.
        sha256: covers the clean text and where its documents end.
        normal_form: in which all of the text is; None if it is in neither.
        notes: what was changed in which files.
    """

    num_bytes: int
    num_chars: int
    num_documents: int
    num_lines: int
    num_duplicates: int
    longest_line_bytes: int
    distinct_chars: int
    sha256: str
    normal_form: NormalForm | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Spool:
    """The clean text as written: its report, and for each document the offset of its end and its SHA-256."""

    report: CorpusReport
    document_ends: list[int]
    document_sha256: list[bytes]


def spool(
    sources: Sequence[str],
    stream: BinaryIO,
    *,
    extensions: Sequence[str],
    stdin: BinaryIO | None = None,
    scanner: SecretScanner | None = None,
    normal_form: NormalForm | None = None,
) -> Spool:
    """Read every source, check it, and write it as clean UTF-8 with line feeds.

    Args:
        sources: files, FIFOs, directories (walked in sorted order, hidden entries left out) or ``-``.
        stream: where the clean text goes.
        extensions: which file names of a directory are read, by their ending; upper or lower case, dot or none.
        stdin: what ``-`` means; ``sys.stdin.buffer`` if omitted.
        scanner: looks for secrets and may replace them; the text that it returns is written and counted.
        normal_form: to which the text is brought; it keeps the one that it has if omitted.

    Raises:
        CorpusError: a source is missing, unreadable or not text, or all of them are empty.
    """
    if list(sources).count("-") > 1:
        raise CorpusError("standard input ('-') can only be read once")
    counts = _Counts()
    for name in document_names(sources, extensions):
        document = DocumentReader(name)
        texts = texts_in_form(document.texts(_blocks(name, stdin)), normal_form)
        encoded = ((text, text.encode("utf-8")) for text in texts)
        for text, data in encoded if scanner is None else _scanned(encoded, name, scanner):
            stream.write(data)
            counts.add(text, data)
        counts.end_document(name, document)
    if not counts.has_text:
        what = f"corpus '{printable_source(sources[0])}'" if len(sources) == 1 else "the corpus"
        problem = "holds nothing but white space" if counts.num_bytes else "is empty (0 bytes of text)"
        raise CorpusError(f"{what} {problem}", hint="name one with text in it")
    return Spool(counts.report(), counts.document_ends, counts.document_sha256)


def read_blocks(path: Path, start: int, end: int, *, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Read part of a spool in blocks.

    Args:
        path: the spool.
        start: the first byte.
        end: the byte after the last.
        block_bytes: the most that a block holds.

    Raises:
        EnvironmentFailure: the file cannot be read or is shorter than it was.
    """
    with open_spool(path) as stream:
        stream.seek(start)
        while start < end:
            block = stream.read(min(block_bytes, end - start))
            if not block:
                raise EnvironmentFailure(f"{printable(path)} ends at byte {start}, before it should")
            start += len(block)
            yield block


def document_names(sources: Sequence[str], extensions: Sequence[str]) -> Iterator[str]:
    """The files that the sources stand for, in a fixed order.

    Raises:
        CorpusError: a directory cannot be listed, or has no files of the known kinds.
    """
    endings = tuple("." + extension.lower().lstrip(".") for extension in extensions)
    for source in sources:
        if source == "-" or not os.path.isdir(source):
            yield source
            continue
        is_empty = True
        for name in _walk(source, endings):
            is_empty = False
            yield name
        if is_empty:
            raise CorpusError(
                f"corpus '{printable(source)}' is a directory without files of the known kinds",
                hint="name the files themselves, or add their ending to data.extensions",
            )


def _walk(directory: str, endings: tuple[str, ...]) -> Iterator[str]:
    """The files under a directory with one of the endings, hidden ones left out, in sorted order."""

    def refuse(error: OSError) -> None:
        raise _unreadable(str(error.filename), error) from error

    for folder, folders, names in os.walk(directory, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not name.startswith(".") and name.lower().endswith(endings) and os.path.isfile(path):
                yield path


def _blocks(name: str, stdin: BinaryIO | None) -> Iterator[bytes]:
    """The bytes of a file, a FIFO or standard input in full blocks."""
    try:
        if name == "-":
            stream = stdin or (sys.stdin.buffer if sys.stdin is not None else None)
            if stream is None:
                raise CorpusError("standard input is closed")
            yield from _full_blocks(stream)
        else:
            with open(name, "rb") as file:
                yield from _full_blocks(file)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL, a stream that is closed
        raise _unreadable(name, error) from error


def _full_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Blocks of ``BLOCK_BYTES``, only the last one shorter, also from a pipe that gives less per read."""
    while block := stream.read(BLOCK_BYTES):
        while len(block) < BLOCK_BYTES and (more := stream.read(BLOCK_BYTES - len(block))):
            block += more
        yield block


def _scanned(encoded: Iterable[tuple[str, bytes]], name: str, scanner: SecretScanner) -> Iterator[tuple[str, bytes]]:
    """A document as the scanner returns it, as text and as its UTF-8."""
    for _, data in encoded:
        if scanned := scanner.feed(data, name):
            yield scanned.decode("utf-8"), scanned
    if scanned := scanner.end_document():
        yield scanned.decode("utf-8"), scanned


def _unreadable(name: str, error: Exception) -> CorpusError | EnvironmentFailure:
    """The error of a file that cannot be read, which is the machine's fault if it has too little of something."""
    reason = getattr(error, "strerror", None) or str(error)
    kind = EnvironmentFailure if is_shortage(error) else CorpusError
    return kind(f"cannot read corpus '{printable_source(name)}': {printable(reason[:1].lower() + reason[1:])}")


@dataclass
class _Counts:
    """Running totals over all documents."""

    num_bytes: int = 0
    num_chars: int = 0
    num_lines: int = 0
    longest_line_bytes: int = 0
    has_text: bool = False
    document_ends: list[int] = field(default_factory=list)
    document_sha256: list[bytes] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)  # what -> the names of the files
    _note_counts: Counter[str] = field(default_factory=Counter)
    _forms: FormDetector = field(default_factory=FormDetector)
    _line_bytes: int = 0  # of the line that is not finished yet
    _seen_chars: "np.ndarray[tuple[int], np.dtype[np.bool_]]" = field(
        default_factory=lambda: np.zeros(sys.maxunicode + 1, dtype=np.bool_)
    )
    _document_sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _corpus_sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, text: str, data: bytes) -> None:
        """Count a stretch of the current document, given as text and as its UTF-8."""
        self.num_bytes += len(data)
        self.num_chars += len(text)
        self._forms.add(text)
        self.has_text = self.has_text or not text.isspace()
        codes = np.frombuffer(data, np.uint8) if text.isascii() else np.frombuffer(text.encode("utf-32-le"), "<u4")
        self._seen_chars[codes] = True
        self._document_sha256.update(data)
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
        if not ends.size:
            self._line_bytes += len(data)
            return
        between = int(np.diff(ends).max(initial=1)) - 1
        self.longest_line_bytes = max(self.longest_line_bytes, self._line_bytes + int(ends[0]), between)
        self.num_lines += ends.size
        self._line_bytes = len(data) - int(ends[-1]) - 1

    def end_document(self, name: str, document: DocumentReader) -> None:
        """Finish a document, and note what was changed in it; an empty one is left out."""
        if document.had_mark and document.encoding != "utf-8":
            self._note(f"{document.encoding[:6].upper()} became UTF-8", name)
        elif document.had_mark:
            self._note("a byte order mark was dropped", name)
        self._note_changes(document.changes, name)
        self._forms.end_document()
        if self.num_bytes == (self.document_ends[-1] if self.document_ends else 0):
            self._note("empty, left out", name)
            return
        if self._line_bytes:
            self.num_lines += 1
            self.longest_line_bytes = max(self.longest_line_bytes, self._line_bytes)
        self._line_bytes = 0
        digest = self._document_sha256.digest()
        self._document_sha256 = hashlib.sha256()
        self._corpus_sha256.update(digest)
        self.document_sha256.append(digest)
        self.document_ends.append(self.num_bytes)

    def _note_changes(self, changes: Changes, name: str) -> None:
        if changes.crlf:
            self._note("CRLF line ends became LF", name)
        self._note("line ends of other kinds (CR, NEL, form feed, U+2028 ...) became LF", name, changes.line_ends)
        self._note("terminal sequences (such as colours) were dropped", name, changes.sequences)
        self._note("control characters or stray byte order marks were dropped", name, changes.controls)

    def _note(self, what: str, name: str, count: int | None = None) -> None:
        """Note what was done to a file, and how often if that is counted."""
        if count != 0:
            self.notes.setdefault(what, []).append(printable_source(name))
            self._note_counts[what] += count or 0

    def report(self) -> CorpusReport:
        """The totals so far."""
        return CorpusReport(
            num_bytes=self.num_bytes,
            num_chars=self.num_chars,
            num_documents=len(self.document_ends),
            num_lines=self.num_lines,
            num_duplicates=len(self.document_ends) - len(set(self.document_sha256)),
            longest_line_bytes=self.longest_line_bytes,
            distinct_chars=int(self._seen_chars.sum()),
            sha256=self._corpus_sha256.hexdigest(),
            normal_form=self._forms.form,
            notes=tuple(self._all_notes()),
        )

    def _all_notes(self) -> Iterator[str]:
        for what, names in self.notes.items():
            count = f"{self._note_counts[what]:,} " if self._note_counts[what] else ""
            yield f"{names[0] if len(names) == 1 else f'{len(names)} files'}: {count}{what}"
        if self._forms.form is None:
            yield (
                "some accented letters are composed and others decomposed (neither NFC nor NFD): to the model they are "
                "different letters; uconv -x nfc FILE composes them"
            )


def open_spool(path: Path) -> BinaryIO:
    """Open a spooled text for reading.

    Raises:
        EnvironmentFailure: the file cannot be opened.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {printable(path)}: {error.strerror}") from error
