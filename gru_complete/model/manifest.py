"""``manifest.json``: what it says, and the checks that it must pass, since it may come from a stranger.

The names of files and keys are a format.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gru_complete.errors import ModelError, printable
from gru_complete.model.architecture import Architecture
from gru_complete.storage import atomic, untrusted
from gru_complete.storage.untrusted import check_format, json_object, short_repr, whole_number
from gru_complete.text.normal_form import NormalForm, known_form

FORMAT = "gru-complete"
VERSION = 1
MANIFEST = "manifest.json"
CHECK_THRESHOLD = "check_threshold"
"""The key of a metric: the lowest odds that `check` reports by default."""
WEIGHTS = "weights.safetensors"
TOKENIZER = "tokenizer.model"
NGRAMS = "ngrams.safetensors"
EXTRA_FILES = (NGRAMS, "optimizer.safetensors", "loop.json")
"""Files that a model may have besides its weights and tokenizer; the last two are a checkpoint's."""

MAX_BYTES = {
    MANIFEST: 64_000,
    WEIGHTS: 1 << 30,
    TOKENIZER: 1 << 24,
    NGRAMS: 1 << 30,
    "optimizer.safetensors": 1 << 31,
    "loop.json": 1 << 20,
}
"""The largest size of each file that is read."""
DEFAULT_ENDS = ("sentence", "line")
"""Where completions of a model may end by default."""
STARTS = ("", "\n", "\n\n")
"""What may stand before a prompt: the beginning of a document, a line or a paragraph."""
_OLD_CHANGE = "delta.safetensors"  # what older versions wrote in place of weights
_LOOKS = 5
TOKENIZER_FLAGS = {"kind": "sentencepiece", "document_end": 0, "first_piece": 257}
"""Facts about the tokenizer that all models share today; a manifest with others is refused."""


class FileRecord(NamedTuple):
    """The size and the SHA-256 of a file."""

    num_bytes: int
    sha256: str


class Base(NamedTuple):
    """The model that a training started from.

    Attributes:
        name: of its directory.
        fingerprint: the SHA-256 of its manifest.
    """

    name: str
    fingerprint: str

    @classmethod
    def from_json(cls, value: object) -> "Base":
        """Read the ``base`` of a manifest.

        Raises:
            ModelError: a key is missing, unknown or of the wrong form.
        """
        fields = json_object(value, "base", required=["name", "fingerprint"])
        if not isinstance(fields["name"], str) or not is_model_name(fields["name"]):
            raise ModelError(f"base.name is {short_repr(fields['name'])}, not the name of a model")
        return cls(fields["name"], _sha256(fields["fingerprint"], "base.fingerprint"))


class TextFacts(NamedTuple):
    """What the text is like that a model was trained on.

    Attributes:
        abbreviations: short words that it follows with a period inside sentences, without the period.
        until: where completions end by default, one of ``DEFAULT_ENDS``.
        start: what stands before a prompt, one of ``STARTS``.
    """

    abbreviations: Sequence[str] = ()
    until: str = DEFAULT_ENDS[0]
    start: str = STARTS[0]


NOTHING_KNOWN = TextFacts()


