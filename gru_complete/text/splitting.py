"""Where a corpus is cut into its training, tuning and held-out parts."""

import bisect
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from gru_complete.errors import CorpusError
from gru_complete.text.corpus import BLOCK_BYTES, MIN_CORPUS_BYTES, Range, open_spool, read_blocks

MIN_PART_BYTES = 64
TUNING_SLICES = 8
MIN_SLICE_BYTES = 1024


@dataclass(frozen=True)
class Split:
    """The three parts of a corpus as ranges of the spool, in its order."""

    training: list[Range]
    tuning: list[Range]
    held_out: list[Range]


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
    with open_spool(spool_path) as stream:
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
