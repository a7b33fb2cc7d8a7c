"""The settings that all cells of a comparison share, and the width of each.

What the cells have in common is chosen by ``match``:

- ``width``: the hidden size, and the number of steps, so that all have read the same text;
- ``parameters``: the number of parameters, and the number of steps;
- ``time``: the hidden size and the minutes, so that a fast cell reads more text.

The settings are written to ``compare.json``, a file format, before any training starts. They decide whether a later
command continues the comparison or is about another one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gru_complete.comparison.request import ComparisonRequest
from gru_complete.config import Config, ModelConfig
from gru_complete.errors import ModelError, printable
from gru_complete.model.architecture import Architecture
from gru_complete.nn import kernel
from gru_complete.nn.cells import CELL_CLASSES
from gru_complete.storage import untrusted
from gru_complete.training import automatic, planning
from gru_complete.training.base import NO_BASE
from gru_complete.training.batches import Batches, paragraph_ends
from gru_complete.training.closing_time import CLOSING_SECONDS
from gru_complete.training.probe import probe_step_seconds
from gru_complete.training.tokenized_corpus import TokenizedCorpus

SETTINGS_FILE = "compare.json"
MAX_SETTINGS_BYTES = 10_000_000
REFERENCE_CELL = "gru"  # with match "parameters", the other cells get as many parameters as this one


@dataclass(frozen=True)
class ResolvedSettings:
    """What all cells share, with nothing left open. The names of the fields are those in ``compare.json``.

    Args:
        corpus_sha256: identifies the text.
        requested: match and settings as the user gave them; they identify the comparison.
        config: the settings of every cell, except its name, width, device and threads.
        hidden_sizes: H of every kind of cell, compared or not.
        vocab_size: V.
    """

    corpus_sha256: str
    requested: dict[str, Any]
    config: Config
    hidden_sizes: dict[str, int]
    vocab_size: int

    def model_config(self, cell: str, **changes: float) -> ModelConfig:
        """The network's settings with this cell at its width, and with other changes."""
        return self.config.model.model_copy(update={"cell": cell, "hidden_size": self.hidden_sizes[cell], **changes})

    def architecture(self, cell: str) -> Architecture:
        """Cell and sizes of the network with this cell."""
        model = self.config.model
        assert model.embedding_size is not None
        return Architecture(cell, self.vocab_size, model.embedding_size, self.hidden_sizes[cell], model.num_layers)

    def to_json(self) -> bytes:
        """The content of ``compare.json``."""
        fields = asdict(self) | {"config": self.config.model_dump(mode="json")}
        return json.dumps(fields, indent=1, sort_keys=True).encode()


def read_settings(path: Path) -> ResolvedSettings:
    """Read a ``compare.json``.

    Raises:
        ModelError: it is damaged, or not one at all.
    """
    try:
        data = untrusted.read_regular_file(path, max_bytes=MAX_SETTINGS_BYTES)
        raw = untrusted.strict_json(data, name=path.name)
        return ResolvedSettings(**raw | {"config": Config.model_validate(raw["config"])})
    except (ModelError, KeyError, TypeError, ValueError):
        message = f"{printable(path)} cannot be used"
        raise ModelError(message, hint="start the comparison again with --replace") from None


def requested_settings(request: ComparisonRequest) -> dict[str, Any]:
    """What identifies a comparison: match and all settings except device and threads, which may change on the way."""
    config = request.config.model_dump(mode="json")
    for key in ("device", "threads"):
        del config["training"][key]
    return {"match": request.match, "config": config}


def resolve_settings(
    request: ComparisonRequest, corpus: TokenizedCorpus, *, corpus_sha256: str, device: torch.device
) -> ResolvedSettings:
    """Choose everything that the request leaves open, as `train` would for one cell, then the same for all cells.

    Args:
        request: what the user asked for.
        corpus: the tokens that all cells share.
        corpus_sha256: identifies the text.
        device: where training runs.
    """
    settings = ResolvedSettings(
        corpus_sha256,
        requested_settings(request),
        _choose_sizes(request.config, corpus, device),
        {},
        corpus.tokenizer.vocab_size,
    )
    settings = replace(settings, hidden_sizes=_choose_hidden_sizes(settings, request.match))
    if request.match == "time":
        return settings  # each cell then plans its own steps and dropout, as `train` does
    steps = settings.config.training.steps or _steps_of_slowest_cell(request, settings, corpus, device)
    return replace(settings, config=_with_steps(settings.config, steps, corpus))


