"""What is in the run directory ``NAME.run``."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def run_dir_of(model_path: Path) -> Path:
    """The run directory beside a model: plan, token shards, checkpoints."""
    return model_path.with_name(f"{model_path.name}.run")
