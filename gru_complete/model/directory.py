"""Saving and loading a model directory: written whole, and safe to load from a stranger.

A directory holds ``manifest.json`` (written last: the commit record), ``weights.safetensors`` and ``tokenizer.model``,
and mostly ``ngrams.safetensors``; a checkpoint adds what it needs to continue. Nothing in a directory is code, a path
or a template. Loading reads the bytes of a few fixed names once, checks the size and SHA-256 of those bytes and parses
those bytes, so that nothing can change in between.

The records here and in ``runtime`` are named tuples: a dataclass takes half a millisecond to make, for which `complete`
would have to wait.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gru_complete.errors import ModelError, printable
from gru_complete.storage import atomic, untrusted
from gru_complete.storage.tensors import check_tensors, parse_safetensors

if TYPE_CHECKING:
    from gru_complete.ngrams.mixture import NGramMixture
    from gru_complete.text.tokenizer import Tokenizer
from gru_complete.arrays import Weights
from gru_complete.model.architecture import Architecture
from gru_complete.model.files import ModelFiles, Place, read_listed, start_in_thread
from gru_complete.model.manifest import (
    EXTRA_FILES,
    MANIFEST,
    MAX_BYTES,
    NGRAMS,
    NOTHING_KNOWN,
    TOKENIZER,
    TOKENIZER_FLAGS,
    WEIGHTS,
    Base,
    FileRecord,
    Manifest,
    TextFacts,
    load_manifest,
)
from gru_complete.model.quantized import dequantize, is_quantized, quantize

_READ_ATTEMPTS = 100  # after the first, each follows a replacement of the model while it was read


class LoadedModel(NamedTuple):
    """A model in memory.

    Attributes:
        path: where it was loaded from.
        manifest: what is known of it.
        weights: as ``manifest.arch.tensor_shapes()`` names them.
        tokenizer: its tokenizer.
        fingerprint: the SHA-256 of its manifest, which has the SHA-256 of every other file.
        mixture: the n-gram model and how it is mixed in; None for the network alone.
    """

    path: Path
    manifest: Manifest
    weights: Weights
    tokenizer: "Tokenizer"
    fingerprint: str
    mixture: "NGramMixture | None" = None


class ModelContents(NamedTuple):
    """What makes a model, before it is written.

    Attributes:
        arch: the sizes.
        weights: as ``arch.tensor_shapes()`` names them.
        tokenizer: the tokenizer of these weights.
        metrics: what was measured: numbers and short strings, perhaps in nested mappings.
        training: facts about the training, likewise.
        text: what the text is like.
        is_quantized: whether the weights are stored in eight bits.
        base: the model that the training started from; None if it started from nothing.
    """

    arch: Architecture
    weights: Weights
    tokenizer: "Tokenizer"
    metrics: Mapping[str, Any]
    training: Mapping[str, Any]
    text: TextFacts = NOTHING_KNOWN
    is_quantized: bool = False
    base: Base | None = None


def save_model(directory: Path, contents: ModelContents, extra_files: Mapping[str, bytes] | None = None) -> None:
    """Write a model into an existing directory, its manifest last.

    Args:
        directory: where to write: one that ``atomic.new_directory`` or ``atomic.replace_directory`` yielded, which
            nobody sees before it is complete.
        contents: what to write.
        extra_files: the n-gram model, or what a checkpoint needs besides; names of ``EXTRA_FILES``.

    Raises:
        ModelError: ``load_model`` would refuse this model, for instance because a weight is not finite.
        EnvironmentFailure: the disk is full or refuses the write.
    """
    from safetensors.numpy import save  # here, so that reading a model does not wait for it

    arch, weights, tokenizer = contents.arch, contents.weights, contents.tokenizer
    check_tensors(weights, arch.tensor_shapes(), name=WEIGHTS)
    _check_vocab(tokenizer, arch)
    tensors = quantize(weights) if contents.is_quantized else weights
    files = {
        WEIGHTS: save({name: np.ascontiguousarray(array) for name, array in tensors.items()}),
        TOKENIZER: tokenizer.model_bytes,
    }
    manifest = Manifest(
        arch=arch,
        tokenizer={**TOKENIZER_FLAGS, "abbreviations": list(contents.text.abbreviations)},
        metrics=contents.metrics,
        training=contents.training,
        files={},
        tool_version=_tool_version(),
        base=contents.base,
        until=contents.text.until,
        start=contents.text.start,
    )
    _write_files(directory, manifest, {**files, **(extra_files or {})})


def _write_files(directory: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Write the files and then the manifest, which lists them."""
    records = {name: FileRecord(len(data), untrusted.sha256_hex(data)) for name, data in files.items()}
    manifest = manifest._replace(files=records)
    manifest_bytes = json.dumps(manifest.to_json(), ensure_ascii=False, indent=2).encode("utf-8")
    Manifest.from_json(untrusted.strict_json(manifest_bytes, name=MANIFEST))
    if len(manifest_bytes) > MAX_BYTES[MANIFEST]:
        raise ModelError(
            f"the manifest would take {len(manifest_bytes)} bytes; at most {MAX_BYTES[MANIFEST]} are allowed"
        )
    for name, data in files.items():
        atomic.write_file(directory / name, data)
    atomic.write_file(directory / MANIFEST, manifest_bytes)


