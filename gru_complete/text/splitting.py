"""Where a corpus is cut into its training, tuning (validation) and held-out (test) splits.

Offsets and sizes are bytes; a range ``(start, end)`` is a document or a part of one.
"""

import bisect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from gru_complete.config import DataConfig
from gru_complete.errors import CorpusError
from gru_complete.text.corpus import BLOCK_BYTES, MIN_CORPUS_BYTES, Range, Spool, open_spool

MIN_PART_BYTES = 64
TUNING_SLICES = 8
MIN_SLICE_BYTES = 1024


@dataclass(frozen=True)
class Split:
    """The three splits of a corpus as ranges of the spool, each in its order."""

    training: list[Range]
    tuning: list[Range]
    held_out: list[Range]


def split(spool_path: Path, spool: Spool, data: DataConfig) -> Split:
    """Divide the corpus: held-out text from the end, tuning text in slices spread over what comes before.

    A split begins at a document if one begins nearby, else at a line, else at white space, else at a character. A
    document that repeats an earlier one is never cut: it joins the training split if the earlier one is entirely there,
    and is left out otherwise, so that no split contains text of another.

    Args:
        spool_path: the text that ``spool`` wrote.
        spool: where its documents end, and their hashes.
        data: the shares, and the most bytes, of the held-out and tuning splits.

    Raises:
        CorpusError: the corpus is too small, or the shares leave nothing to train on.
    """
    ends = spool.document_ends
    documents = list(zip([0, *ends[:-1]], ends, strict=True))
    originals = _originals(spool.document_sha256)
    candidates = [documents[index] for index, original in enumerate(originals) if index == original]
    held_out_bytes, tuning_bytes = _sizes(candidates, data, has_repeats=len(candidates) < len(documents))
    with open_spool(spool_path) as stream:
        end = candidates[-1][1]
        cut = _cut_held_out(stream, candidates, held_out_bytes, data.max_held_out_bytes) if held_out_bytes else end
        slices = list(_cut_tuning(stream, _clip(candidates, 0, cut), tuning_bytes, data.max_tuning_bytes))
    borders = [0, *chain.from_iterable(slices), cut]
    trained_on = list(zip(borders[::2], borders[1::2], strict=True))
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


def _originals(document_sha256: Sequence[bytes]) -> list[int]:
    """For each document, the index of the first one with the same text."""
    first_with: dict[bytes, int] = {}
    return [first_with.setdefault(digest, index) for index, digest in enumerate(document_sha256)]


def _sizes(documents: Sequence[Range], data: DataConfig, *, has_repeats: bool) -> tuple[int, int]:
    """Bytes of the held-out and tuning splits.

    Raises:
        CorpusError: the corpus is too small, or too little would be left.
    """
    total = _size(documents)
    if total < MIN_CORPUS_BYTES:
        repeats = ", not counting repeated documents" if has_repeats else ""
        raise CorpusError(
            f"the corpus has {total} bytes of text{repeats}; at least {MIN_CORPUS_BYTES} are needed",
            hint="give more text; to train a useful model takes a few hundred kilobytes",
        )
    held_out = min(max(round(total * data.held_out), MIN_PART_BYTES), data.max_held_out_bytes) if data.held_out else 0
    tuning = min(max(round(total * data.tuning), MIN_PART_BYTES), data.max_tuning_bytes)
    if total - held_out - tuning < total // 8:
        raise CorpusError(
            f"held-out ({held_out} bytes) and tuning text ({tuning}) leave too little of {total} bytes",
            hint="lower data.held_out or data.tuning",
        )
    return held_out, tuning


def _cut_held_out(stream: BinaryIO, documents: Sequence[Range], num_bytes: int, max_bytes: int) -> int:
    """Where the held-out split begins; it reaches to the end."""
    return _place_before(
        stream,
        documents,
        documents[-1][1],
        num_bytes,
        search_backward=min(num_bytes // 20, max_bytes - num_bytes),
        search_forward=num_bytes // 2,
    )


def _cut_tuning(stream: BinaryIO, documents: Sequence[Range], num_bytes: int, max_bytes: int) -> Iterator[Range]:
    """Where evenly spread slices begin and end that hold ``num_bytes`` together; a slice may span documents."""
    total = _size(documents)
    number = min(TUNING_SLICES, max(1, num_bytes // MIN_SLICE_BYTES))
    size, spacing = num_bytes // number, total // number
    slack = min(size, spacing - size) // 4
    longer, end = min(size // 20, max_bytes // number - size), documents[-1][1]
    for index in range(number):
        behind = total - index * spacing - (spacing - size) // 2
        start = _place_before(stream, documents, end, behind, search_backward=slack, search_forward=slack)
        behind = _size(_clip(documents, start, end)) - size
        stop = _place_before(stream, documents, end, behind, search_backward=size // 2, search_forward=longer)
        yield start, stop


def _size(ranges: Iterable[Range]) -> int:
    return sum(end - start for start, end in ranges)


def _place_before(
    stream: BinaryIO, documents: Sequence[Range], end: int, size: int, *, search_backward: int, search_forward: int
) -> int:
    """A good place to cut that has about ``size`` bytes of documents between it and ``end``.

    Args:
        stream: the spool.
        documents: what may be cut.
        end: the offset up to which is counted.
        size: bytes wanted between the place and ``end``.
        search_backward: bytes by which the place may be earlier than wanted.
        search_forward: bytes by which it may be later.
    """
    missing = size
    index = bisect.bisect_left(documents, (end, 0))
    while True:
        index -= 1
        start, stop = documents[index][0], min(documents[index][1], end)
        if stop - start >= missing or index == 0:
            break
        missing -= stop - start
    target = max(stop - missing, start)
    if index > 0 and target - start <= search_backward:
        return start
    if stop < end and stop - target <= min(search_forward, size // 20):
        return documents[index + 1][0]
    low = max(target - min(search_backward, BLOCK_BYTES // 8), start + 1)
    high = min(target + min(search_forward, BLOCK_BYTES // 8), stop - 1)
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
