"""The probability of text, not of tokens: summed over the segmentations of the text's end.

A prompt may end within a token, and the same bytes may be cut into tokens in many ways. Up to its last segment (white
space and a word, ``text/tokenizer.py``) a text is read in its one canonical segmentation. Within the last segment every
token boundary that some segmentation has is a *hypothesis*: where the boundary lies, what the model has read up to it
(a GRU state and counts of its own), the probability w of those tokens, and the *remainder* r, the bytes after it. It
stands for what begins with r and goes on::

    mass = w * (probability of all tokens that begin with r and are longer)     r empty: w, for any token may follow
    P(text) = sum of the masses

Tokens that equal r are hypotheses of their own, with the boundary at the end of the text. Summed over all hypotheses
this is exact (``width=None``), but their number doubles with each byte. So they are looked at from the likeliest on,
and left out is what has less than ``NEGLIGIBLE`` of the mass that was found or of the likeliest hypothesis with the
same boundary, and all beyond the ``width`` likeliest with the same boundary. What comes out is a sum of part of the
segmentations: never more than the truth, and a function of the text alone, wherever it was cut on the way.

Other work on this: Phan et al. 2024 (arXiv:2410.09303), Vieira et al. 2024 (arXiv:2412.03719).

Shapes: V vocab_size, D different pieces.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import cached_property
from heapq import heappop, heappush, nsmallest
from itertools import count
from typing import NamedTuple, TypeVar

import numpy as np

from gru_complete.arrays import Float64Array, FloatArray
from gru_complete.errors import ModelError
from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime.first_tokens import FirstTokens, Row
from gru_complete.runtime.piece_index import _END, PieceIndex
from gru_complete.runtime.predictor import DecoderState, Predictor
from gru_complete.text.tokenizer import DOCUMENT_END

DEFAULT_WIDTH = 8
NEGLIGIBLE = 1e-3
"""What has less than this of the probability is left out."""

_MIN_LOG_PROBABILITY = (
    -87.0
)  # the least log probability of a token: its exponential is no 0 in float32, so all text is possible
_TOGETHER = 8  # hypotheses are stepped as one product at most: more rows cost little more than one

Result = TypeVar("Result")


class Node:
    """A token boundary within the segment, reached by one sequence of tokens; read when it is needed (``read``).

    Attributes:
        boundary: bytes of the segment before it.
        log_weight: the log probability of its tokens.
        before: where its last token begins.
        token: the last token, or None where all was read.
        decoder_state: where it ends, once the node was read.
        log_probabilities: of the next token, ``(V,)``; None until the node was read.
        probabilities: their exponentials, in the order of the index, ``(V - 1,)``.
        children: by token.
    """

    __slots__ = (
        "before",
        "boundary",
        "children",
        "log_probabilities",
        "log_weight",
        "probabilities",
        "decoder_state",
        "token",
    )

    def __init__(self, boundary: int, log_weight: float, before: DecoderState, token: int | None) -> None:
        self.boundary = boundary
        self.log_weight = log_weight
        self.before = before
        self.token = token
        self.decoder_state: DecoderState = before
        self.log_probabilities: FloatArray | None = None
        self.probabilities: FloatArray | None = None
        self.children: dict[int, Node] = {}

    def child(self, token: int, num_bytes: int) -> Node:
        """Return the node after one more token; this one was read."""
        found = self.children.get(token)
        if found is None:
            assert self.log_probabilities is not None
            log_weight = self.log_weight + float(self.log_probabilities[token])
            found = self.children[token] = Node(self.boundary + num_bytes, log_weight, self.decoder_state, token)
        return found


class _Model(NamedTuple):
    """What all hypotheses of a segment share."""

    predictor: Predictor
    pieces: PieceIndex
    overlay: Overlay | None
    width: int | None
    negligible: float  # a log probability

    def read_all(self, search: Generator[list[Node], None, Result]) -> Result:
        """Let a search go on to its end; returns what it finds."""
        while True:
            try:
                nodes = next(search)
            except StopIteration as end:
                result: Result = end.value
                return result
            unread = [node for node in nodes if node.token is not None]
            with np.errstate(over="ignore", invalid="ignore"):  # a stranger's weights may overflow
                decoder_states = self.predictor.step_many(
                    [node.before for node in unread], [node.token for node in unread if node.token is not None]
                )
                for node, decoder_state in zip(unread, decoder_states, strict=True):
                    node.decoder_state = decoder_state
                rows = self.predictor.log_probabilities([node.decoder_state for node in nodes], self.overlay)
            fill(self.pieces, nodes, rows)


def fill(pieces: PieceIndex, nodes: Sequence[Node], log_probabilities: FloatArray) -> None:
    """Tell nodes, whose ``decoder_state`` is known, what may follow them.

    Args:
        pieces: the vocabulary.
        nodes: at least one.
        log_probabilities: the model's, ``(N, V)``; may be changed.

    Raises:
        ModelError: they are not finite.
    """
    np.maximum(
        log_probabilities, _MIN_LOG_PROBABILITY, out=log_probabilities
    )  # also what overflowed downwards, but no NaN
    with np.errstate(over="ignore", invalid="ignore"):
        probabilities = log_probabilities.take(pieces.order, axis=1)
        np.exp(probabilities, probabilities)
        if not math.isfinite(float(probabilities.sum())):
            raise ModelError(
                "the model's scores are not finite numbers", hint="train it again: its weights are damaged"
            )
    for node, row, ordered in zip(nodes, log_probabilities, probabilities, strict=True):
        node.log_probabilities, node.probabilities = row, ordered


def _unread(nodes: Iterable[Node]) -> Generator[list[Node], None, None]:
    """Ask for those nodes that are not read yet."""
    nodes = [node for node in nodes if node.log_probabilities is None]
    if nodes:
        yield nodes


class Hypotheses:
    """The segmentations of a text's last segment: an immutable value. Made by ``open``, ``extended`` and ``thorough``.

    Attributes:
        predictor: the model.
        pieces: its vocabulary.
        overlay: what the text before the segment has said.
        segment: the bytes of the segment.
    """

    def __init__(self, model: _Model, root: Node, segment: bytes) -> None:
        self.predictor = model.predictor
        self.pieces = model.pieces
        self.overlay = model.overlay
        self.segment = segment
        self._model = model
        self._root = root  # of the tree of all nodes; it grows where they are asked for

    @classmethod
    def open(
        cls,
        predictor: Predictor,
        pieces: PieceIndex,
        decoder_state: DecoderState,
        segment: bytes,
        overlay: Overlay | None,
        *,
        width: int | None = DEFAULT_WIDTH,
    ) -> Hypotheses:
        """Find the segmentations of a segment, or the likeliest of them.

        Args:
            predictor: the model.
            pieces: its vocabulary.
            decoder_state: where the segment begins.
            segment: its bytes so far; may be empty.
            overlay: what the text before it has said.
            width: the most hypotheses that are read at each boundary, and that predictions are made of. With None
                nothing is left out: for proofs, since their number doubles with each byte.

        Raises:
            ModelError: the model's scores are not finite.
        """
        model = _Model(predictor, pieces, overlay, width, math.log(NEGLIGIBLE) if width else -math.inf)
        return cls(model, Node(0, 0.0, decoder_state, None), segment)

    def extended(self, data: bytes) -> tuple[Hypotheses, float]:
        """Take more bytes of the same segment.

        Returns:
            The hypotheses after them, and their natural log probability given the text so far.
        """
        after = self.for_segment(self.segment + data)
        return after, after.total - self.total

    @property
    def start(self) -> DecoderState:
        """Where the segment begins."""
        return self._root.before

    def for_segment(self, segment: bytes) -> Hypotheses:
        """The hypotheses of another segment that begins in the same place; what both have is found once."""
        return Hypotheses(self._model, self._root, segment)

    @property
    def end_log_probability(self) -> float:
        """The natural log probability that the document ends here, given the text so far."""
        total, found = self._found
        at_end = [node for node, _ in found if node.boundary == len(self.segment)]
        if not at_end:
            return self.without_pruning().end_log_probability
        self._model.read_all(_unread(at_end))
        ends = [
            node.log_weight + float(node.log_probabilities[DOCUMENT_END])
            for node in at_end
            if node.log_probabilities is not None
        ]
        return _log_sum(ends) - total

    def without_pruning(self) -> Hypotheses:
        """Leave out only what ``width`` does: then every byte may follow, however unlikely."""
        return Hypotheses(self._model._replace(negligible=-math.inf), self._root, self.segment)

    @property
    def total(self) -> float:
        """The natural log probability of the segment, given the text before it."""
        return self._found[0]

    def next_bytes(self) -> Float64Array:
        """Return the probability of each next byte, at 256 that the document ends here: ``(257,)``, their sum 1."""
        pieces = self._model.pieces
        chances = np.zeros(_END + 1)
        for row, node in zip(self.rows(), self._live, strict=True):
            scale = math.exp(row.log_weight)
            _, longer, stop = pieces.range(row.remainder)
            assert node.probabilities is not None
            shares = node.probabilities[longer:stop]
            chances[:_END] += scale * np.bincount(pieces.next_bytes(row.remainder), shares, _END)
            if not row.remainder:
                chances[_END] += scale * math.exp(row.log_probabilities[DOCUMENT_END])
        chances /= chances.sum()
        return chances

    def first_tokens(self) -> FirstTokens:
        """Return what one more token may add to the text."""
        pieces = self._model.pieces
        chances = np.zeros(len(pieces.distinct))
        more: dict[bytes, float] = {}
        rows = self.rows()
        for row, node in zip(rows, self._live, strict=True):
            scale = math.exp(row.log_weight)
            assert node.probabilities is not None
            if not row.remainder:
                chances += scale * np.bincount(pieces.ordered_place, node.probabilities, len(chances))
                chances[0] += scale * math.exp(row.log_probabilities[DOCUMENT_END])
                continue
            _, longer, stop = pieces.range(row.remainder)
            own, places, rest, texts = pieces.endings(row.remainder)
            shares = scale * node.probabilities[longer:stop].astype(np.float64)
            np.add.at(chances, places, shares[own])
            for text, share in zip(texts, shares[rest].tolist(), strict=True):
                more[text] = more.get(text, 0.0) + share
        chances = np.concatenate((chances, list(more.values())))
        with np.errstate(divide="ignore"):
            log_probabilities = np.log(chances / chances.sum())
        return FirstTokens([*pieces.distinct, *more], log_probabilities, rows, pieces)

    def rows(self) -> list[Row]:
        """Return the likeliest hypotheses, at most ``width``, the likeliest first."""
        found = []
        for node in self._live:
            assert node.log_probabilities is not None
            found.append(
                Row(node.log_weight, node.decoder_state, self.segment[node.boundary :], node.log_probabilities)
            )
        masses = {id(node): log_mass for node, log_mass in self._found[1]}
        whole = _log_sum([masses[id(node)] for node in self._live])
        return [row._replace(log_weight=row.log_weight - whole) for row in found]

    def unread(self) -> Iterator[list[Node]]:
        """Look for the likeliest hypotheses without reading on: for who reads for many texts at once.

        Yields:
            Nodes whose ``decoder_state`` must be found, and which must be told what follows them (``fill``), before it
            goes on. At its end ``total``, ``rows``, ``openings`` and ``next_bytes`` have all that they need.
        """
        if "_found" not in self.__dict__:
            self._found = yield from self._search(ahead=1)
        if "_live" not in self.__dict__:
            self._live = yield from self._choose()

    @cached_property
    def _live(self) -> list[Node]:
        """The nodes of ``rows``, all of them read."""
        return self._model.read_all(self._choose())

    def _choose(self) -> Generator[list[Node], None, list[Node]]:
        total, found = self._found
        model = self._model
        found = sorted((pair for pair in found if pair[1] >= total + model.negligible), key=lambda pair: -pair[1])
        nodes = [node for node, _ in found[: None if model.negligible == -math.inf else model.width]]
        yield from _unread(nodes)
        return nodes

    @cached_property
    def _found(self) -> tuple[float, list[tuple[Node, float]]]:
        """The logarithm of the sum of all masses, and the nodes that have one, with its logarithm."""
        return self._model.read_all(self._search(ahead=_TOGETHER))

    def _search(self, *, ahead: int) -> Generator[list[Node], None, tuple[float, list[tuple[Node, float]]]]:
        model, segment, end = self._model, self.segment, len(self.segment)
        if not segment:
            return 0.0, [(self._root, 0.0)]
        total = -math.inf
        found: list[tuple[Node, float]] = []
        number = count()  # so that the heap never compares nodes
        heap = [(0.0, next(number), self._root)]
        taken: dict[int, int] = {}  # how many, by boundary
        most: dict[int, float] = {}  # the log weight of the likeliest, by boundary
        while heap:
            _, _, node = heappop(heap)
            boundary, log_weight, floor = node.boundary, node.log_weight, total + model.negligible
            if log_weight < floor:
                break
            if taken.get(boundary, 0) == model.width:
                continue
            if log_weight < most.setdefault(boundary, log_weight) + model.negligible:
                continue
            if node.log_probabilities is None:
                likely = [node]
                if ahead > 1:  # what will be needed next
                    others = [other for _, _, other in nsmallest(ahead, heap)]
                    others += [other for other, _ in found if other.boundary == end]
                    floor = max(total, log_weight) + model.negligible
                    likely += [other for other in others if other.log_weight >= floor]
                yield from _unread(likely[:ahead])
            taken[boundary] = taken.get(boundary, 0) + 1
            remainder = segment[boundary:]
            ranges = self.pieces.beginning(remainder)
            for size, (start, longer, _) in enumerate(ranges, start=1):
                for token in self.pieces.order[start:longer].tolist():
                    child = node.child(token, size)
                    if child.boundary < end:
                        heappush(heap, (-child.log_weight, next(number), child))
                    else:
                        found.append((child, child.log_weight))
                        total = _log_sum([total, child.log_weight])
            if len(ranges) == len(remainder):
                _, longer, stop = ranges[-1]
                if longer < stop:
                    assert node.probabilities is not None
                    log_mass = node.log_weight + math.log(float(node.probabilities[longer:stop].sum()))
                    found.append((node, log_mass))
                    total = _log_sum([total, log_mass])
        return total, found


def _log_sum(values: Sequence[float]) -> float:
    """Return the logarithm of the sum of the exponentials."""
    peak = max(values, default=-math.inf)
    if peak == -math.inf:
        return peak
    return peak + math.log(sum(math.exp(value - peak) for value in values))