def load_model(
    path: Path, files: ModelFiles | None = None, *, meanwhile: Callable[[LoadedModel], object] | None = None
) -> LoadedModel:
    """Load a model, trusting nothing in it. If it is replaced meanwhile, the result is the old or the new model.

    Args:
        path: its directory.
        files: its files, if reading them has started already.
        meanwhile: is called with the model, still without its n-gram model, while that is being checked: to prepare
            something that depends on the rest. It may be called again.

    Raises:
        ModelError: it is missing, damaged, made by a newer version, or not a model.
    """
    for attempts_left in reversed(range(_READ_ATTEMPTS)):
        place = Place(path) if files is None else files.place
        try:
            files = files or ModelFiles(place)
            return _load_once(path, files, meanwhile=meanwhile)
        except ModelError:
            if not attempts_left or (place.is_still_that_of_the_model() and not _has_other_manifest(files)):
                raise
            files = None
        finally:
            place.close()
    raise AssertionError("the last attempt returns or raises")


def _has_other_manifest(files: ModelFiles | None) -> bool:
    """Whether the manifest was replaced after the files were read, as where a model is copied over another one."""
    try:
        return files is not None and files.fingerprint != load_manifest(files.directory)[1]
    except ModelError:
        return True


def _load_once(
    path: Path, files: ModelFiles, *, meanwhile: Callable[[LoadedModel], object] | None = None
) -> LoadedModel:
    """Load a model, or fail if it is replaced meanwhile."""
    from gru_complete.text.tokenizer import Tokenizer

    manifest, directory = files.manifest, files.directory
    mixture = start_in_thread(partial(_load_mixture, files))
    try:
        tokenizer = Tokenizer(files.read(TOKENIZER))
    except ModelError as error:
        raise ModelError(f"{printable(directory / TOKENIZER)}: {error}", hint=error.hint) from error
    _check_vocab(tokenizer, manifest.arch)
    model = LoadedModel(path, manifest, _load_weights(files), tokenizer, files.fingerprint)
    if meanwhile is not None:
        meanwhile(model)
    return model._replace(mixture=mixture())


def _load_weights(files: ModelFiles) -> Weights:
    """Read the weights and check them."""
    name = printable(files.directory / WEIGHTS)
    tensors, shapes = parse_safetensors(files.read(WEIGHTS), name=name), files.manifest.arch.tensor_shapes()
    weights = dequantize(tensors, shapes, name=name) if is_quantized(tensors) else tensors
    check_tensors(weights, shapes, name=name)
    return weights


def _load_mixture(files: ModelFiles) -> "NGramMixture | None":
    """Read the n-gram model, if there is one."""
    from gru_complete.ngrams.mixture import NGramMixture

    if NGRAMS not in files.manifest.files:
        return None
    name, vocab_size = printable(files.directory / NGRAMS), files.manifest.arch.vocab_size
    return NGramMixture.from_bytes(files.read(NGRAMS), vocab_size=vocab_size, name=name)


def read_extra_file(path: Path, name: str) -> bytes:
    """The checked bytes of one of ``EXTRA_FILES``.

    Raises:
        ModelError: the model has no such file, or it is damaged.
    """
    directory = atomic.visible_directory(path)
    manifest, _ = load_manifest(directory)
    if name not in EXTRA_FILES or name not in manifest.files:
        raise ModelError(f"{printable(path)} has no {printable(name)}")
    return read_listed(directory, manifest.files[name], name)


def _check_vocab(tokenizer: "Tokenizer", arch: Architecture) -> None:
    if tokenizer.vocab_size != arch.vocab_size:
        raise ModelError(f"tokenizer has {tokenizer.vocab_size} pieces, weights expect {arch.vocab_size}")


def _tool_version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # here, since it is slow to import

    try:
        return version("gru-complete")
    except PackageNotFoundError:
        return "unknown"