def _choose_sizes(config: Config, corpus: TokenizedCorpus, device: torch.device) -> Config:
    """Width, embedding and batch for the reference cell; and all cells start from nothing, whatever they might use."""
    stream, num_bytes = corpus.streams["training"], corpus.headers["training"].num_bytes
    widest = automatic.widest_hidden_size(num_bytes, epochs=0)
    hidden_size = config.model.hidden_size or min(automatic.WIDTH_WITHOUT_MINUTES, widest)
    embedding_size = config.model.embedding_size or min(256, hidden_size)
    batch_size = config.training.batch_size or automatic.automatic_batch_size(len(stream), hidden_size, device)
    sizes = {"hidden_size": hidden_size, "embedding_size": embedding_size}
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=sizes),
            "training": config.training.model_copy(update={"batch_size": batch_size, "base": NO_BASE}),
        }
    )


def _choose_hidden_sizes(settings: ResolvedSettings, match: str) -> dict[str, int]:
    """The width of each kind of cell: the same for all, or such that all have about as many parameters."""
    hidden_size = settings.config.model.hidden_size
    assert hidden_size is not None
    same = dict.fromkeys(CELL_CLASSES, hidden_size)
    if match != "parameters":
        return same
    reference = replace(settings, hidden_sizes=same).architecture(REFERENCE_CELL)
    return {cell: hidden_size_for(reference._replace(cell=cell), reference.num_parameters) for cell in CELL_CLASSES}


def hidden_size_for(arch: Architecture, num_parameters: int) -> int:
    """The H that brings a network nearest to a number of parameters.

    Args:
        arch: the network; its own H is ignored.
        num_parameters: how many it should have.
    """
    low, high = 1, 2
    while arch._replace(hidden_size=high).num_parameters < num_parameters:
        low, high = high, 2 * high
    sizes = range(max(1, low - 1), high + 2)
    return min(sizes, key=lambda size: abs(arch._replace(hidden_size=size).num_parameters - num_parameters))


def _steps_of_slowest_cell(
    request: ComparisonRequest, settings: ResolvedSettings, corpus: TokenizedCorpus, device: torch.device
) -> int:
    """How many steps the slowest of the compared cells makes in the minutes that each of them has."""
    config, stream = settings.config, corpus.streams["training"]
    training = config.training
    assert training.batch_size is not None
    batches = Batches(
        stream, paragraph_ends(corpus.tokenizer, stream), training.batch_size, training.seq_len, training.seed
    )
    if training.precision == "auto":
        training = training.model_copy(update={"precision": automatic.automatic_precision(device)})
    max_threads = torch.get_num_threads()
    seconds = []
    for cell in request.cells:
        if cell == "gru" and device.type == "cpu":
            kernel.enable()
        model = settings.model_config(
            cell,
            dropout=config.model.dropout or planning.PROBED_DROPOUT,
            weight_dropout=config.model.weight_dropout or 0.0,
        )
        seconds.append(
            probe_step_seconds(
                model,
                training,
                batches,
                vocab_size=settings.vocab_size,
                device=device,
                max_threads=max_threads,
            ).typical
        )
        torch.set_num_threads(max_threads)
    budget = max(1.0, 60 * training.minutes - CLOSING_SECONDS)
    return max(1, min(int(budget / (max(seconds) * planning.EVALUATION_OVERHEAD)), automatic.max_useful_steps(batches)))


def _with_steps(config: Config, steps: int, corpus: TokenizedCorpus) -> Config:
    """The number of steps, and the dropout that suits as many epochs."""
    stream, num_bytes = corpus.streams["training"], corpus.headers["training"].num_bytes
    model, training = config.model, config.training
    assert model.hidden_size is not None
    assert training.batch_size is not None
    epochs = steps * training.batch_size * training.seq_len / len(stream)
    wide = automatic.is_wide(model.hidden_size, num_bytes)
    dropout, weight_dropout = planning.choose_dropout(model, epochs=epochs, wide=wide)
    return config.model_copy(
        update={
            "model": model.model_copy(update={"dropout": dropout, "weight_dropout": weight_dropout}),
            "training": training.model_copy(update={"steps": steps}),
        }
    )
