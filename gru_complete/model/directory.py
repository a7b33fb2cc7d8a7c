"""Saving and loading a model directory: written whole, and safe to load from a stranger.

A directory holds ``manifest.json`` (written last: the commit record), ``weights.safetensors`` and ``tokenizer.model``,
and mostly ``ngrams.safetensors``; a checkpoint adds what it needs to continue. An adapted model holds
``delta.safetensors`` instead: what to add to the weights of its base, a model beside it, whose tokenizer and n-gram
model it shares. Nothing in a directory is code, a path or a template. Loading reads the bytes of a few fixed names
once, checks the size and SHA-256 of those bytes and parses those bytes, so that nothing can change in between.

The records here and in ``runtime`` are named tuples: a dataclass takes half a millisecond to make, for which `complete`
would have to wait.
"""

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gru_complete.errors import ModelError, printable
from gru_complete.storage import atomic, untrusted
from gru_complete.storage.tensors import parse_safetensors

if TYPE_CHECKING:
    from gru_complete.ngrams.mixture import NGramMixture
    from gru_complete.text.tokenizer import Tokenizer
from gru_complete.arrays import Weights
from gru_complete.model.architecture import Architecture
from gru_complete.model.delta import Delta, apply_delta, check_tensors
from gru_complete.model.files import ModelFiles, Place, read_listed, start_in_thread
from gru_complete.model.manifest import (
    DELTA,
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
    has_manifest,
    load_manifest,
)
from gru_complete.model.quantized import dequantize, is_quantized, quantize

_READ_ATTEMPTS = 100  # after the first, each follows a replacement of the model while it was read


class LoadedModel(NamedTuple):
    """A model in memory; an adapted model has weights, tokenizer and n-gram model like any other.

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
    """

    arch: Architecture
    weights: Weights
    tokenizer: "Tokenizer"
    metrics: Mapping[str, Any]
    training: Mapping[str, Any]
    text: TextFacts = NOTHING_KNOWN
    is_quantized: bool = False


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
        until=contents.text.until,
        start=contents.text.start,
    )
    _write_files(directory, manifest, {**files, **(extra_files or {})})


def save_delta(
    directory: Path,
    *,
    base: LoadedModel,
    delta: Delta,
    metrics: Mapping[str, Any],
    training: Mapping[str, Any],
) -> None:
    """Write an adapted model into an existing directory beside its base; see ``save_model``.

    Args:
        directory: where to write.
        base: the model that is adapted; it has weights of its own.
        delta: what to add to its weights, as ``apply_delta`` takes it.
        metrics: what was measured.
        training: facts about the training.

    Raises:
        ModelError: ``load_model`` would refuse this model.
        EnvironmentFailure: the disk is full or refuses the write.
    """
    from safetensors.numpy import save  # here, so that reading a model does not wait for it

    if base.manifest.base is not None:
        raise ModelError(f"{printable(base.path)} is adapted itself and cannot be a base")
    check_tensors(apply_delta(base.weights, delta, name=DELTA), base.manifest.arch.tensor_shapes(), name=DELTA)
    manifest = base.manifest._replace(
        base=Base(Path(os.path.realpath(base.path)).name, base.fingerprint),
        metrics=metrics,
        training=training,
        files={},
        tool_version=_tool_version(),
    )
    data = save({name: np.ascontiguousarray(array) for name, array in delta.items()})
    _write_files(directory, manifest, {DELTA: data})


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
            something that depends on the rest. It may be called again, and is not for an adapted model.

    Raises:
        ModelError: it is missing, damaged, made by a newer version, or not a model.
    """
    return _load(path, files, partial(_load_once, meanwhile=meanwhile))


def _load(path: Path, files: ModelFiles | None, load_once: Callable[[Path, ModelFiles], LoadedModel]) -> LoadedModel:
    """Load a model, again whenever it was replaced meanwhile."""
    for attempts_left in reversed(range(_READ_ATTEMPTS)):
        place = Place(path) if files is None else files.place
        try:
            files = files or ModelFiles(place)
            return load_once(path, files)
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
    manifest = files.manifest
    if manifest.base is None:
        return _load_whole(path, files, meanwhile=meanwhile)
    return _load_adapted(path, files, manifest.base)


def _load_whole(
    path: Path, files: ModelFiles, *, meanwhile: Callable[[LoadedModel], object] | None = None
) -> LoadedModel:
    """Load a model that has weights of its own, or fail if it is replaced meanwhile."""
    from gru_complete.text.tokenizer import Tokenizer

    manifest, directory = files.manifest, files.directory
    if manifest.base is not None:  # nor can two be each other's base
        raise ModelError(f"{printable(path)} is adapted itself, and no adapted model can be based on it")
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


def _load_adapted(path: Path, files: ModelFiles, needed: Base) -> LoadedModel:
    """Load an adapted model: its base, and the delta to add."""
    manifest = files.manifest
    base_path = Path(os.path.realpath(path)).parent / needed.name
    what = f"{printable(path)} only holds what it has learnt beyond the model '{needed.name}'"
    if not has_manifest(base_path):
        raise ModelError(f"{what}, which is not beside it", hint=f"put that model back as {printable(base_path)}")
    base = _load(base_path, None, _load_whole)
    if base.fingerprint != needed.fingerprint:
        from gru_complete.model.naming import model_argument  # here, since only the message needs it

        models = f"{model_argument(base_path)} FILE -m {model_argument(path)}"
        hint = f"adapt the new one: gru-complete adapt {models} --replace"
        raise ModelError(f"{what}, and another model has that name now", hint=hint)
    if base.manifest.arch != manifest.arch or base.manifest.tokenizer != manifest.tokenizer:
        raise ModelError(f"{what}, and its sizes are not those of that model")
    name = printable(files.directory / DELTA)
    delta = parse_safetensors(files.read(DELTA), name=name)
    weights = apply_delta(base.weights, delta, name=name)
    check_tensors(weights, manifest.arch.tensor_shapes(), name=name)
    return LoadedModel(path, manifest, weights, base.tokenizer, files.fingerprint, base.mixture)


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
