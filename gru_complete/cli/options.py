"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

MODEL_HELP = "Name or directory; default: $GRU_COMPLETE_MODEL, else the one trained last."

ModelOption = Annotated[str | None, typer.Option("--model", "-m", metavar="MODEL", help=MODEL_HELP)]
RedactOption = Annotated[
    bool, typer.Option("--redact", help="Learn [email], [password] and so on in place of what looks secret.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Settings in YAML, see configs/.", metavar="FILE")
]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", help="One setting; beats the file.", metavar="SECTION.KEY=VALUE")
]
SeedOption = Annotated[str | None, typer.Option("--seed", help="Start of every random choice.", metavar="N")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.", metavar="DEVICE")]
