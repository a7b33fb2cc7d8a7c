"""State files: texts that were read, saved to be continued later."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gru_complete.errors import UsageError, printable

if TYPE_CHECKING:
    from gru_complete.cli.console import Console
    from gru_complete.runtime.completer import Completer
    from gru_complete.runtime.prompt_state import PromptState


def load_state(path: Path, completer: "Completer", adapt: bool | None) -> "PromptState":
    """Load a text that was read before. The file decides whether completions learn from it.

    Args:
        path: the file.
        completer: the model that has read it.
        adapt: True if it has to be one that was learnt from, False to forget what was learnt.

    Raises:
        ModelError: the file is missing, damaged, or another model's.
        UsageError: the text was not learnt from.
    """
    from gru_complete.runtime.state import load_prompt_state

    prompt_state = load_prompt_state(path, completer, forgets=adapt is False)
    if adapt and prompt_state.overlay is None:
        hint = "save the state again with --learn-from-prompt"
        raise UsageError(
            f"--learn-from-prompt: the text of {printable(path)} was read without learning from it", hint=hint
        )
    return prompt_state


def refuse_to_overwrite(path: Path) -> None:
    """Check, before any work, that saving a state would not overwrite a file of another kind, or make one elsewhere.

    Raises:
        UsageError: the file exists and is not a state file, or it is a link to a file that does not exist.
    """
    from gru_complete.runtime.state import is_state

    if os.path.islink(path) and not os.path.exists(path):
        raise UsageError(f"{printable(path)} is a link to a missing file", hint="name another file, or delete the link")
    if os.path.exists(path) and not is_state(path):
        raise UsageError(f"{printable(path)} exists and is not a state file", hint="name another file")


def save_state(path: Path, prompt_state: "PromptState", completer: "Completer", console: "Console | None") -> None:
    """Save a text that was read; say how large the file is and how much of the text it contains.

    Args:
        path: the file.
        prompt_state: the text.
        completer: the model that has read it.
        console: where to say it; None says nothing.

    Raises:
        EnvironmentFailure: the file cannot be written.
    """
    from gru_complete.ngrams.overlay import MAX_TOKENS
    from gru_complete.runtime.state import save_prompt_state

    num_bytes = save_prompt_state(path, prompt_state, completer)
    note = f"state: {printable(path)}, {num_bytes:,} bytes"
    if prompt_state.overlay is not None:
        note += (
            f", with {len(prompt_state.overlay):,} tokens of the text to learn from (the last {MAX_TOKENS:,} at most)"
        )
    if console is not None:
        console.note(note)
