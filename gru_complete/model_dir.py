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
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gru_complete import files
from gru_complete.errors import EnvironmentFailure, ModelError, UsageError
from gru_complete.files import shown
from gru_complete.parsing import brief, check_format, json_object, parse_safetensors, whole_number

if TYPE_CHECKING:
    from gru_complete.mixture import Memory
    from gru_complete.text.tokenizer import Tokenizer

GATES = {"rnn": 1, "rnn-relu": 1, "gru-simple": 2, "gru": 3, "gru-reset-after": 3, "lstm": 4}
CELLS = tuple(GATES)
STATE_ROWS = {cell: 2 if cell == "lstm" else 1 for cell in CELLS}

FORMAT = "gru-complete"
VERSION = 1
MANIFEST = "manifest.json"
CHECK_THRESHOLD = "check_threshold"
"""Among the manifest's metrics: the least odds that `check` reports unless it is told."""
WEIGHTS = "weights.safetensors"
TOKENIZER = "tokenizer.model"
DELTA = "delta.safetensors"
STEPS, SCALE = ".steps", ".scale"
NGRAMS = "ngrams.safetensors"
EXTRA_FILES = (NGRAMS, "optimizer.safetensors", "loop.json")

_MAX_BYTES = {
    MANIFEST: 64_000,
    WEIGHTS: 1 << 30,
    TOKENIZER: 1 << 24,
    DELTA: 1 << 30,
    NGRAMS: 1 << 30,
    "optimizer.safetensors": 1 << 31,
    "loop.json": 1 << 20,
}
_MAX_SIZES = {"vocab_size": 70_000, "embedding_size": 8192, "hidden_size": 8192, "num_layers": 16}
_MAX_PARAMETERS = 200_000_000
_TOKENIZER_FLAGS = {"kind": "sentencepiece", "document_end": 0, "first_piece": 257}
_READ_ATTEMPTS = 100  # each but the first follows a replacement of the model while it was read
Result = TypeVar("Result")
_TRAIN_HINT = "train one with: gru-complete train CORPUS"

Weights = Mapping[str, NDArray[np.float32]]
Delta = Mapping[str, NDArray[Any]]


class Architecture(NamedTuple):
    """The sizes that fix every tensor of a model."""

    cell: str
    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_layers: int

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The name and shape of every weight; the rows of a cell's weights are its gates in the order of the table."""
        gate_rows = GATES[self.cell] * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"embedding": (self.vocab_size, self.embedding_size)}
        for layer in range(self.num_layers):
            input_size = self.hidden_size if layer else self.embedding_size
            shapes[f"cells.{layer}.weight_x"] = (gate_rows, input_size)
            shapes[f"cells.{layer}.weight_h"] = (gate_rows, self.hidden_size)
            shapes[f"cells.{layer}.bias"] = (gate_rows,)
            if self.cell == "gru-reset-after":
                shapes[f"cells.{layer}.bias_hidden"] = (self.hidden_size,)
        if self.embedding_size != self.hidden_size:
            shapes["projection"] = (self.embedding_size, self.hidden_size)
        shapes["output_bias"] = (self.vocab_size,)
        return shapes

    @property
    def num_parameters(self) -> int:
        """How many numbers the weights hold; the output weights are the embedding and count once."""
        return sum(math.prod(shape) for shape in self.tensor_shapes().values())

    @classmethod
    def from_json(cls, value: object) -> "Architecture":
        """Read what a manifest says, and refuse sizes that only a mistake or an attack would ask for.

        Raises:
            ModelError: a key is missing, unknown, of the wrong type or out of range.
        """
        sizes = json_object(value, "arch", required=["cell", *_MAX_SIZES])
        if sizes["cell"] not in CELLS:
            raise ModelError(f"arch.cell is {brief(sizes['cell'])}, not one of {', '.join(CELLS)}")
        for name, largest in _MAX_SIZES.items():
            whole_number(sizes[name], f"arch.{name}", smallest=1, largest=largest)
        arch = cls(**sizes)
        if arch.num_parameters > _MAX_PARAMETERS:
            raise ModelError(f"arch asks for {arch.num_parameters} parameters; the most is {_MAX_PARAMETERS}")
        return arch


