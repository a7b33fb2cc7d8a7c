"""Features of running text that a unit may follow: inside quotation marks or brackets, far along a line, in a match.

A feature is said of each token: whether it holds once the token is read; of a match, whether it has a character of the
token. A paragraph's end (an empty line) ends all
quotations and brackets, so that one mark too many does not turn the rest of the text around.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gru_complete.arrays import FloatArray
from gru_complete.errors import CorpusError, UsageError, printable
from gru_complete.inspection.probes import Probe, probe, state_units
from gru_complete.model.directory import LoadedModel
from gru_complete.model.run_dir import Part, RunDir
from gru_complete.runtime.stepper import Stepper
from gru_complete.text.shards import documents as split_documents
from gru_complete.text.tokenizer import DOCUMENT_END

MAX_TOKENS = 40_000
"""How much of a text is looked through: its first tokens."""

_MIN_TOKENS = 100
_QUOTES = {"“": "”", "„": "“”", "«": "»", "「": "」", "『": "』", '"': '"'}
_BRACKETS = {"(": ")", "[": "]", "{": "}"}

Labels = npt.NDArray[np.int64]


class FeatureReport(NamedTuple):
    """What was found of a feature.

    Attributes:
        feature: its name, as it may stand in a heading.
        share: how often it holds.
        probe: the units.
    """

    feature: str
    share: float
    probe: Probe

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``inspect --json``."""
        return {"feature": self.feature, "share": self.share, **self.probe.to_json()}


def inside_quotes(text: str) -> Labels:
    """1 for each character after which a quotation is open, ``(characters,)``; apostrophes open none."""
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
    """1 for each character after which a bracket is open, ``(characters,)``; a closing one closes its like only."""
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
    """For each character, how many there are on its line up to it, ``(characters,)``; 0 for a newline."""
    places = np.arange(len(text))
    newlines = np.array([char == "\n" for char in text], bool)
    lengths: Labels = places - np.maximum.accumulate(np.where(newlines, places, -1))
    return lengths


def inside_matches(pattern: re.Pattern[str]) -> Callable[[str], Labels]:
    """A function that gives 1 for each character that a match holds."""

    def labelled(text: str) -> Labels:
        labels = np.zeros(len(text), np.int64)
        for match in pattern.finditer(text):
            labels[match.start() : match.end()] = 1
        return labels

    return labelled


def _ends_paragraph(text: str, index: int) -> bool:
    return text[index] == "\n" and text[index - 1 : index] == "\n"


_NAMED: dict[str, Callable[[str], Labels]] = {
    "quotes": inside_quotes,
    "brackets": inside_brackets,
    "line-length": line_lengths,
}


def feature_from_name(name: str) -> Callable[[str], Labels]:
    """What to say of each character: by the name of a feature, else by a regular expression (^ and $ are a line's).

    Raises:
        UsageError: it is neither.
    """
    if name in _NAMED:
        return _NAMED[name]
    try:
        return inside_matches(re.compile(name, re.MULTILINE))
    except re.error as error:
        message = f"--find {name[:60]!r} is no regular expression: {error.msg}"
        hint = f"or give one of {', '.join(_NAMED)}, pairs:FILE"
        raise UsageError(message, hint=hint) from None


def unseen_documents(model: LoadedModel) -> list[list[int]]:
    """Text that the network has not learnt from, of the run directory: what was held out, else the tuning part.

    Returns:
        Token ids of each document, without document ends.

    Raises:
        UsageError: there is none, so the user has to name a text.
        ModelError: another tokenizer cut it.
    """
    hint = "give a text to look through with --text FILE"
    run_dir = RunDir.beside(model.path)
    unseen: tuple[Part, ...] = ("held_out", "tuning")
    for part in unseen:
        if run_dir.has_part(part):
            stream, _ = run_dir.read_part(part, model.tokenizer, hint=hint)
            found = [document[document != DOCUMENT_END].tolist() for document in split_documents(stream)]
            return [document for document in found if document]
    raise UsageError(f"no text was kept apart for {printable(model.path.name)}", hint=hint)


def find_feature(model: LoadedModel, name: str, documents: Iterable[Sequence[int]]) -> FeatureReport:
    """Look for the units that follow a feature: chosen on the first half of the tokens, tried on the second.

    Args:
        model: the model.
        name: see ``feature_from_name``.
        documents: token ids without document ends; of all together the first ``MAX_TOKENS`` are looked through.

    Raises:
        UsageError: the name is no feature.
        CorpusError: the text is too short, or the feature holds in a half always or never.
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
        raise CorpusError(f"{len(flat)} tokens are too few to look through", hint="give more text with --text FILE")
    fitted = np.arange(len(flat)) < len(flat) // 2
    shown_name, above = name, 0
    if name == "line-length":
        above = int(np.median(flat[fitted]))
        shown_name = f"line-length above {above}"
    holds = flat > above
    for half, place in ((fitted, "first"), (~fitted, "second")):
        if holds[half].all() or not holds[half].any():
            how = "everywhere" if holds[half].all() else "nowhere"
            message = f"--find {name[:60]}: the feature holds {how} in the {place} half of the text"
            raise CorpusError(message, hint="give a text that has it, and more than it, with --text FILE")
    states = _states(model, tokens)
    shape = states.shape[1:]
    found = probe(states.reshape(len(flat), -1), holds, fitted, state_units(shape), are_independent=False)
    return FeatureReport(shown_name, float(holds.mean()), found)


def _token_labels(pieces: Sequence[bytes], feature: Callable[[str], Labels], *, of_any: bool) -> Labels:
    """What a feature says of each token, ``(T,)``: of its last character, or the most of any of them."""
    text = b"".join(pieces).decode("utf-8", "surrogateescape")  # a byte that is no UTF-8 is a character, too
    of_bytes = np.repeat(feature(text), [len(char.encode("utf-8", "surrogateescape")) for char in text])
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    labels: Labels = np.maximum.reduceat(of_bytes, np.append(0, ends[:-1])) if of_any else of_bytes[ends - 1]
    return labels


def _states(model: LoadedModel, documents: Sequence[Sequence[int]]) -> FloatArray:
    """The states after each token of some documents, each read from its start, ``(N, L, S, H)``."""
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
