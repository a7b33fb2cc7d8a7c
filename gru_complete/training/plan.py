"""The plan of a run: all settings and the number of steps, written to disk before step 1 (``plan.json``).

From then on everything is a function of the step. ``planning.py`` makes plans.
"""

import dataclasses
import json
import platform
from dataclasses import dataclass
from typing import Any

import torch

from gru_complete.config import Config, ModelConfig
from gru_complete.errors import ModelError
from gru_complete.model.architecture import Architecture
from gru_complete.model.run_dir import RunDir
from gru_complete.nn import kernel
from gru_complete.storage import untrusted

MAX_PLAN_BYTES = 1_000_000


@dataclass(frozen=True)
class Plan:
    """Everything that determines a run: two runs of one plan on one machine end with the same bits.

    The names of the fields are those of ``plan.json``.

    Args:
        requested: the settings as the user gave them, by which a run is recognised when it is resumed.
        config: the same with every automatic value filled in.
        max_steps: optimizer updates; the loop may change it once and records that in the checkpoint.
        evaluate_every: steps between evaluations on the tuning split (the validation split).
        budget_seconds: what all steps and evaluations together may take; None if the user gave the number of steps.
        corpus_sha256: identifies the text.
        environment: torch version, threads, device and processor; bits are promised only where these are equal.
    """

    requested: Config
    config: Config
    max_steps: int
    evaluate_every: int
    budget_seconds: float | None
    corpus_sha256: str
    environment: dict[str, str]

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
            return cls(**raw | {key: Config.model_validate(raw[key]) for key in ("requested", "config")})
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the run's plan.json cannot be used ({type(error).__name__})") from None


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
