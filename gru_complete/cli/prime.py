"""`prime`: reads text once and saves the state, from which `complete --state-in` continues."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gru_complete.cli.checks import check_stdin_once
from gru_complete.cli.help import LONG_TEXTS
from gru_complete.cli.loading import choose_model, load_completer, use_one_thread
from gru_complete.cli.options import (
    LearnFromPromptOption,
    ModelOption,
    OldLearnFromPromptOption,
    QuietOption,
    StateInOption,
)
from gru_complete.cli.prompts import STDIN, file_source, reading_progress, stdin_source

if TYPE_CHECKING:
    from gru_complete.cli.console import Console
    from gru_complete.text.prompts import PromptSource

EXAMPLES = {
    LONG_TEXTS: [
        "gru-complete prime novel.txt --state-out novel.state",
        'gru-complete complete "She" --state-in novel.state',
    ]
}


def prime(
    context: typer.Context,
    text: Annotated[
        list[str],
        typer.Argument(
            help="Text to read: files, directories, or '-' for standard input, joined as by cat.", metavar="FILE..."
        ),
    ],
    state_out: Annotated[
        Path, typer.Option(help="File to save the state in.", metavar="STATE", rich_help_panel=LONG_TEXTS)
    ],
    model: ModelOption = None,
    state_in: StateInOption = None,
    learn_from_prompt: LearnFromPromptOption = None,
    quiet: QuietOption = False,
    adapt: OldLearnFromPromptOption = None,
) -> None:
    """Read text once and save the state, for `complete --state-in` to continue.

    The state file is small, however long the text, and fits only the model that read the text. If completions learn
    from the text, the file contains its last 100,000 tokens.
    """
    use_one_thread()
    from gru_complete.cli.answers import read_text
    from gru_complete.cli.states import load_state, refuse_to_overwrite, save_state

    console: Console = context.obj
    refuse_to_overwrite(state_out)
    check_stdin_once(text)
    learns = adapt if learn_from_prompt is None else learn_from_prompt
    completer = load_completer(choose_model(console, model), learns=learns)
    before = None if state_in is None else load_state(state_in, completer, learns)
    with reading_progress(console) as progress:
        prompt_state = read_text(completer, _sources(text), before, progress)
    save_state(state_out, prompt_state, completer, None if quiet else console)


def _sources(names: list[str]) -> "Iterator[PromptSource]":
    """All sources, one after the other, as ``cat`` would join them."""
    from gru_complete.config import DataConfig
    from gru_complete.text.corpus import document_names

    for name in document_names(names, DataConfig().extensions):
        yield stdin_source() if name == STDIN else file_source(Path(name))
