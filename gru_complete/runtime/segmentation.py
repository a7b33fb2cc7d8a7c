"""The probability of text, not of tokens: summed over the segmentations of the text's end.

A prompt may end within a token, and the same bytes may be cut into tokens in many ways. Up to its last segment (white
space and a word, ``text/tokenizer.py``) a text is read in its one canonical segmentation. Within the last segment, each
way to cut a beginning of it into tokens is a *hypothesis*: a token boundary, what the model has read up to it, the
probability w of those tokens, and the *remainder* r, the bytes after the boundary. It represents all texts that
continue with a token that begins with r and is longer::

    mass = w * (probability of all tokens that begin with r and are longer)     r empty: w, since any token may follow
    P(text) = sum of the masses

Tokens that equal r lead to hypotheses of their own, with the boundary at the end of the text. Summed over all
hypotheses this is exact (``width=None``), but their number doubles with each byte. So they are examined from the most
likely on, and three kinds are left out: those with less than ``NEGLIGIBLE`` of the mass found so far, those with less
than ``NEGLIGIBLE`` of the most likely hypothesis at the same boundary, and all but the ``width`` most likely at each
boundary. The result is a sum over some of the segmentations: never more than the true probability, and a function of
the text alone, wherever it was cut on the way.

Related work: Phan et al. 2024 (arXiv:2410.09303), Vieira et al. 2024 (arXiv:2412.03719).

Shapes: K hypotheses kept, V vocab_size, D distinct texts that a first token can add.
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
from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime.first_tokens import FirstTokens, Row
from gru_complete.runtime.piece_index import END_BYTE, PieceIndex
from gru_complete.runtime.predictor import DecoderState, Predictor, overflow_allowed
from gru_complete.runtime.result_iterator import ResultIterator
from gru_complete.runtime.sampling import damaged_scores
from gru_complete.text.tokenizer import DOCUMENT_END

DEFAULT_WIDTH = 8
"""Hypotheses kept at each boundary."""
NEGLIGIBLE = 1e-3
"""Hypotheses with less than this share of the probability are left out."""

_MIN_LOG_PROBABILITY = -87.0
"""A token is never less likely than this: its exponential is not 0 in float32, so that every text is possible."""
_READ_TOGETHER = 8  # the most hypotheses that are read as one product: more rows cost little more than one

Result = TypeVar("Result")


class Node:
    """A token boundary within the segment, reached by one sequence of tokens. It is read when that is needed.

    Attributes:
        boundary: bytes of the segment before it.
        log_weight: the natural log probability of its tokens.
        before: where its last token begins.
        token: the last token; None at the start of the segment, where nothing is left to read.
        decoder_state: where the last token ends, once the node was read.
        log_probabilities: of the next token, ``(V,)``; None until the node was read.
        probabilities: their exponentials, in the order of the index, ``(V - 1,)``.
        children: by token.
    """

    __slots__ = (
        "before",
        "boundary",
        "children",
        "decoder_state",
        "log_probabilities",
        "log_weight",
        "probabilities",
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
        """Return the node after one more token of ``num_bytes`` bytes; this node was read."""
        child = self.children.get(token)
        if child is None:
            assert self.log_probabilities is not None
            log_weight = self.log_weight + float(self.log_probabilities[token])
            child = self.children[token] = Node(self.boundary + num_bytes, log_weight, self.decoder_state, token)
        return child


class _SearchSettings(NamedTuple):
    """What all hypotheses of a segment share."""

    predictor: Predictor
    pieces: PieceIndex
    overlay: Overlay | None
    width: int | None
    negligible: float  # a natural log probability

    def run(self, search: Generator[list[Node], None, Result]) -> Result:
        """Run a search to its end, reading the nodes it yields; return its result."""
        steps = ResultIterator(search)
        for nodes in steps:
            self.read(nodes)
        return steps.result

    def read(self, nodes: Sequence[Node]) -> None:
        """Read nodes, as one product."""
        unread = [node for node in nodes if node.token is not None]
        with overflow_allowed():
            decoder_states = self.predictor.step_many(
                [node.before for node in unread], [node.token for node in unread if node.token is not None]
            )
            for node, decoder_state in zip(unread, decoder_states, strict=True):
                node.decoder_state = decoder_state
            rows = self.predictor.log_probabilities([node.decoder_state for node in nodes], self.overlay)
        fill(self.pieces, nodes, rows)


def fill(pieces: PieceIndex, nodes: Sequence[Node], log_probabilities: FloatArray) -> None:
    """Store the predictions of nodes whose ``decoder_state`` is known.

    Args:
        pieces: the vocabulary.
        nodes: K of them, at least one.
        log_probabilities: the model's, ``(K, V)``; changed, and kept by the nodes.

    Raises:
        ModelError: they are not finite.
    """
    np.maximum(log_probabilities, _MIN_LOG_PROBABILITY, out=log_probabilities)  # also -inf, but not NaN
    with overflow_allowed():
        probabilities = log_probabilities.take(pieces.order, axis=1)
        np.exp(probabilities, probabilities)
        if not math.isfinite(float(probabilities.sum())):
            raise damaged_scores()
    for node, row, ordered in zip(nodes, log_probabilities, probabilities, strict=True):
        node.log_probabilities, node.probabilities = row, ordered


class _Masses:
    """The hypotheses that have a mass, with its natural logarithm, and the logarithm of the sum of all masses."""

    def __init__(self) -> None:
        self.total = -math.inf
        self.by_node: list[tuple[Node, float]] = []

    def add(self, node: Node, log_mass: float) -> None:
        """Add a hypothesis."""
        self.by_node.append((node, log_mass))
        self.total = _log_sum([self.total, log_mass])


class Hypotheses:
    """The segmentations of a text's last segment: an immutable value.

    ``open`` makes one for a text; ``extended``, ``for_segment`` and ``without_pruning`` make others of it. All of these
    share one tree of nodes, which grows as they are used.

    Attributes:
        predictor: the model.
        pieces: its vocabulary.
        overlay: what was learnt from the text before the segment.
        segment: the bytes of the segment.
    """

    def __init__(self, settings: _SearchSettings, root: Node, segment: bytes) -> None:
        self.predictor = settings.predictor
        self.pieces = settings.pieces
        self.overlay = settings.overlay
        self.segment = segment
        self._settings = settings
        self._root = root

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
        """Return the segmentations of a segment, or the most likely of them. They are found when they are needed.

        All that returns a probability raises ``ModelError`` if the model's scores are not finite.

        Args:
            predictor: the model.
            pieces: its vocabulary.
            decoder_state: where the segment begins.
            segment: its bytes so far; may be empty.
            overlay: what was learnt from the text before it.
            width: the most hypotheses that are read at each boundary, and the most that predictions are made of. None
                leaves out nothing: for proofs, since their number doubles with each byte.
        """
        settings = _SearchSettings(predictor, pieces, overlay, width, math.log(NEGLIGIBLE) if width else -math.inf)
        return cls(settings, Node(0, 0.0, decoder_state, None), segment)

    def extended(self, data: bytes) -> tuple[Hypotheses, float]:
        """Return the hypotheses after more bytes of the segment, and the bytes' natural log probability."""
        after = self.for_segment(self.segment + data)
        return after, after.total - self.total

    @property
    def start(self) -> DecoderState:
        """Where the segment begins."""
        return self._root.before

    def for_segment(self, segment: bytes) -> Hypotheses:
        """Return the hypotheses of another segment that begins in the same place; common beginnings are shared."""
        return Hypotheses(self._settings, self._root, segment)

    def without_pruning(self) -> Hypotheses:
        """Return the same hypotheses and the negligible ones, up to ``width``: then any byte may follow."""
        return Hypotheses(self._settings._replace(negligible=-math.inf), self._root, self.segment)

    @property
    def total(self) -> float:
        """The natural log probability of the segment, given the text before it."""
        return self._masses.total

    @property
    def end_log_probability(self) -> float:
        """The natural log probability that the document ends here, given the text so far."""
        at_end = [node for node, _ in self._masses.by_node if node.boundary == len(self.segment)]
        if not at_end:
            return self.without_pruning().end_log_probability
        self._settings.run(_read_if_needed(at_end))
        ends = [
            node.log_weight + float(node.log_probabilities[DOCUMENT_END])
            for node in at_end
            if node.log_probabilities is not None
        ]
        return _log_sum(ends) - self.total

    def next_bytes(self) -> Float64Array:
        """Return the probability of each next byte, and at ``END_BYTE`` of the document end: ``(257,)``, its sum 1."""
        pieces = self.pieces
        chances = np.zeros(END_BYTE + 1)
        for row, node in zip(self.rows(), self._kept, strict=True):
            scale = math.exp(row.log_weight)
            _, longer, stop = pieces.range(row.remainder)
            assert node.probabilities is not None
            shares = node.probabilities[longer:stop]
            chances[:END_BYTE] += scale * np.bincount(pieces.next_bytes(row.remainder), shares, END_BYTE)
            if not row.remainder:
                chances[END_BYTE] += scale * math.exp(row.log_probabilities[DOCUMENT_END])
        chances /= chances.sum()
        return chances

    def first_tokens(self) -> FirstTokens:
        """Return what one more token may add to the text."""
        pieces = self.pieces
        chances = np.zeros(len(pieces.distinct))
        chances_of_endings: dict[bytes, float] = {}  # of texts that are only the end of a piece
        rows = self.rows()
        for row, node in zip(rows, self._kept, strict=True):
            scale = math.exp(row.log_weight)
            assert node.probabilities is not None
            if not row.remainder:
                chances += scale * np.bincount(pieces.ordered_place, node.probabilities, len(chances))
                chances[0] += scale * math.exp(row.log_probabilities[DOCUMENT_END])
                continue
            _, longer, stop = pieces.range(row.remainder)
            endings = pieces.endings(row.remainder)
            shares = scale * node.probabilities[longer:stop].astype(np.float64)
            np.add.at(chances, endings.places, shares[endings.whole])
            for text, share in zip(endings.texts, shares[endings.partial].tolist(), strict=True):
                chances_of_endings[text] = chances_of_endings.get(text, 0.0) + share
        chances = np.concatenate((chances, list(chances_of_endings.values())))
        with np.errstate(divide="ignore"):
            log_probabilities = np.log(chances / chances.sum())
        return FirstTokens([*pieces.distinct, *chances_of_endings], log_probabilities, rows, pieces)

    def rows(self) -> list[Row]:
        """Return the most likely hypotheses, at most ``width``, the most likely first."""
        rows = []
        for node in self._kept:
            assert node.log_probabilities is not None
            rows.append(Row(node.log_weight, node.decoder_state, self.segment[node.boundary :], node.log_probabilities))
        log_masses = {id(node): log_mass for node, log_mass in self._masses.by_node}
        total = _log_sum([log_masses[id(node)] for node in self._kept])
        return [row._replace(log_weight=row.log_weight - total) for row in rows]

    def read_in_steps(self) -> Iterator[list[Node]]:
        """Find the hypotheses, but leave the reading to the caller, who may do it for many texts at once.

        Yields:
            Nodes whose ``decoder_state`` the caller must set, and whose predictions it must store (``fill``), before
            it continues. At the end all is known that ``total``, ``rows``, ``first_tokens`` and ``next_bytes`` need.
        """
        if "_masses" not in self.__dict__:
            self._masses = yield from self._search(ahead=1)
        if "_kept" not in self.__dict__:
            self._kept = yield from self._choose()

    @cached_property
    def _kept(self) -> list[Node]:
        """The K nodes of ``rows``, all of them read."""
        return self._settings.run(self._choose())

    @cached_property
    def _masses(self) -> _Masses:
        """The hypotheses that have a mass."""
        return self._settings.run(self._search(ahead=_READ_TOGETHER))

    def _choose(self) -> Generator[list[Node], None, list[Node]]:
        """Choose the hypotheses that predictions are made of, the most likely first."""
        negligible, width = self._settings.negligible, self._settings.width
        heavy = [pair for pair in self._masses.by_node if pair[1] >= self._masses.total + negligible]
        heavy.sort(key=lambda pair: -pair[1])
        nodes = [node for node, _ in heavy[: None if negligible == -math.inf else width]]
        yield from _read_if_needed(nodes)
        return nodes

    def _search(self, *, ahead: int) -> Generator[list[Node], None, _Masses]:
        """Find the hypotheses of the segment, the most likely first (best-first search over token boundaries).

        The heap holds all boundaries before the segment's end that were reached and not yet examined. A child is never
        more likely than its parent, so nodes leave the heap in the order of their weight, and the mass found so far
        only grows. Therefore the search may stop at the first node that is negligible beside that mass.

        Args:
            ahead: the most nodes to read at once. More than are needed next may be read, where that saves a product.

        Yields:
            Nodes that must be read before the search continues.
        """
        masses = _Masses()
        if not self.segment:
            masses.by_node, masses.total = [(self._root, 0.0)], 0.0
            return masses
        width, negligible = self._settings.width, self._settings.negligible
        number = count()  # so that the heap never compares nodes
        heap = [(0.0, next(number), self._root)]
        num_examined: dict[int, int] = {}  # nodes, by boundary
        heaviest: dict[int, float] = {}  # the log weight of the most likely node, by boundary
        while heap:
            # 1. Take the most likely boundary; leave it out if it adds too little.
            _, _, node = heappop(heap)
            boundary = node.boundary
            if node.log_weight < masses.total + negligible:
                break
            if num_examined.get(boundary, 0) == width:
                continue
            if node.log_weight < heaviest.setdefault(boundary, node.log_weight) + negligible:
                continue
            # 2. Read it, and with it what will be needed next.
            if node.log_probabilities is None:
                yield from _read_if_needed(self._likely_next(node, heap, masses, ahead))
            # 3. Go on from it: tokens within the segment, and the mass of the tokens that reach beyond its end.
            num_examined[boundary] = num_examined.get(boundary, 0) + 1
            for child in self._expand(node, masses):
                heappush(heap, (-child.log_weight, next(number), child))
        return masses

    def _likely_next(self, node: Node, heap: list[tuple[float, int, Node]], masses: _Masses, ahead: int) -> list[Node]:
        """Return a node that must be read, and others, at most ``ahead`` in all, that will probably be needed next."""
        if ahead == 1:
            return [node]
        others = [other for _, _, other in nsmallest(ahead, heap)]
        others += [other for other, _ in masses.by_node if other.boundary == len(self.segment)]
        floor = max(masses.total, node.log_weight) + self._settings.negligible
        return [node, *(other for other in others if other.log_weight >= floor)][:ahead]

    def _expand(self, node: Node, masses: _Masses) -> Iterator[Node]:
        """Yield the children of a node within the segment; add to the masses what it and its other children weigh."""
        end = len(self.segment)
        remainder = self.segment[node.boundary :]
        ranges = self.pieces.beginning(remainder)
        for size, (start, longer, _) in enumerate(ranges, start=1):
            for token in self.pieces.order[start:longer].tolist():
                child = node.child(token, size)
                if child.boundary < end:
                    yield child
                else:
                    masses.add(child, child.log_weight)
        if len(ranges) == len(remainder):  # some piece begins with the remainder
            _, longer, stop = ranges[-1]
            if longer < stop:
                assert node.probabilities is not None
                masses.add(node, node.log_weight + math.log(float(node.probabilities[longer:stop].sum())))


def _read_if_needed(nodes: Iterable[Node]) -> Generator[list[Node], None, None]:
    """Yield those nodes that are not read yet, if any."""
    nodes = [node for node in nodes if node.log_probabilities is None]
    if nodes:
        yield nodes


def _log_sum(values: Sequence[float]) -> float:
    """Return the natural logarithm of the sum of the exponentials."""
    peak = max(values, default=-math.inf)
    if peak == -math.inf:
        return peak
    return peak + math.log(sum(math.exp(value - peak) for value in values))
