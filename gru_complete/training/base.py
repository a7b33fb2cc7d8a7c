"""The model that a training starts from, its *base*: tokenizer, weights and n-gram model come from it.

The result is a model of its own. While a training is unfinished, its base must stay where it is.
"""

import os
from pathlib import Path
from typing import NamedTuple

from gru_complete.config import Config
from gru_complete.errors import ConfigError, ModelError, UsageError
from gru_complete.model.directory import LoadedModel, load_model
from gru_complete.model.home import built_in_model, find_model
from gru_complete.model.manifest import Base, has_manifest, is_model_name
from gru_complete.model.run_dir import RunDir
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.pair import NGramPair
from gru_complete.text.sentencepiece_model import FIRST_PIECE
from gru_complete.training.base_choice import BaseChoice, choose_base
from gru_complete.training.plan import read_plan

NO_BASE, AUTOMATIC = "none", "auto"


class FixedByBase(NamedTuple):
    """A setting that a base decides.

    Attributes:
        section: of the config.
        key: in the section.
        value: what the base has.
    """

    section: str
    key: str
    value: int | str


class Start(NamedTuple):
    """What a training starts from.

    Attributes:
        base: a model; None: nothing.
        choice: what the automatic choice came from, if there was one.
    """

    base: LoadedModel | None = None
    choice: BaseChoice | None = None


FROM_NOTHING = Start()


class Prepared(NamedTuple):
    """What there is before the first step, besides plan and text.

    Attributes:
        base: the model to start from; None to start from nothing.
        counts: the n-gram counts of the training split, perhaps with those of the base; None if the network is to work
            alone.
    """

    base: LoadedModel | None
    counts: NGrams | NGramPair | None


def load_base(config: Config) -> LoadedModel | None:
    """The model that a training may start from; None if it has to start from nothing.

    Raises:
        ModelError: it is missing or damaged.
        UsageError: this cannot be the name of a model.
        ConfigError: it is named, and a setting would make another network than its own.
    """
    name = config.training.base
    if name == NO_BASE:
        return None
    if name != AUTOMATIC:
        base = load_model(find_model(name))
        if (problem := contradiction(config, base)) is not None:
            raise ConfigError(problem, hint="leave it out, or start from nothing with --base none")
        return base
    if not has_manifest(built_in_model()):  # a program that was installed without it
        return None
    base = load_model(built_in_model())
    return base if contradiction(config, base) is None else None


def original_base(model: LoadedModel) -> LoadedModel | None:
    """The model that the training of another started from; None if it started from nothing, or that one has gone."""
    if model.manifest.base is None:
        return None
    try:
        plan = read_plan(RunDir.beside(model.path))
        base = load_model(find_model(plan.config.training.base))
    except (ModelError, UsageError):
        return None
    return base if base.fingerprint == model.manifest.base.fingerprint else None


def automatic_start(base: LoadedModel, spool_path: Path, num_bytes: int) -> Start:
    """The start that suits a text.

    Args:
        base: the model that it might start from.
        spool_path: the clean text.
        num_bytes: its size.
    """
    choice = choose_base(base, spool_path, num_bytes)
    return Start(base if choice.takes_base else None, choice)


def fixed_settings(base: LoadedModel) -> list[FixedByBase]:
    """The settings that a base decides."""
    arch = base.manifest.arch
    fixed = [
        FixedByBase("tokenizer", "vocab_size", base.tokenizer.vocab_size - FIRST_PIECE),
        FixedByBase("model", "cell", arch.cell),
        FixedByBase("model", "embedding_size", arch.embedding_size),
        FixedByBase("model", "hidden_size", arch.hidden_size),
        FixedByBase("model", "num_layers", arch.num_layers),
    ]
    if base.mixture is not None and isinstance(base.mixture.ngrams, NGramPair):
        fixed.append(FixedByBase("ngrams", "order", base.mixture.ngrams.own.order))  # what is counted is added to it
    return fixed


def base_record(base: LoadedModel) -> Base:
    """What the manifest of a model says of its base."""
    name = os.path.basename(os.path.realpath(base.path))
    return Base(name if is_model_name(name) else "model", base.fingerprint)


def contradiction(config: Config, base: LoadedModel) -> str | None:
    """What setting would make another network or vocabulary than the base's; None if none does."""
    defaults = Config()
    for section, key, value in fixed_settings(base):
        wanted = getattr(getattr(config, section), key)
        if wanted not in (None, value, getattr(getattr(defaults, section), key)):
            return f"{section}.{key} is {wanted}, but the model to start from has {value}"
    return None


def config_with_base(config: Config, base: LoadedModel) -> Config:
    """The config with what the base decides filled in."""
    sections: dict[str, dict[str, int | str]] = {}
    for section, key, value in fixed_settings(base):
        sections.setdefault(section, {})[key] = value
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=settings) for name, settings in sections.items()}
    )
