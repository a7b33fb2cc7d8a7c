"""Whether a training continues the unfinished run in its directory, starts anew, or is refused."""

from collections.abc import Sequence
from pathlib import Path

from gru_complete.config import Config
from gru_complete.errors import ModelError, UsageError, printable
from gru_complete.model.directory import load_model
from gru_complete.model.run_dir import RunDir
from gru_complete.storage import atomic
from gru_complete.training.plan import Plan, read_plan

RESUMABLE_OVERRIDES = ("device", "threads")
"""Settings that may differ when a run is resumed: they say how or where it runs, not what comes out."""


def unfinished_plan(run_dir: RunDir, *, may_be_damaged: bool) -> Plan | None:
    """The plan of a run that can be resumed; None if there is none.

    Args:
        run_dir: the run directory.
        may_be_damaged: whether a damaged plan counts as none, since it will be replaced.

    Raises:
        ModelError: the plan is damaged.
    """
    if not run_dir.is_resumable():
        return None
    try:
        return read_plan(run_dir)
    except ModelError as error:
        if may_be_damaged:
            return None
        raise ModelError(str(error), hint="start anew with --replace") from None


def belongs_to_run(model_path: Path, plan: Plan) -> bool:
    """Whether a model was left by this run, when it was interrupted or killed just before its end."""
    try:
        return load_model(model_path).manifest.run_id == plan.run_id
    except ModelError:
        return False


def differences(plan: Plan, config: Config, corpus_sha256: str, base_sha256: str | None) -> Sequence[str]:
    """What keeps an unfinished run from being resumed: the settings, the corpus and the base that differ.

    Args:
        plan: that of the unfinished run.
        config: the settings that are asked for now.
        corpus_sha256: identifies the text as it is now.
        base_sha256: identifies the model to start from, likewise.
    """
    settings = _setting_differences(plan.requested, config)
    if plan.base_sha256 != base_sha256 and plan.requested.training.base == config.training.base:
        settings.append(f"the model '{printable(config.training.base)}' to start from")
    # With another setting of redact the text differs too; then the setting alone is named.
    if plan.corpus_sha256 != corpus_sha256 and plan.requested.data.redact == config.data.redact:
        return ["the corpus", *settings]
    return settings


def other_run_error(model_path: Path, differing: Sequence[str]) -> UsageError:
    """The error for an unfinished run that has other settings, which only ``--replace`` throws away."""
    message = f"an unfinished run of {printable(model_path)} has other settings: {', '.join(differing)}"
    hint = "resume it with the same corpus and settings, start anew with --replace, or use -m"
    return UsageError(message, hint=hint)


def _setting_differences(old: Config, new: Config) -> list[str]:
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    return [
        f"{section}.{key} ({before[section][key]} -> {value})"
        for section, values in after.items()
        for key, value in values.items()
        if before[section][key] != value and key not in RESUMABLE_OVERRIDES
    ]


def clear(run_dir: RunDir) -> None:
    """Remove what another run has left, the plan first, so that a kill in between leaves nothing to resume."""
    for path in (run_dir.plan_path, run_dir.finished_path, run_dir.metrics_path, run_dir.part_path("held_out")):
        atomic.remove_file(path)
    if run_dir.checkpoints_dir.exists():
        atomic.remove_directory(run_dir.checkpoints_dir)
