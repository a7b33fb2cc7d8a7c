"""The finished model as a directory: written whole, and safe to load from a stranger.

A directory holds ``manifest.json`` (written last: the commit record), ``weights.safetensors`` and ``tokenizer.model``;
a checkpoint adds what it needs to go on. An adapted model holds ``delta.safetensors`` in place of the last two, what
is to be added to the weights of the model of that name beside it, whose counts it shares. Nothing in it is code, a
path or a template. Loading reads the bytes of a few fixed names once, checks size and SHA-256 of those bytes and parses
those bytes: nothing can change in between.

The records here and in ``runtime`` are named tuples: a dataclass takes half a millisecond to make, which `complete`
would wait for.

Shapes: V vocab_size, E embedding_size, H hidden_size, G gates of the cell, I inputs of a cell (E for the first, or H).
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from gru_complete.errors import ModelError, printable
from gru_complete.storage import atomic, untrusted
from gru_complete.storage.tensors import parse_safetensors

if TYPE_CHECKING:
    from gru_complete.ngrams.mixture import NGramMixture
    from gru_complete.text.tokenizer import Tokenizer
from gru_complete.model.architecture import Architecture, Weights
from gru_complete.model.delta import Delta, apply_delta, check_tensors
from gru_complete.model.manifest import (
    DELTA,
    EXTRA_FILES,
    MANIFEST,
    MAX_BYTES,
    NGRAMS,
    TOKENIZER,
    TOKENIZER_FLAGS,
    WEIGHTS,
    Base,
    FileRecord,
    Manifest,
)

_READ_ATTEMPTS = 100  # each but the first follows a replacement of the model while it was read
Result = TypeVar("Result")


class LoadedModel(NamedTuple):
    """A loaded model; ``fingerprint`` is the SHA-256 of its manifest, which names every other byte of it.

    ``memory`` holds the counts and how they are mixed in; None for a model without.
    The weights and the tokenizer of an adapted model are there as those of any other.
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
        abbreviations: short words that the corpus follows with a period inside sentences.
    """

    arch: Architecture
    weights: Weights
    tokenizer: "Tokenizer"
    metrics: Mapping[str, Any]
    training: Mapping[str, Any]
    abbreviations: Sequence[str]


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
    files = {
        WEIGHTS: save({name: np.ascontiguousarray(array) for name, array in weights.items()}),
        TOKENIZER: tokenizer.model_bytes,
    }
    manifest = Manifest(
        arch=arch,
        tokenizer={**TOKENIZER_FLAGS, "abbreviations": list(contents.abbreviations)},
        metrics=contents.metrics,
        training=contents.training,
        files={},
        tool_version=_tool_version(),
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
        base: what is changed; a model with weights of its own.
        delta: what to add to its weights, as ``apply_delta`` takes it.
        metrics: what was measured.
        training: facts about the training.

    Raises:
        ModelError: these things do not make a model that ``load_model`` would take.
        EnvironmentFailure: the disk or a permission said no.
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
        raise ModelError(f"the manifest would take {len(manifest_bytes)} bytes; the most is {MAX_BYTES[MANIFEST]}")
    for name, data in files.items():
        atomic.write_file(directory / name, data)
    atomic.write_file(directory / MANIFEST, manifest_bytes)


def load_model(path: Path) -> LoadedModel:
    """Load a model and trust nothing in it; a model that is replaced meanwhile gives the old one or the new one.

    Raises:
        ModelError: it is missing, damaged, made by a newer version, or not a model.
    """
    for _ in range(_READ_ATTEMPTS):
        seen = _current_version(path)
        try:
            return _load_once(path)
        except ModelError:
            if seen is not None and _current_version(path) == seen:
                raise
    return _load_once(path)


def _load_once(path: Path) -> LoadedModel:
    from gru_complete.text.tokenizer import Tokenizer

    directory = atomic.visible_directory(path)
    manifest, fingerprint = load_manifest(directory)
    if manifest.base is not None:
        return _load_adapted(path, directory, manifest, fingerprint)
    # Both are mostly hashing, which needs no Python: the tokenizer is checked meanwhile.
    mixture = _start_in_thread(partial(_load_mixture, directory, manifest))
    weights = _start_in_thread(partial(_load_weights, directory, manifest))
    try:
        tokenizer = Tokenizer(_read_listed(directory, manifest, TOKENIZER))
    except ModelError as error:
        raise ModelError(f"{printable(directory / TOKENIZER)}: {error}", hint=error.hint) from error
    _check_vocab(tokenizer, manifest.arch)
    return LoadedModel(path, manifest, weights(), tokenizer, fingerprint, mixture())


def _load_weights(directory: Path, manifest: Manifest) -> Weights:
    name = printable(directory / WEIGHTS)
    weights = parse_safetensors(_read_listed(directory, manifest, WEIGHTS), name=name)
    check_tensors(weights, manifest.arch.tensor_shapes(), name=name)
    return weights


def _start_in_thread(work: Callable[[], Result]) -> Callable[[], Result]:
    """Begin some work beside what follows; what is returned waits for its result, or raises its error."""
    results: list[Result] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            errors.append(error)

    def result() -> Result:
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    thread = Thread(target=run, daemon=True)
    thread.start()
    return result


def _load_mixture(directory: Path, manifest: Manifest) -> "NGramMixture | None":
    from gru_complete.ngrams.mixture import NGramMixture

    if NGRAMS not in manifest.files:
        return None
    data = _read_listed(directory, manifest, NGRAMS)
    return NGramMixture.from_bytes(data, vocab_size=manifest.arch.vocab_size, name=printable(directory / NGRAMS))


def _load_adapted(path: Path, directory: Path, manifest: Manifest, fingerprint: str) -> LoadedModel:
    assert manifest.base is not None
    base_path = Path(os.path.realpath(path)).parent / manifest.base.name
    what = f"{printable(path)} only holds what it has learnt beyond the model '{manifest.base.name}'"
    if not has_manifest(base_path):
        raise ModelError(f"{what}, which is not beside it", hint=f"put that model back as {printable(base_path)}")
    if load_manifest(atomic.visible_directory(base_path))[0].base is not None:  # nor may two be each other's base
        raise ModelError(f"{what}, which is adapted itself")
    base = load_model(base_path)
    if base.fingerprint != manifest.base.fingerprint:
        hint = f"adapt the new one: gru-complete adapt {base_path.name} FILE -m {printable(path.name)} --replace"
        raise ModelError(f"{what}, and another model has that name now", hint=hint)
    if base.manifest.arch != manifest.arch or base.manifest.tokenizer != manifest.tokenizer:
        raise ModelError(f"{what}, and has other sizes than that")
    name = printable(directory / DELTA)
    delta = parse_safetensors(_read_listed(directory, manifest, DELTA), name=name)
    weights = apply_delta(base.weights, delta, name=name)
    check_tensors(weights, manifest.arch.tensor_shapes(), name=name)
    return LoadedModel(path, manifest, weights, base.tokenizer, fingerprint, base.mixture)


def read_extra_file(path: Path, name: str) -> bytes:
    """The checked bytes of one of ``EXTRA_FILES``.

    Raises:
        ModelError: the model has no such file, or it is damaged.
    """
    directory = atomic.visible_directory(path)
    manifest, _ = load_manifest(directory)
    if name not in EXTRA_FILES or name not in manifest.files:
        raise ModelError(f"{printable(path)} has no {printable(name)}")
    return _read_listed(directory, manifest, name)


def _current_version(path: Path) -> tuple[Path, str] | None:
    """What changes when a model is replaced: where it is found while directories are swapped, and its manifest's bytes.

    Inodes and times will not do: the next model may get the same ones at once.
    """
    directory = atomic.visible_directory(path)
    try:
        return directory, untrusted.sha256_hex(read_manifest_bytes(directory))
    except ModelError:
        return None


def has_manifest(path: Path) -> bool:
    """Whether a finished model is stored at this path; its manifest may still be damaged."""
    return os.path.lexists(atomic.visible_directory(path) / MANIFEST)


def read_manifest_bytes(directory: Path) -> bytes:
    """Read ``manifest.json`` without parsing it.

    Raises:
        ModelError: there is none, or it is not a regular file of at most 64 kB.
    """
    if not os.path.lexists(directory / MANIFEST):
        message = f"{printable(directory)} is not a gru-complete model (no {MANIFEST})"
        raise ModelError(message, hint="did training finish? The same gru-complete train command goes on")
    return untrusted.read_regular_file(directory / MANIFEST, max_bytes=MAX_BYTES[MANIFEST])


def load_manifest(directory: Path) -> tuple[Manifest, str]:
    """Read and check a manifest.

    Returns:
        The manifest, and its SHA-256: the model's fingerprint.

    Raises:
        ModelError: it is missing, damaged, made by a newer version, or says something that cannot be.
    """
    data = read_manifest_bytes(directory)
    name = printable(directory / MANIFEST)
    value = untrusted.strict_json(data, name=name)
    try:
        return Manifest.from_json(value), untrusted.sha256_hex(data)
    except ModelError as error:
        raise ModelError(f"{name}: {error}", hint=error.hint) from None


def _read_listed(directory: Path, manifest: Manifest, name: str) -> bytes:
    entry = manifest.files[name]
    data = untrusted.read_regular_file(directory / name, max_bytes=entry.num_bytes)
    if len(data) != entry.num_bytes:
        raise ModelError(f"{printable(directory / name)} is cut off: {len(data)} of {entry.num_bytes} bytes")
    if untrusted.sha256_hex(data) != entry.sha256:
        raise ModelError(f"{printable(directory / name)} is damaged (sha256 mismatch)", hint="copy the model again")
    return data


def _check_vocab(tokenizer: "Tokenizer", arch: Architecture) -> None:
    if tokenizer.vocab_size != arch.vocab_size:
        raise ModelError(f"tokenizer has {tokenizer.vocab_size} pieces, weights expect {arch.vocab_size}")


def _tool_version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # here, since it is slow to import

    try:
        return version("gru-complete")
    except PackageNotFoundError:
        return "unknown"
