"""`prime`: a text is read once, and kept as a small file that `complete --state-in` goes on from."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gru_complete.cli.loading import load_completer, use_one_thread
from gru_complete.cli.options import ModelOption
from gru_complete.cli.prompts import STDIN, file_blocks, reading_progress, stdin_blocks
from gru_complete.errors import UsageError

if TYPE_CHECKING:
    from gru_complete.cli.console import Console


def prime(
    context: typer.Context,
    text: Annotated[
        list[str],
        typer.Argument(help="Text: files, directories, or '-' for standard input; read as one.", metavar="FILE..."),
    ],
    state_out: Annotated[Path, typer.Option(help="The file to keep it in.", metavar="STATE")],
    model: ModelOption = None,
    state_in: Annotated[
        Path | None, typer.Option(help="Go on from a text that was read before.", metavar="STATE")
    ] = None,
    adapt: Annotated[
        bool | None,
        typer.Option("--adapt/--no-adapt", help="Let completions learn from the text; default: if the model gains."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Read text once, so that `complete --state-in` can go on from it at once.

    The state is small, however long the text. It fits the model that has read it, and no other. Where completions learn
    from the text, its last 100,000 tokens are in the file.
    """
    use_one_thread()
    from gru_complete.cli.states import load_state, refuse_to_overwrite, save_state
    from gru_complete.model.home import find_model

    console: Console = context.obj
    refuse_to_overwrite(state_out)
    if text.count(STDIN) > 1:
        raise UsageError("standard input ('-') can only be read once")
    completer = load_completer(find_model(model), adapt)
    before = None if state_in is None else load_state(state_in, completer, adapt)
    with reading_progress(console) as progress:
        read = completer.read(_blocks(text), before, progress)
    save_state(state_out, read, completer, None if quiet else console)


def _blocks(sources: list[str]) -> Iterator[bytes]:
    """The text of all sources, one after the other as ``cat`` would join them."""
    from gru_complete.config import DataConfig
    from gru_complete.text.corpus import document_names

    for name in document_names(sources, DataConfig().extensions):
        yield from stdin_blocks() if name == STDIN else file_blocks(Path(name))
