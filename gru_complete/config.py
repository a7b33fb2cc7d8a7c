"""Settings: the defaults below, beaten by a YAML file, beaten by ``--set section.key=value`` and by options.

Every key is explained where it is defined. ``None`` means "chosen by ``training/planning.py`` from the corpus and the
minutes". The merged config is frozen; what the plan made of it is saved in the run directory.
"""

import difflib
import os
import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gru_complete.errors import ConfigError, printable

MAX_CONFIG_BYTES = 64 * 1024
MAX_THREADS = 1024
THREADS_VARIABLE = "GRU_COMPLETE_THREADS"

_WITH_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")  # YAML 1.2, core schema

Cell = Literal["rnn", "rnn-relu", "gru-simple", "gru", "gru-reset-after", "lstm"]


class Section(BaseModel):
    """A section of the config: unknown keys and infinite numbers are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _read_exponent(cls, value: object) -> object:
        """Read 1e6 as a number, which is an integer; pydantic reads all other numbers from text by itself."""
        return float(value) if isinstance(value, str) and _WITH_EXPONENT.fullmatch(value) else value


class DataConfig(Section):
    """Which text is read, and how it is split for training, tuning (validation) and held-out evaluation (test)."""

    extensions: tuple[str, ...] = Field(
        default=(".txt", ".md", ".rst", ".tex", ".org", ".eml", ".mbox", ".log", ".csv", ".tsv", ".json", ".jsonl",
                 ".html", ".xml", ".yaml", ".toml", ".ini", ".py", ".js", ".ts", ".c", ".h", ".cpp", ".java", ".go",
                 ".rs", ".rb", ".sh", ".sql"),
        description="endings of the file names that are read in a directory",
    )  # fmt: skip
    held_out: float = Field(default=0.10, ge=0, le=0.5, description="share held out for `eval` (test split); 0: none")
    max_held_out_bytes: int = Field(default=1_000_000, gt=0, description="largest size of the held-out split")
    tuning: float = Field(
        default=0.03, gt=0, le=0.5, description="share that chooses the checkpoint and the stop (validation split)"
    )
    max_tuning_bytes: int = Field(default=300_000, gt=0, description="largest size of the tuning split")
    redact: bool = Field(default=False, description="replace secrets by [email], [password] and so on before learning")


class TokenizerConfig(Section):
    """How text is cut into tokens."""

    vocab_size: int | None = Field(
        default=None,
        ge=1,
        le=65_000,
        description="pieces, not counting the 256 single bytes; fewer if the text is too small for them",
    )
    sample_bytes: int = Field(
        default=2_500_000, ge=10_000, description="bytes of text that the tokenizer is trained on, at most"
    )


class ModelConfig(Section):
    """The recurrent network."""

    cell: Cell = Field(default="gru", description="recurrent cell; `gru` resets before the matrix product")
    embedding_size: int | None = Field(default=None, ge=1, le=8192, description="E, width of the token embeddings")
    hidden_size: int | None = Field(default=None, ge=1, le=8192, description="H, width of the recurrent state")
    num_layers: int = Field(
        default=1, ge=1, le=16, description="stacked cells, with residual connections from the second on"
    )
    dropout: float | None = Field(default=None, ge=0, lt=1, description="share of activations dropped during training")
    weight_dropout: float | None = Field(
        default=None, ge=0, lt=1, description="share of recurrent weights dropped during training"
    )
    update_bias: float = Field(
        default=-1.0,
        ge=-20,
        le=20,
        description="initial bias of the update gate; negative values keep the state for longer",
    )
    chrono_length: int | None = Field(
        default=None, ge=3, le=100_000, description="T_max of the chrono initialisation, instead of update_bias"
    )


class NGramsConfig(Section):
    """The n-gram model beside the network."""

    order: int = Field(default=5, ge=0, le=8, description="tokens in the longest n-gram counted; 0: the network alone")
    max_bytes: int | None = Field(
        default=None, ge=10_000, description="largest size of the n-gram counts on disk; the rarest are dropped"
    )
    min_documents: int = Field(
        default=1, ge=1, description="phrases that fewer documents have are not stored; 1: all may be"
    )
    adapt: bool | None = Field(
        default=None,
        description="whether completions learn from the current document; automatic: if that helps on the tuning split",
    )


class TrainingConfig(Section):
    """How the network is trained."""

    minutes: float = Field(default=5.0, gt=0, le=100_000, description="time for the whole command")
    steps: int | None = Field(default=None, ge=1, le=100_000_000, description="optimizer updates, instead of minutes")
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of all random choices")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: a GPU if there is one")
    threads: int | None = Field(default=None, ge=1, le=MAX_THREADS, description="CPU threads; automatic: one per core")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="precision of matrix products in training; auto: bfloat16 where the processor multiplies it faster",
    )
    batch_size: int | None = Field(default=None, ge=1, le=65_536, description="B, rows read in parallel")
    seq_len: int = Field(default=64, ge=1, le=65_536, description="T, tokens per chunk of truncated back-propagation")
    base: str = Field(
        default="auto",
        min_length=1,
        description="the model to start from: a name, a path, none, or auto: the built-in one if it suits the text",
    )
    learning_rate: float | None = Field(
        default=None, gt=0, description="the highest learning rate; automatic: 4e-3, from a base 1e-3"
    )
    warmup: float = Field(default=0.05, ge=0, le=0.9, description="share of the steps in which the learning rate rises")
    decay: float = Field(
        default=0.5, gt=0, le=1, description="share of the steps in which the learning rate falls to zero, at the end"
    )
    weight_decay: float = Field(default=0.1, ge=0, description="AdamW decay, on matrices only")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients with a larger norm are scaled down to it")
    quantized: bool | None = Field(
        default=None,
        description="whether the model has weights of eight bits, a quarter of the size; automatic: if it has a base",
    )
    evaluations: int = Field(
        default=20, ge=1, le=10_000, description="evaluations on the tuning split; each saves a checkpoint"
    )
    patience: int = Field(default=8, ge=1, description="evaluations without improvement until training stops early")


class Config(Section):
    """All settings of one training run."""

    data: DataConfig = Field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    ngrams: NGramsConfig = Field(default_factory=NGramsConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases (they can blow up), silent duplicate keys or guessed types.

    Every value but null is text, as in the failsafe schema of YAML 1.2, and pydantic reads it as what its setting is:
    010 is ten where a number is expected; ``no`` and ``.inf`` are text where text is. By its spelling alone, YAML 1.1
    takes them for eight, false and infinity, and 1:30 for ninety.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not supported", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in seen:
                problem = f"key '{key}' occurs twice, in lines {seen[key]} and {line}"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen[key] = line
        return super().construct_mapping(node, deep=deep)


_TAGS = (None, *(f"tag:yaml.org,2002:{kind}" for kind in ("null", "str", "seq", "map")))  # None refuses all others
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in _TAGS}


def load_config(
    path: Path | None = None, overrides: Iterable[str] = (), options: Mapping[str, str | None] | None = None
) -> Config:
    """Merge defaults, a YAML file, ``section.key=value`` overrides and the options of the command line.

    The environment variable ``GRU_COMPLETE_THREADS`` sets ``training.threads`` where no override does.

    Args:
        path: a YAML file, or None for the defaults.
        overrides: what ``--set`` gave, the later beating the earlier.
        options: what settings with an option of their own were given, by ``section.key``: ``training.minutes`` is what
            ``--minutes`` gave; None if it was not given, "null" for the automatic value. They beat the others.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or holds unknown keys or bad values (all are listed); or the
            number of threads in the environment is none.
    """
    raw = {} if path is None else _read_yaml(path)
    config = validate(raw, source=str(path))
    pairs = [*_threads_of_environment(), *map(_parse_override, overrides)]
    given = {place: value for place, value in (options or {}).items() if value is not None}
    pairs += [(*_section_and_key(place), None if value == "null" else value) for place, value in given.items()]
    if not pairs:
        return config
    merged: dict[str, dict[str, Any]] = {name: dict(section) for name, section in raw.items() if section}
    for section, key, value in pairs:
        merged.setdefault(section, {})[key] = value
    return validate(merged, source="--set", given=given)


def _threads_of_environment() -> list[tuple[str, str, Any]]:
    threads = os.environ.get(THREADS_VARIABLE, "")
    if not threads:
        return []
    if not re.fullmatch("[0-9]{1,4}", threads) or not 1 <= int(threads) <= MAX_THREADS:
        raise ConfigError(printable(f"{THREADS_VARIABLE} must be a number from 1 to {MAX_THREADS}, not {threads!r}"))
    return [("training", "threads", int(threads))]


def validate(raw: object, *, source: str, given: Mapping[str, str] | None = None) -> Config:
    """Check every value before any work starts, and report all problems together.

    Args:
        raw: nested mappings, as YAML gives them.
        source: what the error message names.
        given: by ``section.key``, what settings with an option of their own were given; the option is named then.

    Raises:
        ConfigError: unknown keys or unusable values.
    """
    if isinstance(raw, Mapping):
        raw = {name: {} if section is None else section for name, section in raw.items()}  # `model:` alone is empty
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        options, problems = [], []
        for e in error.errors():
            place = ".".join(map(str, e["loc"])) or "top level"
            if given and place in given:
                options.append(f"--{e['loc'][-1]} {given[place]!r}: {_lowered(e['msg'])}")
            else:
                problems.append(f"  {place}: {_explain(e['loc'], e['type'], e['msg'])}")
        heading = [f"{source}: these settings cannot be used:"] if problems else []
        raise ConfigError("\n".join(map(printable, [*options, *heading, *problems]))) from None


def _explain(location: tuple[int | str, ...], kind: str, message: str) -> str:
    """One problem that pydantic found, in a line; an unknown key comes with the nearest known one."""
    if kind != "extra_forbidden":
        return _lowered(message)
    known: Iterable[str] = Config.model_fields
    if len(location) > 1:
        known = type(getattr(Config(), str(location[0]))).model_fields
    nearest = difflib.get_close_matches(str(location[-1]), known, n=1)
    return "unknown key" + (f"; did you mean '{nearest[0]}'?" if nearest else f"; known: {', '.join(known)}")


def _lowered(message: str) -> str:
    return message[0].lower() + message[1:]


def _read_yaml(path: Path) -> dict[str, Any]:
    """The top level of a YAML file, an empty mapping if the file is empty."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read config {str(path)!r}: {error.strerror}") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{printable(path)} is larger than {MAX_CONFIG_BYTES} bytes: not a config")
    raw = _parse_yaml(data, source=str(path))
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{printable(path)} is not a usable config: sections such as 'model:' are expected at the top level"
        )
    return raw


def _parse_yaml(data: bytes | str, *, source: str) -> Any:
    try:
        return yaml.load(data, Loader=_StrictLoader)  # a SafeLoader, made stricter
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise ConfigError(printable(f"{source} is not valid YAML:{place} {error.problem}")) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "not text that YAML allows"
        raise ConfigError(printable(f"{source} is not valid YAML: {reason}")) from None


def _section_and_key(place: str) -> tuple[str, str]:
    section, _, key = place.partition(".")
    return section, key


def _parse_override(text: str) -> tuple[str, str, Any]:
    place, equals, value = text.partition("=")
    section, dot, key = place.strip().partition(".")
    if not (equals and dot and section and key and value.strip()):
        raise ConfigError(
            f"--set {text!r} is not of the form section.key=value", hint="e.g. --set model.hidden_size=256"
        )
    return section, key, _parse_yaml(value, source=f"--set {place}")
