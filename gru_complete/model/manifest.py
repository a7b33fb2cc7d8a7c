"""``manifest.json``: what it says, and the checks that a stranger's must pass."""

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gru_complete.errors import ModelError, printable
from gru_complete.storage.untrusted import check_format, json_object, short_repr, whole_number

if TYPE_CHECKING:
    pass
from gru_complete.model.architecture import Architecture

FORMAT = "gru-complete"
VERSION = 1
MANIFEST = "manifest.json"
CHECK_THRESHOLD = "check_threshold"
"""Among the manifest's metrics: the least odds that `check` reports unless it is told."""
WEIGHTS = "weights.safetensors"
TOKENIZER = "tokenizer.model"
DELTA = "delta.safetensors"
NGRAMS = "ngrams.safetensors"
EXTRA_FILES = (NGRAMS, "optimizer.safetensors", "loop.json")

MAX_BYTES = {
    MANIFEST: 64_000,
    WEIGHTS: 1 << 30,
    TOKENIZER: 1 << 24,
    DELTA: 1 << 30,
    NGRAMS: 1 << 30,
    "optimizer.safetensors": 1 << 31,
    "loop.json": 1 << 20,
}
TOKENIZER_FLAGS = {"kind": "sentencepiece", "document_end": 0, "first_piece": 257}


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
            raise ModelError(f"base.name is {short_repr(fields['name'])}, not the name of a model")
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


def is_model_name(name: str) -> bool:
    """Whether this may name a model: nothing hidden, no option, no run directory, no path."""
    is_plain = re.fullmatch(r"\w[\w .+()-]*", name) is not None and len(os.fsencode(name)) <= 100
    return is_plain and not name.endswith((" ", ".", ".run")) and name != "last"


def _check_tokenizer_flags(value: object) -> None:
    flags = json_object(value, "tokenizer", required=[*TOKENIZER_FLAGS, "abbreviations"])
    for key, expected in TOKENIZER_FLAGS.items():
        if type(flags[key]) is not type(expected) or flags[key] != expected:
            raise ModelError(f"tokenizer.{key} is {short_repr(flags[key])}, not {expected!r}")
    words = flags["abbreviations"]
    if not isinstance(words, list) or len(words) > 200:
        raise ModelError("tokenizer.abbreviations is not a list of at most 200 words")
    for word in words:
        if not isinstance(word, str) or not 1 <= len(word) <= 8 or not word.isprintable():
            raise ModelError(f"tokenizer.abbreviations has {short_repr(word)}, not a word of at most 8 characters")


def _file_records(value: object, *, is_adapted: bool) -> dict[str, FileRecord]:
    required, optional = ([DELTA], ()) if is_adapted else ([WEIGHTS, TOKENIZER], EXTRA_FILES)
    listed = json_object(value, "files", required=required, optional=optional)
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
    """Let numbers, short strings and shallow mappings of them pass."""
    if isinstance(value, dict) and depth > 0 and len(value) <= 200:
        for key, item in value.items():
            _check_facts(key, f"a key of {where}")
            _check_facts(item, f"{where}.{printable(key)}", depth=depth - 1)
    elif isinstance(value, str):
        if len(value) > 100 or not value.isprintable():
            raise ModelError(f"{where[:200]} is not a short printable string")
    elif not (value is None or isinstance(value, bool | int | float)):
        raise ModelError(
            f"{where[:200]} is {short_repr(value)}, not a number, a short string or a small mapping of them"
        )