class Manifest(NamedTuple):
    """What ``manifest.json`` says: plain numbers and short strings, never text or paths.

    Attributes:
        arch: the sizes.
        tokenizer: ``TOKENIZER_FLAGS`` and the corpus' ``abbreviations``.
        metrics: what was measured, each only where it was: ``held_out_bits_per_byte`` and ``held_out_bytes``,
            ``held_out_adapted_bits_per_byte`` (if completions learn from the current document),
            ``tuning_bits_per_byte`` (of the validation split),
            ``ngrams_bits_per_byte``, ``xz_bits_per_byte``, and ``CHECK_THRESHOLD``.
        training: facts about the training: ``run_id``, ``steps``, ``finished``, ``seconds``, ``torch`` (its version),
            ``num_training_tokens`` and ``num_training_bytes``, ``normal_form`` (of all of the text, if it has one).
        files: the other files of the directory.
        tool_version: of the program that wrote the model.
        base: the model that the training started from; None if it started from nothing.
        until: where completions end by default, one of ``DEFAULT_ENDS``; older models do not say it.
        start: what stands before a prompt, one of ``STARTS``; likewise.
        format: always ``FORMAT``.
        version: of the format.

    Anyone may write a manifest, so that a metric or a fact may be missing or of another type: the properties say None.
    """

    arch: Architecture
    tokenizer: Mapping[str, Any]
    metrics: Mapping[str, Any]
    training: Mapping[str, Any]
    files: Mapping[str, FileRecord]
    tool_version: str
    base: Base | None = None
    until: str = DEFAULT_ENDS[0]
    start: str = STARTS[0]
    format: str = FORMAT
    version: int = VERSION

    @property
    def text(self) -> TextFacts:
        """What the text is like."""
        return TextFacts(self.tokenizer["abbreviations"], self.until, self.start)

    @property
    def steps(self) -> int | None:
        """The optimizer updates of the training."""
        steps = self.training.get("steps")
        return steps if type(steps) is int and steps >= 1 else None

    @property
    def num_training_bytes(self) -> int | None:
        """The size of the text that the weights were trained on."""
        num_bytes = self.training.get("num_training_bytes")
        return num_bytes if type(num_bytes) is int and 0 <= num_bytes < 2**63 else None

    @property
    def run_id(self) -> str | None:
        """What names the training that made the model; its run directory has the same."""
        run_id = self.training.get("run_id")
        return run_id if isinstance(run_id, str) else None

    @property
    def normal_form(self) -> NormalForm | None:
        """The normal form that all of the corpus has; None if it has none, as for models that do not say it."""
        return known_form(self.training.get("normal_form"))

    @property
    def is_finished(self) -> bool:
        """Whether the training came to its end; else this is what an interrupted one left."""
        return bool(self.training.get("finished"))

    @property
    def bits_per_byte(self) -> float | None:
        """The main measure of quality: on held-out text as completions read it, or else on the validation split."""
        for name in ("held_out_adapted_bits_per_byte", "held_out_bits_per_byte", "tuning_bits_per_byte"):
            if name in self.metrics:
                bits = self.metrics[name]
                return bits if isinstance(bits, float) else None
        return None

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the file; what it says by saying nothing is left out, for programs of older versions."""
        text = {"until": self.until, "start": self.start}
        return {
            "format": self.format,
            "version": self.version,
            "tool_version": self.tool_version,
            **({} if self.base is None else {"base": self.base._asdict()}),
            "arch": self.arch._asdict(),
            "tokenizer": dict(self.tokenizer),
            **{key: value for key, value in text.items() if value != Manifest._field_defaults[key]},
            "metrics": dict(self.metrics),
            "training": dict(self.training),
            "files": {name: {"bytes": entry.num_bytes, "sha256": entry.sha256} for name, entry in self.files.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Manifest":
        """Check everything a manifest says; keys that begin with ``x-`` are for other programs and are ignored.

        Raises:
            ModelError: it has another or a newer format, or something in it is missing, unknown or out of range.
        """
        check_format(value, FORMAT, VERSION)
        required = ["format", "version", "tool_version", "arch", "tokenizer", "metrics", "training", "files"]
        fields = json_object(
            {key: value[key] for key in value if not key.startswith("x-")},
            "manifest",
            required=required,
            optional=["base", "until", "start"],
        )
        base = Base.from_json(fields["base"]) if "base" in fields else None
        _refuse_change(fields["files"], base)
        for key, known in (("until", DEFAULT_ENDS), ("start", STARTS)):
            if fields.get(key, known[0]) not in known:
                raise ModelError(f"{key} is {short_repr(fields[key])}, not one of {', '.join(map(repr, known))}")
        _check_facts(fields["tool_version"], "tool_version")
        _check_tokenizer_flags(fields["tokenizer"])
        for part in ("metrics", "training"):
            _check_facts(json_object(fields[part], part), part)
        return cls(
            arch=Architecture.from_json(fields["arch"]),
            tokenizer=fields["tokenizer"],
            metrics=fields["metrics"],
            training=fields["training"],
            files=_file_records(fields["files"]),
            tool_version=str(fields["tool_version"]),
            base=base,
            until=fields.get("until", DEFAULT_ENDS[0]),
            start=fields.get("start", STARTS[0]),
        )


def is_model_name(name: str) -> bool:
    """Whether a string can be the name of a model: not a hidden file, an option, a run directory or a path."""
    letters = name
    if not name.isascii():
        from gru_complete.text.letters import without_marks  # here, since most names are ASCII

        letters = without_marks(name)
    is_plain = re.fullmatch(r"\w[\w .+()-]*", letters) is not None and len(os.fsencode(name)) <= 100
    return is_plain and not name.endswith((" ", ".", ".run")) and name != "last"


def _check_tokenizer_flags(value: object) -> None:
    """Check that the tokenizer is of the only kind there is, and that its abbreviations are short words."""
    flags = json_object(value, "tokenizer", required=[*TOKENIZER_FLAGS, "abbreviations"])
    for key, expected in TOKENIZER_FLAGS.items():
        if type(flags[key]) is not type(expected) or flags[key] != expected:
            raise ModelError(f"tokenizer.{key} is {short_repr(flags[key])}, not {expected!r}")
    check_abbreviations(flags["abbreviations"], "tokenizer.abbreviations")


def check_abbreviations(words: object, where: str) -> list[str]:
    """Check that a value is a list of short words, and return it.

    Args:
        words: from a file.
        where: what the value is, for messages.

    Raises:
        ModelError: it is something else.
    """
    if not isinstance(words, list) or len(words) > 200:
        raise ModelError(f"{where} is not a list of at most 200 words")
    for word in words:
        if not isinstance(word, str) or not 1 <= len(word) <= 8 or not word.isprintable():
            raise ModelError(f"{where} has {short_repr(word)}, not a word of at most 8 characters")
    return words


def _refuse_change(files: object, base: Base | None) -> None:
    """Refuse what older versions wrote to add a text to a model."""
    if isinstance(files, dict) and _OLD_CHANGE in files:
        message = "written by `adapt` of an older version, which has no weights of its own"
        name = "MODEL" if base is None else base.name
        raise ModelError(message, hint=f"learn that text again: gru-complete train TEXT --base {name} -m NEW-MODEL")


def _file_records(value: object) -> dict[str, FileRecord]:
    """Check the list of files."""
    listed = json_object(value, "files", required=[WEIGHTS, TOKENIZER], optional=EXTRA_FILES)
    records = {}
    for name, entry in listed.items():
        entry = json_object(entry, f"files.{name}", required=["bytes", "sha256"])
        num_bytes = whole_number(entry["bytes"], f"files.{name}.bytes", smallest=0, largest=MAX_BYTES[name])
        records[name] = FileRecord(num_bytes, _sha256(entry["sha256"], f"files.{name}.sha256"))
    return records


def _sha256(value: object, where: str) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise ModelError(f"{where} is not 64 hexadecimal digits")
    return value


def _check_facts(value: object, where: str, *, depth: int = 3) -> None:
    """Refuse everything but numbers, short strings and shallow mappings of them."""
    if isinstance(value, dict) and depth > 0 and len(value) <= 200:
        for key, item in value.items():
            _check_facts(key, f"a key of {where}")
            _check_facts(item, f"{where}.{printable(key)}", depth=depth - 1)
    elif isinstance(value, str):
        if len(value) > 100 or not value.isprintable():
            raise ModelError(f"{where[:200]} is not a short printable string")
    elif not (value is None or isinstance(value, bool | int | float)):
        problem = f"{short_repr(value)}, not a number, a short string or a small mapping of them"
        raise ModelError(f"{where[:200]} is {problem}")


def has_manifest(path: Path) -> bool:
    """Whether a finished model is stored at this path; its manifest may still be damaged."""
    # Again and again: the directory may be swapped between the two looks at it.
    return any(os.path.lexists(atomic.visible_directory(path) / MANIFEST) for _ in range(_LOOKS))


def read_manifest_bytes(directory: Path) -> bytes:
    """Read ``manifest.json`` without parsing it.

    Raises:
        ModelError: there is none, or it is not a regular file of at most 64 kB.
    """
    if not os.path.lexists(directory / MANIFEST):
        message = f"{printable(directory)} is not a gru-complete model (no {MANIFEST})"
        raise ModelError(message, hint="did training finish? The same gru-complete train command continues it")
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
