"""Features of running text that a unit may follow: inside quotation marks or brackets, far along a line, in a match.

Each token has a label: whether the feature holds after the token is read; for matches of a regular expression, whether
any character of the token is in a match. The end of a paragraph (an empty line) closes all quotations and brackets, so
that one missing mark does not invert the labels of the rest of the text.

Shapes: N tokens of a text, L num_layers, S state_rows, H hidden_size.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gru_complete.arrays import BoolArray, FloatArray
from gru_complete.errors import CorpusError, UsageError, printable
from gru_complete.inspection.probes import Probe, probe, state_units
from gru_complete.model.directory import LoadedModel
from gru_complete.model.run_dir import Part, RunDir
from gru_complete.runtime.stepper import Stepper
from gru_complete.text.shards import documents as split_documents
from gru_complete.text.tokenizer import DOCUMENT_END

MAX_TOKENS = 40_000
"""How many tokens of a text are used: the first ones."""

_MIN_TOKENS = 100
_QUOTES = {"“": "”", "„": "“”", "«": "»", "「": "」", "『": "』", '"': '"'}
_BRACKETS = {"(": ")", "[": "]", "{": "}"}

Labels = npt.NDArray[np.int64]


class FeatureReport(NamedTuple):
    """The units that follow a feature.

    Attributes:
        feature: its name, as in a heading.
        share: the share of tokens for which it holds.
        probe: the units, and how well they follow it.
    """

    feature: str
    share: float
    probe: Probe

    def to_json(self) -> dict[str, Any]:
        """One of ``find`` in ``inspect --json``."""
        return {"feature": self.feature, "share": self.share, **self.probe.to_json()}


def inside_quotes(text: str) -> Labels:
    """1 for each character after which a quotation is open, ``(characters,)``; apostrophes do not open one."""
    labels = np.zeros(len(text), np.int64)
    closing = ""
    for index, char in enumerate(text):
        if _ends_paragraph(text, index):
            closing = ""
        elif closing:
            closing = "" if char in closing else closing
        else:
            closing = _QUOTES.get(char, "")
        labels[index] = bool(closing)
    return labels


def inside_brackets(text: str) -> Labels:
    """1 for each character after which a bracket is open, ``(characters,)``; a bracket closes only its own kind."""
    labels = np.zeros(len(text), np.int64)
    closing: list[str] = []
    for index, char in enumerate(text):
        if _ends_paragraph(text, index):
            closing.clear()
        elif char in _BRACKETS:
            closing.append(_BRACKETS[char])
        elif closing and char == closing[-1]:
            closing.pop()
        labels[index] = bool(closing)
    return labels


def line_lengths(text: str) -> Labels:
    """For each character, its number on its line, ``(characters,)``; 0 for a newline."""
    places = np.arange(len(text))
    newlines = np.array([char == "\n" for char in text], bool)
    lengths: Labels = places - np.maximum.accumulate(np.where(newlines, places, -1))
    return lengths


def inside_matches(pattern: re.Pattern[str]) -> Callable[[str], Labels]:
    """A feature that is 1 for each character inside a match of a regular expression."""

    def label(text: str) -> Labels:
        labels = np.zeros(len(text), np.int64)
        for match in pattern.finditer(text):
            labels[match.start() : match.end()] = 1
        return labels

    return label


def _ends_paragraph(text: str, index: int) -> bool:
    return text[index] == "\n" and text[index - 1 : index] == "\n"


_NAMED: dict[str, Callable[[str], Labels]] = {
    "quotes": inside_quotes,
    "brackets": inside_brackets,
    "line-length": line_lengths,
}


def feature_from_name(name: str) -> Callable[[str], Labels]:
    """The function that labels each character: of a named feature, else of a regular expression.

    In a regular expression, ^ and $ match at the ends of lines.

    Raises:
        UsageError: the name is neither.
    """
    if name in _NAMED:
        return _NAMED[name]
    try:
        return inside_matches(re.compile(name, re.MULTILINE))
    except re.error as error:
        message = f"--find {name[:60]!r} is not a regular expression: {error.msg}"
        hint = f"features with a name are {', '.join(_NAMED)}, pairs:FILE"
        raise UsageError(message, hint=hint) from None


def unseen_documents(model: LoadedModel) -> list[list[int]]:
    """The text in the run directory that the network has not learnt from: the held-out split, else the tuning split.

    Returns:
        Token ids of each document, without document ends.

    Raises:
        UsageError: there is no such text, so the user must name one.
        ModelError: the text was tokenized for another training.
    """
    hint = "give a text with --text FILE"
    run_dir = RunDir.beside(model.path)
    unseen: tuple[Part, ...] = ("held_out", "tuning")
    for part in unseen:
        if run_dir.has_part(part):
            stream, _ = run_dir.read_part(part, model.tokenizer, hint=hint)
            documents = [document[document != DOCUMENT_END].tolist() for document in split_documents(stream)]
            return [document for document in documents if document]
    raise UsageError(f"no unseen text was kept for {printable(model.path.name)}", hint=hint)


def find_feature(model: LoadedModel, name: str, documents: Iterable[Sequence[int]]) -> FeatureReport:
    """Find the units that follow a feature: chosen on the first half of the tokens, tested on the second.

    Args:
        model: the model.
        name: see ``feature_from_name``.
        documents: token ids without document ends; the first ``MAX_TOKENS`` of them all are used.

    Raises:
        UsageError: there is no such feature.
        CorpusError: the text is too short, or the feature holds always or never in one half.
    """
    feature = feature_from_name(name)
    tokens: list[list[int]] = []
    labels: list[Labels] = []
    for document in documents:
        part = list(document[: MAX_TOKENS - sum(map(len, tokens))])
        tokens.append(part)
        pieces = [model.tokenizer.pieces[token] for token in part]
        if part:
            labels.append(_token_labels(pieces, feature, of_any=name not in _NAMED))
    flat = np.concatenate(labels) if labels else np.zeros(0, np.int64)
    if len(flat) < _MIN_TOKENS:
        raise CorpusError(f"{len(flat)} tokens are too few to search", hint="give more text with --text FILE")
    is_fitted = np.arange(len(flat)) < len(flat) // 2
    heading, above = name, 0
    if name == "line-length":
        above = int(np.median(flat[is_fitted]))
        heading = f"line-length above {above}"
    holds = flat > above
    _check_both_cases_occur(name, holds, is_fitted)
    states = _states(model, tokens)
    units = state_units(states.shape[1:])
    result = probe(states.reshape(len(flat), -1), holds, is_fitted, units, are_independent=False)
    return FeatureReport(heading, float(holds.mean()), result)


def _check_both_cases_occur(name: str, holds: BoolArray, is_fitted: BoolArray) -> None:
    """Refuse a text in one of whose halves the feature holds always or never."""
    for half, place in ((is_fitted, "first"), (~is_fitted, "second")):
        if holds[half].all() or not holds[half].any():
            how = "everywhere" if holds[half].all() else "nowhere"
            message = f"--find {name[:60]}: the feature holds {how} in the {place} half of the text"
            raise CorpusError(message, hint="give a text with --text FILE that has the feature in some places only")


def _token_labels(pieces: Sequence[bytes], feature: Callable[[str], Labels], *, of_any: bool) -> Labels:
    """The label of each token, ``(N,)``: that of its last character, or the greatest of any of them."""
    text = b"".join(pieces).decode("utf-8", "surrogateescape")  # a byte that is not UTF-8 counts as a character
    of_bytes = np.repeat(feature(text), [len(char.encode("utf-8", "surrogateescape")) for char in text])
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    labels: Labels = np.maximum.reduceat(of_bytes, np.append(0, ends[:-1])) if of_any else of_bytes[ends - 1]
    return labels


def _states(model: LoadedModel, documents: Sequence[Sequence[int]]) -> FloatArray:
    """The states after each token of some documents, each read on its own, ``(N, L, S, H)``."""
    stepper = Stepper(model.manifest.arch, model.weights)
    states = np.empty((sum(map(len, documents)), *stepper.state_shape), np.float32)
    place = 0
    for document in documents:
        _, state = stepper.step(DOCUMENT_END, stepper.initial_state())
        for token in document:
            _, state = stepper.step(token, state)
            states[place] = state
            place += 1
    return states
