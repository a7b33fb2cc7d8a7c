"""Options that several commands share."""

from typing import Annotated

import typer

MODEL_HELP = "Name or directory; default: $GRU_COMPLETE_MODEL, else the one trained last."

ModelOption = Annotated[str | None, typer.Option("--model", "-m", metavar="MODEL", help=MODEL_HELP)]
RedactOption = Annotated[
    bool, typer.Option("--redact", help="Learn [email], [password] and so on in place of what looks secret.")
]
