"""A text that was read, as a file: another process can continue it or read on.

The file is one line of JSON, then a safetensors file. The line gives the format, the model that has read the text (the
SHA-256 of its manifest) and the SHA-256 of everything after it. The tensors are those of a ``PromptState``::

    hidden (E,) float32         what scores the next token
    state (L, S, H) float32     the network's
    recent (N,) uint16          the last tokens, uint32 where V > 65,536; they give the n-gram context
    segment (N,) uint8          the bytes of the text's last segment
    tail (N,) uint8             its last characters, UTF-8
    overlay (N,) as recent      the tokens learnt from, if completions learn from the text

So a file takes a few kilobytes however long the text was, and up to 200 more if completions learn from it
(``overlay.MAX_TOKENS``). It may come from a stranger, so it is checked as a model is.

Shapes: N tokens or bytes, E embedding_size, H hidden_size, L num_layers, S state_rows, V vocab_size.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gru_complete.arrays import token_dtype
from gru_complete.errors import ModelError, printable
from gru_complete.ngrams.overlay import MAX_CONTEXT, MAX_TOKENS, Overlay
from gru_complete.runtime.boundaries import CONTEXT_CHARACTERS
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.predictor import DecoderState
from gru_complete.runtime.prompt_state import PromptState
from gru_complete.runtime.sampling import PENALTY_TOKENS
from gru_complete.storage import atomic, untrusted
from gru_complete.storage.tensors import parse_safetensors
from gru_complete.storage.untrusted import check_format, json_object, short_repr
from gru_complete.text.tokenizer import DOCUMENT_END, MAX_SEGMENT_BYTES

FORMAT = "gru-complete state"
VERSION = 1

_BEGINNING = b'{"format": "gru-complete state"'
_MAX_HEADER_BYTES = 1000
_MAX_BYTES = 1 << 23  # the largest network that is loaded has 1 MB of state
_MAX_VALUE = 1e6  # of a state or of features: beyond that, the next scores could be infinite
_HINT = "save the state again: gru-complete prime FILE... --state-out STATE"

Arrays = Mapping[str, NDArray[Any]]


def save_prompt_state(path: Path, prompt_state: PromptState, completer: Completer) -> int:
    """Write a text that the completer has read, durably; return the size of the file in bytes.

    Here and in reading, a link is followed: it is the user who names the file.

    Raises:
        EnvironmentFailure: the file cannot be written. An existing file is unchanged then.
    """
    data = to_bytes(prompt_state, completer)
    atomic.write_file(path, data, follows=True)
    return len(data)


def load_prompt_state(path: Path, completer: Completer, *, forgets: bool = False) -> PromptState:
    """Read what ``save_prompt_state`` wrote, or a stranger's file.

    The file decides whether completions learn from the text, whatever the completer does with new texts.

    Args:
        path: the file.
        completer: the model that has read the text.
        forgets: leave out what was learnt.

    Raises:
        ModelError: the file is missing, damaged, of another kind, or from another model.
    """
    data = untrusted.read_regular_file(Path(os.path.realpath(path)), max_bytes=_MAX_BYTES)
    prompt_state = from_bytes(data, completer, name=printable(path))
    return prompt_state._replace(overlay=None) if forgets else prompt_state


def is_state(path: Path) -> bool:
    """Whether a file looks like one that ``save_prompt_state`` has written."""
    try:
        with untrusted.opened_regular_file(Path(os.path.realpath(path))) as descriptor:
            return os.read(descriptor, len(_BEGINNING)) == _BEGINNING
    except ModelError:
        return False


def to_bytes(prompt_state: PromptState, completer: Completer) -> bytes:
    """Return the content of the file."""
    from safetensors.numpy import save  # here, so that reading a state does not wait for it

    arrays: dict[str, NDArray[Any]] = {
        "hidden": np.asarray(prompt_state.decoder_state.hidden, np.float32),
        "state": np.ascontiguousarray(prompt_state.decoder_state.state, np.float32),
        "recent": np.array(prompt_state.recent, token_dtype(completer.tokenizer.vocab_size)),
        "segment": np.frombuffer(prompt_state.segment, np.uint8),
        "tail": np.frombuffer(prompt_state.tail.encode(), np.uint8),
    }
    if prompt_state.overlay is not None:
        arrays["overlay"] = prompt_state.overlay.tokens.astype(token_dtype(completer.tokenizer.vocab_size))
    tensors: bytes = save(arrays)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "model": completer.fingerprint,
        "sha256": untrusted.sha256_hex(tensors),
    }
    return json.dumps(header).encode() + b"\n" + tensors


def from_bytes(data: bytes, completer: Completer, *, name: str) -> PromptState:
    """Parse the content of a file.

    Args:
        data: the content.
        completer: the model that has read the text.
        name: the file, for messages.

    Raises:
        ModelError: the content is damaged, of another kind, or from another model.
    """
    end = data.find(b"\n", 0, _MAX_HEADER_BYTES)
    if not data.startswith(b"{") or end < 0:
        raise ModelError(f"{name} is not a state file of gru-complete", hint=_HINT)
    header = untrusted.strict_json(data[:end], name=f"the first line of {name}")
    try:
        _check_header(header, data[end + 1 :], completer)
        return _prompt_state(parse_safetensors(data[end + 1 :], name="it"), completer)
    except ModelError as error:
        raise ModelError(f"{name}: {error}", hint=error.hint or _HINT) from None


def _check_header(header: dict[str, Any], tensors: bytes, completer: Completer) -> None:
    check_format(header, FORMAT, VERSION)
    json_object(header, "the first line", required=["format", "version", "model", "sha256"])
    if header["sha256"] != untrusted.sha256_hex(tensors):
        raise ModelError("it is damaged or cut off (sha256 mismatch)")
    if header["model"] != completer.fingerprint:
        raise ModelError("it was made by another model, or by this one before it was trained again")


def _prompt_state(arrays: Arrays, completer: Completer) -> PromptState:
    """Check all tensors and make the state of them."""
    start = completer.predictor.start()
    shapes = {"hidden": start.hidden.shape, "state": start.state.shape}
    lengths = {"recent": PENALTY_TOKENS, "segment": MAX_SEGMENT_BYTES, "tail": 4 * CONTEXT_CHARACTERS}
    tokens = token_dtype(completer.tokenizer.vocab_size)
    dtypes: dict[str, Any] = {"segment": np.uint8, "tail": np.uint8, "recent": tokens, "overlay": tokens}
    if not {*arrays} - {"overlay"} == {*shapes, *lengths}:
        raise ModelError(f"its tensors are {', '.join(map(short_repr, sorted(arrays)))}")
    for key, array in arrays.items():
        if array.dtype != dtypes.get(key, np.float32):
            raise ModelError(f"{key} is {array.dtype}")
        if array.shape != shapes[key] if key in shapes else array.ndim != 1:
            raise ModelError(f"{key} has the shape {array.shape}, which does not fit the model")
        if len(array) > {**lengths, "overlay": MAX_TOKENS}.get(key, len(array)):
            raise ModelError(f"{key} is too long")
    if not all((np.abs(arrays[key]) <= _MAX_VALUE).all() for key in shapes):  # False for NaN
        raise ModelError(f"it contains NaN, or a value beyond {_MAX_VALUE:g} that no model computes")
    recent = _tokens(arrays["recent"], completer)
    if DOCUMENT_END in recent:
        raise ModelError("recent has a document end in it")
    return PromptState(
        _decoder_state(arrays, recent.tolist(), completer),
        _segment(arrays["segment"].tobytes(), completer),
        _overlay(arrays.get("overlay"), completer),
        tuple(recent.tolist()),
        _tail(arrays["tail"].tobytes()),
    )


def _decoder_state(arrays: Arrays, recent: list[int], completer: Completer) -> DecoderState:
    """The end of the text. Its n-gram context is that of the last tokens, which are more than a context holds."""
    tokens = [DOCUMENT_END, *recent]
    nodes: tuple[int, ...] = ()
    if completer.predictor.mixture is not None:
        ngrams = completer.predictor.mixture.ngrams
        last = tokens[-min(ngrams.order, MAX_CONTEXT) :]
        is_cut_off = DOCUMENT_END in last
        nodes = ngrams.cut_off_context() if is_cut_off else ngrams.empty_context()
        for token in last[is_cut_off:]:
            nodes = ngrams.advance(nodes, token)
    return DecoderState(arrays["hidden"], arrays["state"], nodes, tuple(tokens[-MAX_CONTEXT:]))


def _segment(segment: bytes, completer: Completer) -> bytes:
    finished, rest = completer.tokenizer.encode_finished(segment)
    if len(finished) or rest != segment:
        raise ModelError("segment is not a single unfinished segment")
    return segment


def _overlay(tokens: NDArray[Any] | None, completer: Completer) -> Overlay | None:
    if tokens is None:
        return None
    if DOCUMENT_END in _tokens(tokens, completer)[1:]:
        raise ModelError("overlay has a document end in its middle")
    if completer.predictor.mixture is None:
        raise ModelError("it has an overlay, and the model has no n-gram counts under it")
    return Overlay(tokens)


def _tail(data: bytes) -> str:
    try:
        tail = data.decode()
    except UnicodeDecodeError:
        raise ModelError("tail is not UTF-8") from None
    if len(tail) > CONTEXT_CHARACTERS:
        raise ModelError("tail is too long")
    return tail


def _tokens(tokens: NDArray[Any], completer: Completer) -> NDArray[Any]:
    if len(tokens) and int(tokens.max()) >= completer.tokenizer.vocab_size:
        raise ModelError("it contains a token that the model does not have")
    return tokens
