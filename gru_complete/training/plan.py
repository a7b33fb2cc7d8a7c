"""The plan of a run: all settings and the number of steps, written to disk before step 1 (``plan.json``).

From then on everything is a function of the step. ``planning.py`` makes plans.
"""

import dataclasses
import json
import platform
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import ConfigDict, Field, TypeAdapter

from gru_complete.config import Config, ModelConfig
from gru_complete.errors import ModelError
from gru_complete.model.architecture import Architecture
from gru_complete.model.run_dir import RunDir
from gru_complete.nn import kernel
from gru_complete.storage import untrusted

MAX_PLAN_BYTES = 1_000_000
_MAX_STEPS = 10**12
_PLANNED = (
    ("tokenizer", "vocab_size"),
    ("model", "embedding_size"),
    ("model", "hidden_size"),
    ("model", "dropout"),
    ("model", "weight_dropout"),
    ("training", "base"),
    ("training", "quantized"),
    ("training", "learning_rate"),
    ("training", "batch_size"),
    ("training", "threads"),
    ("training", "precision"),
    ("training", "device"),
)
"""The automatic settings, all of which a plan has filled in."""
_FIXED_BY_BASE = (
    ("model", "cell"),
    ("model", "embedding_size"),
    ("model", "hidden_size"),
    ("model", "num_layers"),
    ("ngrams", "order"),
)
"""The settings that a plan takes over from a base."""


@dataclass(frozen=True)
class Plan:
    """Everything that determines a run: two runs of one plan on one machine end with the same bits.

    The names of the fields are those of ``plan.json``.

    Args:
        requested: the settings as the user gave them, by which a run is recognised when it is resumed.
        config: the same with every automatic value filled in.
        max_steps: optimizer updates; if minutes were given, about as many, since the clock decides.
        evaluate_every: steps between evaluations on the tuning split (the validation split).
        budget_seconds: what all steps and evaluations together may take; None if the user gave the number of steps.
        corpus_sha256: identifies the text.
        environment: torch version, threads, device and processor; bits are promised only where these are equal.
        step_seconds: what a step took when the plan was made; 0 where no minutes count, and in plans of older versions.
        quiet_step_seconds: what it takes if nothing else runs, as far as is known; likewise.
        base_sha256: identifies the model that the training starts from; None if it starts from nothing.
        base_bits: what samples of the text cost under the built-in base, in bits per byte; None if it was not tried.
        counts_bits: what they cost under the n-gram counts of the text, likewise.
        closing_seconds: what follows the last step takes if nothing else runs, as far as is known; likewise.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")

    requested: Config
    config: Config
    max_steps: Annotated[int, Field(ge=1, le=_MAX_STEPS)]
    evaluate_every: Annotated[int, Field(ge=1, le=_MAX_STEPS)]
    budget_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    corpus_sha256: str
    environment: dict[str, str]
    step_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    quiet_step_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    closing_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    base_sha256: str | None = None
    base_bits: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    counts_bits: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @property
    def run_id(self) -> str:
        """A short name of this run, by which its model is recognised."""
        return untrusted.sha256_hex(self.to_json())[:16]

    def to_json(self) -> bytes:
        """The plan as the run directory keeps it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {key: fields[key].model_dump(mode="json") for key in ("requested", "config")}
        return json.dumps(fields, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "Plan":
        """Read what ``to_json`` wrote.

        Raises:
            ModelError: it is something else.
        """
        try:
            plan = TypeAdapter(cls).validate_json(json.dumps(raw))  # only of JSON does a strict dataclass take objects
            _check_filled_in(plan)
        except ValueError as error:
            raise ModelError(f"the run's plan.json cannot be used ({type(error).__name__})") from None
        return plan


def _check_filled_in(plan: Plan) -> None:
    """Refuse a config that is not the requested one with its automatic values filled in.

    Raises:
        ValueError: another setting differs, or an automatic one is still open.
    """
    requested, config = plan.requested.model_dump(), plan.config.model_dump()
    for section, settings in config.items():
        for key, value in settings.items():
            wanted = requested[section][key]
            is_automatic = (section, key) in _PLANNED
            is_filled_in = is_automatic and (wanted in (None, "auto") or key == "threads")
            is_filled_in |= plan.base_sha256 is not None and (section, key) in _FIXED_BY_BASE
            if (value != wanted and not is_filled_in) or (is_automatic and value in (None, "auto")):
                raise ValueError


def check_fits(plan: Plan, *, vocab_size: int, num_tokens: int) -> None:
    """Refuse a plan that cannot be that of a text.

    Args:
        plan: the plan of a run.
        vocab_size: V, of the text's tokenizer.
        num_tokens: of the text's training split.

    Raises:
        ModelError: the network would be larger than models may be, or the batch larger than the text.
    """
    Architecture.from_json(architecture_from_config(plan.config.model, vocab_size)._asdict())
    batch_size = plan.config.training.batch_size
    if batch_size is None or num_tokens < 2 * batch_size:
        raise ModelError(f"the run's plan.json cannot be used: {num_tokens} tokens and batches of {batch_size}")


def read_plan(run_dir: RunDir) -> Plan:
    """The plan of a run, finished or not.

    Raises:
        ModelError: it is missing or damaged.
    """
    data = untrusted.read_regular_file(run_dir.plan_path, max_bytes=MAX_PLAN_BYTES)
    return Plan.from_json(untrusted.strict_json(data, name=run_dir.plan_path.name))


def architecture_from_config(model: ModelConfig, vocab_size: int) -> Architecture:
    """The architecture that a config with all sizes filled in describes."""
    assert model.embedding_size is not None
    assert model.hidden_size is not None
    return Architecture(model.cell, vocab_size, model.embedding_size, model.hidden_size, model.num_layers)


def describe_environment(device: torch.device) -> dict[str, str]:
    """What the bits of a training depend on besides its plan."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "torch": torch.__version__,
        "device": f"{device.type} {name}",
        "threads": str(torch.get_num_threads()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "loops": kernel.description(),
    }
