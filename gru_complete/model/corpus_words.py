"""The words of the text that a model was trained on, from its run directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gru_complete.errors import ModelError, UsageError, printable
from gru_complete.model.home import built_in_model
from gru_complete.model.run_dir import PARTS, Part, RunDir
from gru_complete.text.tokenizer import Tokenizer
from gru_complete.text.verbatim import BETWEEN_DOCUMENTS, CorpusWords, decode_streams

SEEN_PARTS: tuple[Part, ...] = ("training", "tuning")
"""The splits that a finished model has learnt from."""
_JOIN_TOKENS = 2048  # on either side of a cut: more than 100 words


class Cut(NamedTuple):
    """A place where training cut a document in two, each half in another split.

    Attributes:
        before: the split that holds the text before the cut.
        after: the split that holds the text after it.
        end: the index in the stream of ``before`` at which the first half ends.
        start: the index in the stream of ``after`` at which the second half starts.
    """

    before: str
    after: str
    end: int
    start: int


def corpus_words(model_path: Path, tokenizer: Tokenizer, parts: Sequence[Part] = PARTS) -> CorpusWords:
    """Read the text that a model was trained on, from its run directory.

    Args:
        model_path: the model's directory.
        tokenizer: the model's.
        parts: which splits of the text; the held-out split may be missing.

    Raises:
        UsageError: there is no run directory.
        ModelError: it is damaged, or belongs to another training.
    """
    run_dir = run_dir_with_text(model_path)
    streams = {
        part: run_dir.read_part(part, tokenizer)[0] for part in parts if part != "held_out" or run_dir.has_part(part)
    }
    text = decode_streams(streams.values(), tokenizer.pieces)
    by_name = {str(part): stream for part, stream in streams.items()}
    for cut in _read_cuts(run_dir):
        if cut.before in by_name and cut.after in by_name:
            before = by_name[cut.before][max(0, cut.end - _JOIN_TOKENS) : cut.end]
            after = by_name[cut.after][cut.start : cut.start + _JOIN_TOKENS]
            text += (
                BETWEEN_DOCUMENTS
                + decode_streams([before], tokenizer.pieces)
                + decode_streams([after], tokenizer.pieces)
            )
    return CorpusWords.from_text(text)


def run_dir_with_text(model_path: Path) -> RunDir:
    """The run directory of a model, which holds the text that it was trained on.

    Raises:
        UsageError: it does not exist, as for the built-in model.
    """
    run_dir = RunDir.beside(model_path)
    if model_path == built_in_model():
        message = f"'{model_path.name}' is the built-in model, which comes without its text"
        raise UsageError(message, hint="name a model that you have trained, with -m")
    if not run_dir.has_part("training"):
        message = f"the training text of {printable(model_path.name)} is missing ({printable(run_dir.path)})"
        raise UsageError(message, hint="train the model again with --replace, and keep the directory beside it")
    return run_dir


def _read_cuts(run_dir: RunDir) -> list[Cut]:
    """Where training cut documents apart; runs of old versions do not say so."""
    path = run_dir.text_facts_path
    if not path.exists():
        return []
    cuts = run_dir.text_facts().get("cuts", ())
    try:
        return [Cut(str(before), str(after), int(end), int(start)) for before, after, end, start in cuts]
    except (TypeError, ValueError):
        raise ModelError(f"{printable(path)} is damaged: its cuts cannot be read") from None
