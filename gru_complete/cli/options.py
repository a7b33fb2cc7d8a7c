"""Options that several commands share, each with one help text."""

from pathlib import Path
from typing import Annotated

import typer

from gru_complete.cli.help import LONG_TEXTS, OUTPUT, SETTINGS

MODEL_HELP = "Name or directory of the model; default: $GRU_COMPLETE_MODEL, else the model trained last."

ModelOption = Annotated[str | None, typer.Option("--model", "-m", metavar="MODEL", help=MODEL_HELP)]
RedactOption = Annotated[
    bool, typer.Option("--redact", help="Learn [email], [password] and so on in place of what looks secret.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Settings in YAML; configs/default.yaml lists them.",
        metavar="FILE",
        rich_help_panel=SETTINGS,
    ),
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Override one setting of the file; repeatable.",
        metavar="SECTION.KEY=VALUE",
        rich_help_panel=SETTINGS,
    ),
]
SeedOption = Annotated[
    str | None, typer.Option("--seed", help="Seed of all random numbers.", metavar="N", rich_help_panel=SETTINGS)
]
DEVICES_HELP = "auto, cpu or cuda."
DeviceOption = Annotated[
    str | None, typer.Option("--device", help=DEVICES_HELP, metavar="DEVICE", rich_help_panel=SETTINGS)
]
PairsOption = Annotated[
    Path | None, typer.Option("--pairs", help="Minimal pairs to score: one JSON object per line.", metavar="FILE")
]
StateInOption = Annotated[
    Path | None,
    typer.Option(
        "--state-in",
        help="Continue a text that was read before, kept by --state-out.",
        metavar="STATE",
        rich_help_panel=LONG_TEXTS,
    ),
]
LearnFromPromptOption = Annotated[
    bool | None,
    typer.Option(
        "--learn-from-prompt/--no-learn-from-prompt",
        help="Learn phrases from the text so far; default: if the model predicts better with it.",
        rich_help_panel=LONG_TEXTS,
    ),
]
OldLearnFromPromptOption = Annotated[bool | None, typer.Option("--adapt/--no-adapt", hidden=True)]
"""The old spelling of ``LearnFromPromptOption``, which keeps working."""
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.", rich_help_panel=OUTPUT)]


def training_settings(
    *, minutes: str | None, steps: str | None, seed: str | None, device: str | None
) -> dict[str, str | None]:
    """The settings behind options of ``train`` and ``compare``, as ``load_config`` takes them.

    A time limit on the command line beats a number of steps in the config file.
    """
    return {
        "training.minutes": minutes,
        "training.steps": steps if minutes is None else "null",
        "training.seed": seed,
        "training.device": device,
    }
