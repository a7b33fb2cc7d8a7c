"""From files, folders and pipes to one clean UTF-8 text on disk, its documents, and its three parts.

Everything here works in blocks: no file is read whole and no line is assumed short. Offsets are bytes; a document is
one file (or what one pipe gave), never empty; a range ``(start, end)`` is a document or a part of one.
"""

import bisect
import codecs
import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gru_complete.errors import CorpusError, EnvironmentFailure
from gru_complete.files import shown
from gru_complete.text.decoding import DocumentReader, shown_source
from gru_complete.text.secrets import SecretScanner

BLOCK_BYTES = 1 << 20
MIN_CORPUS_BYTES = 1024
MIN_PART_BYTES = 64
TUNING_SLICES = 8
MIN_SLICE_BYTES = 1024

Range = tuple[int, int]


@dataclass(frozen=True)
class CorpusReport:
    """What the text is: sizes, and a hash that identifies it.

    ``num_lines`` counts an unfinished last line of each document; ``longest_line_bytes`` is without the line end;
    ``num_duplicates`` are documents that repeat an earlier one byte for byte; ``distinct_chars`` is a number;
    ``sha256`` covers the clean text and where its documents end.
    """

    num_bytes: int
    num_chars: int
    num_documents: int
    num_lines: int
    num_duplicates: int
    longest_line_bytes: int
    distinct_chars: int
    sha256: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Spool:
    """The clean text as written: its report, and the offset where each document ends."""

    report: CorpusReport
    document_ends: list[int]


@dataclass(frozen=True)
class Split:
    """The three parts of a corpus as ranges of the spool, in its order."""

    training: list[Range]
    tuning: list[Range]
    held_out: list[Range]


def spool(
    sources: Sequence[str],
    stream: BinaryIO,
    *,
    extensions: Sequence[str],
    stdin: BinaryIO | None = None,
    scanner: SecretScanner | None = None,
) -> Spool:
    """Read every source, check it, and write it as clean UTF-8 with line feeds.

    Args:
        sources: files, FIFOs, directories (walked in sorted order, hidden entries left out) or ``-``.
        stream: where the clean text goes.
        extensions: which file names of a directory are read, by their ending; upper or lower case, dot or none.
        stdin: what ``-`` means; ``sys.stdin.buffer`` if omitted.
        scanner: looks for secrets, if it is given; the text, and so its report, is what it hands on.

    Raises:
        CorpusError: a source is missing, unreadable, no text, or there is no text in all of them.
    """
    if list(sources).count("-") > 1:
        raise CorpusError("standard input ('-') can only be read once")
    counts = _Counts()
    for name in document_names(sources, extensions):
        document = DocumentReader(name)
        texts = document.texts(_blocks(name, stdin))
        for text in texts if scanner is None else _scanned(texts, name, scanner):
            data = text.encode("utf-8")
            stream.write(data)
            counts.add(text, data)
        counts.end_document(name, document)
    if not counts.has_text:
        what = f"corpus '{shown_source(sources[0])}'" if len(sources) == 1 else "the corpus"
        problem = "holds nothing but white space" if counts.num_bytes else "is empty (0 bytes of text)"
        raise CorpusError(f"{what} {problem}", hint=f"training needs at least {MIN_CORPUS_BYTES} bytes of text")
    return Spool(counts.report(), counts.document_ends)


