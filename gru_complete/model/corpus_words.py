"""The words of the text that a model was trained on, from its run directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gru_complete.errors import ModelError, UsageError, printable
from gru_complete.model.run_dir import run_dir_of
from gru_complete.storage.untrusted import read_regular_file, strict_json
from gru_complete.text.shards import read_shard
from gru_complete.text.tokenizer import Tokenizer
from gru_complete.text.verbatim import BETWEEN_DOCUMENTS, CorpusWords, text_of

PARTS = ("training", "tuning", "held_out")
SEEN_PARTS = ("training", "tuning")
"""What a finished model has learnt from."""
_TEXT_FACTS_FILE = "text.json"
_JOIN_TOKENS = 2048  # on either side of a cut: more than 100 words


def corpus_words(model_path: Path, tokenizer: Tokenizer, parts: Sequence[str] = PARTS) -> CorpusWords:
    """Read the text that a model was trained on, from its run directory.

    Args:
        model_path: the model's directory.
        tokenizer: the model's.
        parts: which parts of it; the held-out part may be missing.

    Raises:
        UsageError: there is no run directory.
        ModelError: it is damaged, or another training's.
    """
    run_dir = dir_of_corpus(model_path)
    streams = {}
    for name in parts:
        if name == "held_out" and not (run_dir / "held_out.tokens").exists():
            continue
        stream, header = read_shard(run_dir / f"{name}.tokens")
        if header.tokenizer_sha256 != tokenizer.sha256:
            raise ModelError(f"the text beside {printable(model_path.name)} belongs to another training")
        streams[name] = stream
    text = text_of(streams.values(), tokenizer.pieces)
    for one, other, end, start in _cuts(run_dir):
        if one in streams and other in streams:
            before, after = streams[one][max(0, end - _JOIN_TOKENS) : end], streams[other][start : start + _JOIN_TOKENS]
            text += BETWEEN_DOCUMENTS + text_of([before], tokenizer.pieces) + text_of([after], tokenizer.pieces)
    return CorpusWords.of(text)


def dir_of_corpus(model_path: Path) -> Path:
    """The run directory of a model, which holds the text that it was trained on.

    Raises:
        UsageError: there is none.
    """
    run_dir = run_dir_of(model_path)
    if not (run_dir / "training.tokens").exists():
        message = f"the text that {printable(model_path.name)} was trained on is not there ({printable(run_dir)})"
        raise UsageError(message, hint="train it again with --replace, and keep what lies beside the model")
    return run_dir


def _cuts(run_dir: Path) -> list[tuple[str, str, int, int]]:
    """Where training cut documents apart: the part, the part that goes on, where the one ends and the other begins."""
    path = run_dir / _TEXT_FACTS_FILE
    if not path.exists():
        return []
    facts = strict_json(read_regular_file(path, max_bytes=64 * 1024), name=_TEXT_FACTS_FILE)
    try:
        return [(str(one), str(other), int(end), int(start)) for one, other, end, start in facts.get("cuts", ())]
    except (TypeError, ValueError):
        raise ModelError(f"{printable(path)} is damaged: these are no places of cuts") from None