class FileRecord(NamedTuple):
    """What the manifest says of a file."""

    num_bytes: int
    sha256: str


class Base(NamedTuple):
    """The model that an adapted one changes: its name, beside the adapted one, and its fingerprint."""

    name: str
    fingerprint: str

    @classmethod
    def from_json(cls, value: object) -> "Base":
        """Read what a manifest says; a name that could lead anywhere else is refused.

        Raises:
            ModelError: a key is missing, unknown or of the wrong form.
        """
        fields = json_object(value, "base", required=["name", "fingerprint"])
        if not isinstance(fields["name"], str) or not is_model_name(fields["name"]):
            raise ModelError(f"base.name is {brief(fields['name'])}, not the name of a model")
        return cls(fields["name"], _sha256(fields["fingerprint"], "base.fingerprint"))


class Manifest(NamedTuple):
    """What ``manifest.json`` says; plain numbers and short strings, never text or paths.

    ``tokenizer`` holds the tokenizer's flags and the corpus' abbreviations, ``metrics`` what was measured, ``training``
    facts such as steps and seconds; ``base`` is there in adapted models only.
    """

    arch: Architecture
    tokenizer: Mapping[str, Any]
    metrics: Mapping[str, Any]
    training: Mapping[str, Any]
    files: Mapping[str, FileRecord]
    tool_version: str
    base: Base | None = None
    format: str = FORMAT
    version: int = VERSION

    def to_json(self) -> dict[str, Any]:
        """The manifest as it stands in the file."""
        return {
            "format": self.format,
            "version": self.version,
            "tool_version": self.tool_version,
            **({} if self.base is None else {"base": self.base._asdict()}),
            "arch": self.arch._asdict(),
            "tokenizer": dict(self.tokenizer),
            "metrics": dict(self.metrics),
            "training": dict(self.training),
            "files": {name: {"bytes": entry.num_bytes, "sha256": entry.sha256} for name, entry in self.files.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Manifest":
        """Check everything a manifest says; keys that begin with ``x-`` are for others and are left alone.

        Raises:
            ModelError: it is of another or a newer format, or something in it is not as it must be.
        """
        check_format(value, FORMAT, VERSION)
        required = ["format", "version", "tool_version", "arch", "tokenizer", "metrics", "training", "files"]
        known = json_object(
            {key: value[key] for key in value if not key.startswith("x-")},
            "manifest",
            required=required,
            optional=["base"],
        )
        base = Base.from_json(known["base"]) if "base" in known else None
        _check_facts(known["tool_version"], "tool_version")
        _check_tokenizer_flags(known["tokenizer"])
        for part in ("metrics", "training"):
            _check_facts(json_object(known[part], part), part)
        return cls(
            arch=Architecture.from_json(known["arch"]),
            tokenizer=known["tokenizer"],
            metrics=known["metrics"],
            training=known["training"],
            files=_file_records(known["files"], is_adapted=base is not None),
            tool_version=str(known["tool_version"]),
            base=base,
        )


class Model(NamedTuple):
    """A loaded model; ``fingerprint`` is the SHA-256 of its manifest, which names every other byte of it.

    ``memory`` holds the counts and how they are mixed in; None for a model without.
    The weights and the tokenizer of an adapted model are there as those of any other.
    """

    path: Path
    manifest: Manifest
    weights: Weights
    tokenizer: "Tokenizer"
    fingerprint: str
    memory: "Memory | None" = None


def save_files(
    directory: Path,
    *,
    arch: Architecture,
    weights: Weights,
    tokenizer: "Tokenizer",
    metrics: Mapping[str, Any],
    training: Mapping[str, Any],
    abbreviations: Sequence[str],
    extra_files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a model into an existing directory, the manifest last: one from ``files.new_directory`` or the like.

    Args:
        directory: where to write; seen by nobody until it gets its name.
        arch: the sizes.
        weights: as ``arch.tensor_shapes()`` names them.
        tokenizer: the tokenizer of these weights.
        metrics: what was measured; numbers and short strings, which may stand in nested mappings.
        training: facts about the training, likewise.
        abbreviations: short words that the corpus follows with a period inside sentences.
        extra_files: what a checkpoint needs besides; names of ``EXTRA_FILES``.

    Raises:
        ModelError: these things do not make a model that ``load_model`` would take; weights that are not finite.
        EnvironmentFailure: the disk or a permission said no.
    """
    from safetensors.numpy import save  # here, so that reading a model does not wait for it

    _check_weights(weights, arch, name=WEIGHTS)
    _check_vocab(tokenizer, arch)
    contents = {WEIGHTS: save({name: np.ascontiguousarray(array) for name, array in weights.items()})}
    contents[TOKENIZER] = tokenizer.model_bytes
    manifest = Manifest(
        arch=arch,
        tokenizer={**_TOKENIZER_FLAGS, "abbreviations": list(abbreviations)},
        metrics=metrics,
        training=training,
        files={},
        tool_version=_tool_version(),
    )
    _write_files(directory, manifest, {**contents, **(extra_files or {})})


def save_delta(
    directory: Path,
    *,
    base: Model,
    delta: Delta,
    metrics: Mapping[str, Any],
    training: Mapping[str, Any],
) -> None:
    """Write an adapted model into an existing directory beside its base; see ``save_files``.

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
        raise ModelError(f"{shown(base.path)} is adapted itself and cannot be a base")
    _check_weights(apply_delta(base.weights, delta, name=DELTA), base.manifest.arch, name=DELTA)
    manifest = base.manifest._replace(
        base=Base(Path(os.path.realpath(base.path)).name, base.fingerprint),
        metrics=metrics,
        training=training,
        files={},
        tool_version=_tool_version(),
    )
    data = save({name: np.ascontiguousarray(array) for name, array in delta.items()})
    _write_files(directory, manifest, {DELTA: data})


def _write_files(directory: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    """Write the files and then the manifest, which lists them."""
    records = {name: FileRecord(len(data), files.sha256_hex(data)) for name, data in contents.items()}
    manifest = manifest._replace(files=records)
    manifest_bytes = json.dumps(manifest.to_json(), ensure_ascii=False, indent=2).encode("utf-8")
    Manifest.from_json(files.strict_json(manifest_bytes, name=MANIFEST))
    if len(manifest_bytes) > _MAX_BYTES[MANIFEST]:
        raise ModelError(f"the manifest would take {len(manifest_bytes)} bytes; the most is {_MAX_BYTES[MANIFEST]}")
    for name, data in contents.items():
        files.write_file(directory / name, data)
    files.write_file(directory / MANIFEST, manifest_bytes)


def load_model(path: Path) -> Model:
    """Load a model and trust nothing in it; a model that is replaced meanwhile gives the old one or the new one.

    Raises:
        ModelError: it is missing, damaged, made by a newer version, or not a model.
    """
    for _ in range(_READ_ATTEMPTS):
        seen = _identity(path)
        try:
            return _load_once(path)
        except ModelError:
            if seen is not None and _identity(path) == seen:
                raise
    return _load_once(path)


def _load_once(path: Path) -> Model:
    from gru_complete.text.tokenizer import Tokenizer  # here, so that nn need not wait for sentencepiece

    directory = files.visible_directory(path)
    manifest, fingerprint = _load_manifest(directory)
    if manifest.base is not None:
        return _load_adapted(path, directory, manifest, fingerprint)
    memory = _begin(partial(_load_memory, directory, manifest))  # most of it is hashing, which needs no Python
    weights = parse_safetensors(_read_listed(directory, manifest, WEIGHTS), name=shown(directory / WEIGHTS))
    _check_weights(weights, manifest.arch, name=shown(directory / WEIGHTS))
    try:
        tokenizer = Tokenizer(_read_listed(directory, manifest, TOKENIZER))
    except ModelError as error:
        raise ModelError(f"{shown(directory / TOKENIZER)}: {error}", hint=error.hint) from error
    _check_vocab(tokenizer, manifest.arch)
    return Model(path, manifest, weights, tokenizer, fingerprint, memory())


def _begin(work: Callable[[], Result]) -> Callable[[], Result]:
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


def _load_memory(directory: Path, manifest: Manifest) -> "Memory | None":
    from gru_complete.mixture import Memory  # here, so that a model without counts need not wait for it

    if NGRAMS not in manifest.files:
        return None
    data = _read_listed(directory, manifest, NGRAMS)
    return Memory.from_bytes(data, vocab_size=manifest.arch.vocab_size, name=shown(directory / NGRAMS))


def _load_adapted(path: Path, directory: Path, manifest: Manifest, fingerprint: str) -> Model:
    assert manifest.base is not None
    base_path = Path(os.path.realpath(path)).parent / manifest.base.name
    what = f"{shown(path)} only holds what it has learnt beyond the model '{manifest.base.name}'"
    if not _has_manifest(base_path):
        raise ModelError(f"{what}, which is not beside it", hint=f"put that model back as {shown(base_path)}")
    if _load_manifest(files.visible_directory(base_path))[0].base is not None:  # nor may two be each other's base
        raise ModelError(f"{what}, which is adapted itself")
    base = load_model(base_path)
    if base.fingerprint != manifest.base.fingerprint:
        hint = f"adapt the new one: gru-complete adapt {base_path.name} FILE -m {shown(path.name)} --replace"
        raise ModelError(f"{what}, and another model has that name now", hint=hint)
    if base.manifest.arch != manifest.arch or base.manifest.tokenizer != manifest.tokenizer:
        raise ModelError(f"{what}, and has other sizes than that")
    name = shown(directory / DELTA)
    delta = parse_safetensors(_read_listed(directory, manifest, DELTA), name=name)
    weights = apply_delta(base.weights, delta, name=name)
    _check_weights(weights, manifest.arch, name=name)
    return Model(path, manifest, weights, base.tokenizer, fingerprint, base.memory)


def pack_delta(before: Weights, after: Weights) -> dict[str, NDArray[Any]]:
    """A change of the weights as ``apply_delta`` takes it: four bits for each number of a matrix.

    What fine-tuning changes can be kept in few bits (BitDelta, Liu et al. 2024, arXiv:2402.10193). Measured on what
    100 kB of text taught a model, four bits lose 0.03 % of the gain; a singular value decomposition cut off at the rank
    that takes as many bytes, in float16, loses 5 %.
    """
    delta: dict[str, NDArray[Any]] = {}
    for name, array in before.items():
        change = np.asarray(after[name] - array)
        if change.ndim == 1:
            delta[name] = change
            continue
        scale = np.abs(change).max(axis=1) / 7
        steps = np.rint(change / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8)
        halves = np.pad(steps + 8, ((0, 0), (0, change.shape[1] % 2))).astype(np.uint8)
        delta[name + STEPS], delta[name + SCALE] = halves[:, ::2] | halves[:, 1::2] << 4, scale
    return delta


def apply_delta(weights: Weights, delta: Delta, *, name: str) -> dict[str, NDArray[np.float32]]:
    """The weights of an adapted model.

    Args:
        weights: those of the base.
        delta: what to add to each. For a vector ``x`` a float32 array of its shape. For a matrix ``x`` ``(R, C)``
            ``x.steps``, whole numbers from -8 to 7 plus 8, two to a byte with the first in its lower half, uint8
            ``(R, ceil(C / 2))``; and ``x.scale``, what a step of each row is, float32 ``(R,)``.
        name: of the delta, for messages.

    Raises:
        ModelError: names, shapes or dtypes do not fit, or a number is not finite.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for key, array in weights.items():
        if array.ndim == 1:
            shapes[key] = array.shape
        else:
            shapes[key + STEPS], shapes[key + SCALE] = (len(array), (array.shape[1] + 1) // 2), (len(array),)
    _check_tensors(delta, shapes, name=name)
    changed = {}
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found by who checks the weights
        for key, array in weights.items():
            if array.ndim == 1:
                changed[key] = array + delta[key]
                continue
            packed = delta[key + STEPS]
            halves = np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(array), -1)[:, : array.shape[1]]
            changed[key] = array + (halves.astype(np.float32) - 8) * delta[key + SCALE][:, None]
    return changed


def read_extra_file(path: Path, name: str) -> bytes:
    """The checked bytes of one of ``EXTRA_FILES``.

    Raises:
        ModelError: the model has no such file, or it is damaged.
    """
    directory = files.visible_directory(path)
    manifest, _ = _load_manifest(directory)
    if name not in EXTRA_FILES or name not in manifest.files:
        raise ModelError(f"{shown(path)} has no {shown(name)}")
    return _read_listed(directory, manifest, name)


def models_home() -> Path:
    """The directory that holds the models known by name.

    Raises:
        EnvironmentFailure: no home directory is known.
    """
    home = os.environ.get("GRU_COMPLETE_HOME")
    if not home:
        from platformdirs import user_data_dir  # here, since it is slow to import and rarely needed

        home = user_data_dir("gru-complete", appauthor=False)
        if not os.path.isabs(home):
            message = "no home directory is known to keep models in"
            raise EnvironmentFailure(message, hint="let GRU_COMPLETE_HOME name a directory")
    return Path(home) / "models"


def is_model_name(name: str) -> bool:
    """Whether this may name a model: nothing hidden, no option, no run directory, no path."""
    is_plain = re.fullmatch(r"\w[\w .+()-]*", name) is not None and len(os.fsencode(name)) <= 100
    return is_plain and not name.endswith((" ", ".", ".run")) and name != "last"


def resolve_model_path(name_or_path: str) -> Path:
    """Where a model is or will be: a path if there is a separator in it, else a name under ``models_home()``.

    Raises:
        UsageError: the name could not be told from a hidden file, an option, a run directory or a path, or the path
            ends in no name, or in one too long to have others made of it.
    """
    if "/" in name_or_path or os.sep in name_or_path:
        name = os.path.basename(name_or_path.rstrip(f"/{os.sep}"))
        if name in ("", ".", "..") or len(os.fsencode(name)) > 200:
            message = f"{brief(name_or_path)} cannot be the place of a model"
            raise UsageError(message, hint="end the path with the name of the model, as in ./novel")
        return Path(name_or_path)
    if not is_model_name(name_or_path):
        message = f"{brief(name_or_path)} cannot be the name of a model"
        raise UsageError(message, hint="use letters, digits, '-' and '_'; a path contains a '/'")
    return models_home() / name_or_path


def find_model(option: str | None) -> Path:
    """The model that a command is to use: the option's, else ``$GRU_COMPLETE_MODEL``'s, else the one trained last.

    Raises:
        ModelError: there is no such model.
        UsageError: the name is none.
    """
    name = option if option is not None else os.environ.get("GRU_COMPLETE_MODEL") or None
    if name is None:
        name = _last_trained()
        if name is None:
            raise ModelError("no model has been trained yet", hint=_TRAIN_HINT)
    path = resolve_model_path(name)
    if not _has_manifest(path):
        if path.is_dir():
            _load_manifest(path)  # which says what is wrong
        raise ModelError(f"no model named '{shown(name)}'", hint=f"{_TRAIN_HINT} -m {shown(name)}")
    return path


def remember_last(path: Path) -> None:
    """Note which model was trained last, for commands without ``-m``.

    Raises:
        EnvironmentFailure: the disk or a permission said no.
    """
    home = models_home()
    name = path.name if path.parent == home else os.path.abspath(path)
    files.make_directory(home)
    files.write_file(home / "last", os.fsencode(name))


def _last_trained() -> str | None:
    path = models_home() / "last"
    return os.fsdecode(files.read_regular_file(path, max_bytes=10_000)) if path.exists() else None


def list_models() -> list[Path]:
    """The finished models under ``models_home()``, sorted by name."""
    home = models_home()
    if not home.is_dir():
        return []
    return [path for path in sorted(home.iterdir()) if not path.name.startswith(".") and _has_manifest(path)]


def run_dir_of(model_path: Path) -> Path:
    """The run directory beside a model: plan, token shards, checkpoints."""
    return model_path.with_name(f"{model_path.name}.run")


def remove_model(path: Path, *, run_only: bool) -> None:
    """Delete a model and its run directory, or the run directory only, which holds the corpus as tokens.

    Raises:
        ModelError: there is no model or run directory at this path; nothing else is ever deleted.
        BusyError: a training is under way there.
        EnvironmentFailure: the disk or a permission said no.
    """
    run_dir = run_dir_of(path)
    if not run_only:
        manifest = files.strict_json(_read_manifest(files.visible_directory(path)), name=shown(path / MANIFEST))
        if manifest.get("format") != FORMAT:
            raise ModelError(f"{shown(path)} is not a gru-complete model")
    if (run_dir / "lock").is_file():
        with files.DirectoryLock(run_dir):
            pass  # Windows cannot delete a directory whose lock is held
        files.remove_directory(run_dir)
    elif run_only:
        raise ModelError(f"{shown(run_dir)} is not a run directory")
    if not run_only:
        files.remove_directory(path)


def _identity(path: Path) -> tuple[Path, str] | None:
    """What changes when a model is replaced: where it is found while directories are swapped, and its manifest's bytes.

    Inodes and times will not do: the next model may get the same ones at once.
    """
    directory = files.visible_directory(path)
    try:
        return directory, files.sha256_hex(_read_manifest(directory))
    except ModelError:
        return None


def _has_manifest(path: Path) -> bool:
    return os.path.lexists(files.visible_directory(path) / MANIFEST)


def _read_manifest(directory: Path) -> bytes:
    if not os.path.lexists(directory / MANIFEST):
        message = f"{shown(directory)} is not a gru-complete model (no {MANIFEST})"
        raise ModelError(message, hint="did training finish? The same gru-complete train command goes on")
    return files.read_regular_file(directory / MANIFEST, max_bytes=_MAX_BYTES[MANIFEST])


def _load_manifest(directory: Path) -> tuple[Manifest, str]:
    data = _read_manifest(directory)
    name = shown(directory / MANIFEST)
    value = files.strict_json(data, name=name)
    try:
        return Manifest.from_json(value), files.sha256_hex(data)
    except ModelError as error:
        raise ModelError(f"{name}: {error}", hint=error.hint) from None


def _read_listed(directory: Path, manifest: Manifest, name: str) -> bytes:
    entry = manifest.files[name]
    data = files.read_regular_file(directory / name, max_bytes=entry.num_bytes)
    if len(data) != entry.num_bytes:
        raise ModelError(f"{shown(directory / name)} is cut off: {len(data)} of {entry.num_bytes} bytes")
    if files.sha256_hex(data) != entry.sha256:
        raise ModelError(f"{shown(directory / name)} is damaged (sha256 mismatch)", hint="copy the model again")
    return data


def _check_weights(weights: Weights, arch: Architecture, *, name: str) -> None:
    """Compare names, shapes and dtypes with what ``arch`` implies, and refuse numbers that are not finite."""
    _check_tensors(weights, arch.tensor_shapes(), name=name)


def _check_tensors(tensors: Delta, shapes: Mapping[str, tuple[int, ...]], *, name: str) -> None:
    problems = [f"{key} is missing" for key in shapes if key not in tensors]
    for key, array in tensors.items():
        if key not in shapes:
            problems.append(f"{brief(key)} is not expected")
        elif array.shape != shapes[key]:
            problems.append(f"{key} has the shape {array.shape}, expected {shapes[key]}")
        elif array.dtype != (dtype := np.uint8 if key.endswith(STEPS) else np.float32):
            problems.append(f"{key} is {array.dtype}, expected {np.dtype(dtype)}")
        elif not np.isfinite(array).all():
            problems.append(f"{key} contains NaN or infinity")
    if problems:
        more = [f"and {len(problems) - 20} more"] if len(problems) > 20 else []
        raise ModelError(f"{name} does not fit its manifest: {'; '.join([*problems[:20], *more])}")


def _check_vocab(tokenizer: "Tokenizer", arch: Architecture) -> None:
    if tokenizer.vocab_size != arch.vocab_size:
        raise ModelError(f"tokenizer has {tokenizer.vocab_size} pieces, weights expect {arch.vocab_size}")


def _check_tokenizer_flags(value: object) -> None:
    flags = json_object(value, "tokenizer", required=[*_TOKENIZER_FLAGS, "abbreviations"])
    for key, expected in _TOKENIZER_FLAGS.items():
        if type(flags[key]) is not type(expected) or flags[key] != expected:
            raise ModelError(f"tokenizer.{key} is {brief(flags[key])}, not {expected!r}")
    words = flags["abbreviations"]
    if not isinstance(words, list) or len(words) > 200:
        raise ModelError("tokenizer.abbreviations is not a list of at most 200 words")
    for word in words:
        if not isinstance(word, str) or not 1 <= len(word) <= 8 or not word.isprintable():
            raise ModelError(f"tokenizer.abbreviations has {brief(word)}, not a word of at most 8 characters")


def _file_records(value: object, *, is_adapted: bool) -> dict[str, FileRecord]:
    required, optional = ([DELTA], ()) if is_adapted else ([WEIGHTS, TOKENIZER], EXTRA_FILES)
    listed = json_object(value, "files", required=required, optional=optional)
    records = {}
    for name, entry in listed.items():
        entry = json_object(entry, f"files.{name}", required=["bytes", "sha256"])
        num_bytes = whole_number(entry["bytes"], f"files.{name}.bytes", smallest=0, largest=_MAX_BYTES[name])
        records[name] = FileRecord(num_bytes, _sha256(entry["sha256"], f"files.{name}.sha256"))
    return records


def _sha256(value: object, where: str) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise ModelError(f"{where} is not 64 hexadecimal digits")
    return value


def _check_facts(value: object, where: str, *, depth: int = 3) -> None:
    """Let numbers, short strings and shallow mappings of them pass."""
    if isinstance(value, dict) and depth > 0 and len(value) <= 200:
        for key, item in value.items():
            _check_facts(key, f"a key of {where}")
            _check_facts(item, f"{where}.{shown(key)}", depth=depth - 1)
    elif isinstance(value, str):
        if len(value) > 100 or not value.isprintable():
            raise ModelError(f"{where[:200]} is not a short printable string")
    elif not (value is None or isinstance(value, bool | int | float)):
        raise ModelError(f"{where[:200]} is {brief(value)}, not a number, a short string or a small mapping of them")


def _tool_version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # here, since it is slow to import

    try:
        return version("gru-complete")
    except PackageNotFoundError:
        return "unknown"