def split(
    spool_path: Path,
    document_ends: Sequence[int],
    *,
    held_out: float,
    max_held_out_bytes: int,
    tuning: float,
    max_tuning_bytes: int,
) -> Split:
    """Divide the corpus: held-out text from the end, tuning text in slices spread over what is before it.

    Parts begin at a document if one begins near, else at a line, else at white space, else at a character. A document
    that repeats an earlier one is no candidate: it goes where the earlier one is if that is wholly training text, else
    nowhere, so that no part knows another by heart.

    Args:
        spool_path: the text that ``spool`` wrote.
        document_ends: where its documents end.
        held_out: share of the bytes, 0 for none.
        max_held_out_bytes: the most bytes of it.
        tuning: share of the bytes.
        max_tuning_bytes: the most bytes of it.

    Raises:
        CorpusError: the corpus is too small, or the shares leave nothing to train on.
    """
    documents = list(zip([0, *document_ends[:-1]], document_ends, strict=True))
    originals = _originals(spool_path, documents)
    candidates = [documents[index] for index, original in enumerate(originals) if index == original]
    total = _size(candidates)
    if total < MIN_CORPUS_BYTES:
        repeats = "" if len(candidates) == len(documents) else ", repeated documents aside"
        raise CorpusError(
            f"the corpus has {total} bytes of text{repeats}; at least {MIN_CORPUS_BYTES} are needed",
            hint="give more text: a useful model takes a few hundred kilobytes",
        )
    held_out_bytes = min(max(round(total * held_out), MIN_PART_BYTES), max_held_out_bytes) if held_out else 0
    tuning_bytes = min(max(round(total * tuning), MIN_PART_BYTES), max_tuning_bytes)
    if total - held_out_bytes - tuning_bytes < total // 8:
        raise CorpusError(
            f"held-out ({held_out_bytes} bytes) and tuning text ({tuning_bytes}) leave too little of {total} bytes",
            hint="lower data.held_out or data.tuning",
        )
    end = cut = candidates[-1][1]
    with _open_spool(spool_path) as stream:
        if held_out_bytes:
            more = min(held_out_bytes // 20, max_held_out_bytes - held_out_bytes)
            cut = _place_before(stream, candidates, end, held_out_bytes, more=more, less=held_out_bytes // 2)
        slices = list(_slices(stream, _clip(candidates, 0, cut), tuning_bytes, max_tuning_bytes))
    rest = [0, *chain.from_iterable(slices), cut]
    trained_on = list(zip(rest[::2], rest[1::2], strict=True))
    copies = [
        documents[index]
        for index, original in enumerate(originals)
        if index != original
        and any(low <= documents[original][0] and documents[original][1] <= high for low, high in trained_on)
    ]
    return Split(
        training=sorted(copies + [part for gap in trained_on for part in _clip(candidates, *gap)]),
        tuning=[part for piece in slices for part in _clip(candidates, *piece)],
        held_out=_clip(candidates, cut, end),
    )


def _slices(stream: BinaryIO, documents: Sequence[Range], num_bytes: int, max_bytes: int) -> Iterator[Range]:
    """Where evenly spread slices begin and end that hold ``num_bytes`` together; a slice may span documents."""
    total = _size(documents)
    number = min(TUNING_SLICES, max(1, num_bytes // MIN_SLICE_BYTES))
    size, spacing = num_bytes // number, total // number
    slack = min(size, spacing - size) // 4
    more, end = min(size // 20, max_bytes // number - size), documents[-1][1]
    for index in range(number):
        behind = total - index * spacing - (spacing - size) // 2
        start = _place_before(stream, documents, end, behind, more=slack, less=slack)
        behind = _size(_clip(documents, start, end)) - size
        yield start, _place_before(stream, documents, end, behind, more=size // 2, less=more)


def _size(ranges: Iterable[Range]) -> int:
    return sum(end - start for start, end in ranges)


def read_blocks(path: Path, start: int, end: int, *, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Read the bytes from ``start`` to ``end`` of a spool in blocks.

    Raises:
        EnvironmentFailure: the file cannot be read or is shorter than it was.
    """
    with _open_spool(path) as stream:
        stream.seek(start)
        while start < end:
            block = stream.read(min(block_bytes, end - start))
            if not block:
                raise EnvironmentFailure(f"{shown(path)} ends at byte {start}, before it should")
            start += len(block)
            yield block


def find_abbreviations(blocks: Iterable[bytes]) -> list[str]:
    """Find the short words that a period follows without ending a sentence, like "Mr".

    The idea is Punkt's (Kiss and Strunk 2006, doi:10.1162/coli.2006.32.4.485): an abbreviation and its period belong
    together. Here: words of 2 to 5 letters, seen at least 10 times, of which 90 % are directly followed by a period,
    white space and a letter on the same line. Single letters need no finding.

    Args:
        blocks: text; after 16 MiB enough has been seen.

    Returns:
        At most 200 words, the most frequent first.
    """
    words: Counter[str] = Counter()
    abbreviated: Counter[str] = Counter()
    for text in _whole_lines(_first_bytes(blocks, _ABBREVIATION_BYTES)):
        words.update(_SHORT_WORD.findall(text))
        abbreviated.update(_SHORT_WORD_AND_PERIOD.findall(text))
        if len(words) > _MAX_WORDS_COUNTED:
            words = Counter(dict(words.most_common(_MAX_WORDS_COUNTED // 2)))
            abbreviated = Counter({word: count for word, count in abbreviated.items() if word in words})
    found = [(count, word) for word, count in abbreviated.items() if words[word] >= 10 and count >= 0.9 * words[word]]
    return [word for _, word in sorted(found, key=lambda pair: (-pair[0], pair[1]))[:200]]


_SHORT_WORD = re.compile(r"\b[^\W\d_]{2,5}\b")
_SHORT_WORD_AND_PERIOD = re.compile(r"\b[^\W\d_]{2,5}(?=\.[ \t]+[^\W\d_])")
_MAX_WORDS_COUNTED = 200_000
_ABBREVIATION_BYTES = 16 << 20


def _first_bytes(blocks: Iterable[bytes], num_bytes: int) -> Iterator[bytes]:
    for block in blocks:
        yield block[:num_bytes]
        num_bytes -= len(block)
        if num_bytes <= 0:
            return


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[str]:
    """Decode blocks and cut them at line ends, if there are any."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    carry = ""
    for block in blocks:
        text = carry + decoder.decode(block)
        cut = text.rfind("\n") + 1
        if cut == 0 and len(text) > BLOCK_BYTES:  # a giant line: a word at the cut may be missed
            cut = len(text)
        carry = text[cut:]
        yield text[:cut]
    yield carry + decoder.decode(b"", True)


# ------------------------------------------------------------------------------------------------- reading


def document_names(sources: Sequence[str], extensions: Sequence[str]) -> Iterator[str]:
    """The files behind the sources, in a fixed order."""
    endings = tuple("." + extension.lower().lstrip(".") for extension in extensions)
    for source in sources:
        if source == "-" or not os.path.isdir(source):
            yield source
            continue
        found = False
        for name in _walk(source, endings):
            found = True
            yield name
        if not found:
            raise CorpusError(
                f"corpus '{shown(source)}' is a directory without files of the known kinds",
                hint="name the files themselves, or add their ending to data.extensions",
            )


def _walk(directory: str, endings: tuple[str, ...]) -> Iterator[str]:
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


def _scanned(texts: Iterable[str], name: str, scanner: SecretScanner) -> Iterator[str]:
    """A document as a scanner hands it on."""
    for text in texts:
        if data := scanner.feed(text.encode("utf-8"), name):
            yield data.decode("utf-8")
    if data := scanner.end_document():
        yield data.decode("utf-8")


def _unreadable(name: str, error: Exception) -> CorpusError:
    reason = getattr(error, "strerror", None) or str(error)
    return CorpusError(f"cannot read corpus '{shown_source(name)}': {shown(reason[:1].lower() + reason[1:])}")


@dataclass
class _Counts:
    """Running totals over all documents."""

    num_bytes: int = 0
    num_chars: int = 0
    num_lines: int = 0
    longest_line_bytes: int = 0
    has_text: bool = False
    document_ends: list[int] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)  # what -> the names of the files
    _line_bytes: int = 0  # of the line that is not finished yet
    _seen_chars: "np.ndarray[tuple[int], np.dtype[np.bool_]]" = field(
        default_factory=lambda: np.zeros(sys.maxunicode + 1, dtype=np.bool_)
    )
    _document_sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _corpus_sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _documents_seen: set[bytes] = field(default_factory=set)

    def add(self, text: str, data: bytes) -> None:
        """Count a piece of the current document, given as text and as its UTF-8."""
        self.num_bytes += len(data)
        self.num_chars += len(text)
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
        """Note what was done to the document; an empty one is left out."""
        if document.had_mark and document.encoding != "utf-8":
            self._note(f"{document.encoding[:6].upper()} became UTF-8", name)
        elif document.had_mark:
            self._note("a byte order mark was dropped", name)
        if document.had_crlf:
            self._note("CRLF line ends became LF", name)
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
        self._documents_seen.add(digest)
        self.document_ends.append(self.num_bytes)

    def _note(self, what: str, name: str) -> None:
        self.notes.setdefault(what, []).append(shown_source(name))

    def report(self) -> CorpusReport:
        return CorpusReport(
            num_bytes=self.num_bytes,
            num_chars=self.num_chars,
            num_documents=len(self.document_ends),
            num_lines=self.num_lines,
            num_duplicates=len(self.document_ends) - len(self._documents_seen),
            longest_line_bytes=self.longest_line_bytes,
            distinct_chars=int(self._seen_chars.sum()),
            sha256=self._corpus_sha256.hexdigest(),
            notes=tuple(
                f"{names[0] if len(names) == 1 else f'{len(names)} files'}: {what}"
                for what, names in self.notes.items()
            ),
        )


# ----------------------------------------------------------------------------------------------- splitting


def _open_spool(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {shown(path)}: {error.strerror}") from error


def _originals(path: Path, documents: Sequence[Range]) -> list[int]:
    """For each document, the index of the first one with the same bytes; only equal lengths are compared."""
    lengths = Counter(end - start for start, end in documents)
    first_with: dict[bytes, int] = {}
    originals = []
    for index, (start, end) in enumerate(documents):
        original = index
        if lengths[end - start] > 1:
            digest = hashlib.sha256()
            for block in read_blocks(path, start, end):
                digest.update(block)
            original = first_with.setdefault(digest.digest(), index)
        originals.append(original)
    return originals


def _place_before(stream: BinaryIO, documents: Sequence[Range], end: int, size: int, *, more: int, less: int) -> int:
    """A good place to cut that has about ``size`` bytes of documents between it and ``end``: so many more, or less."""
    missing = size
    index = bisect.bisect_left(documents, (end, 0))
    while True:
        index -= 1
        start, stop = documents[index][0], min(documents[index][1], end)
        if stop - start >= missing or index == 0:
            break
        missing -= stop - start
    target = max(stop - missing, start)
    if index > 0 and target - start <= more:
        return start
    if stop < end and stop - target <= min(less, size // 20):
        return documents[index + 1][0]
    low = max(target - min(more, BLOCK_BYTES // 8), start + 1)
    high = min(target + min(less, BLOCK_BYTES // 8), stop - 1)
    stream.seek(low - 1)  # the byte before may be the line end that makes `low` the beginning of a line
    return _good_place(stream.read(high - low + 1), target - low + 1) + low - 1


def _good_place(window: bytes, target: int) -> int:
    """The position in ``window``, not 0, nearest to ``target`` where a line, else a word, else a character begins."""
    for beginning in (rb"(?<=\n)", rb"(?<=\S)(?=\s)", rb"(?=[^\x80-\xbf])"):
        places = [match.start() for match in re.finditer(beginning, window) if match.start()]
        if places:
            return min(places, key=lambda place: abs(place - target))
    return target


def _clip(documents: Iterable[Range], low: int, high: int) -> list[Range]:
    """The parts of documents between two offsets."""
    clipped = ((max(start, low), min(end, high)) for start, end in documents)
    return [(start, end) for start, end in clipped if start < end]
