"""How soon a key is answered in ``complete -i``: python benchmarks/keystrokes.py MODEL TEXT [--keys N] [--before N].

Puts the first N bytes of the text into the editor and types what follows, key by key, as from a keyboard. Prints the
milliseconds from a key until it stands on the screen, and until what the model offers for it does; the same for
backspaces, and for Down, which asks for other words. The screen is a terminal's output into memory.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import asyncio
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from common import parse_arguments
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output

from gru_complete.cli.interactive import Editor, undisturbed
from gru_complete.model.home import find_model
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.session import TypingSession

BACKSPACE, DOWN, ENTER = "\x7f", "\x1b[B", "\r"


class Seen(NamedTuple):
    """What the latest drawing showed: a flag that is set after it does not count as seen."""

    text: str
    has_offer: bool
    has_list: bool


async def measure(editor: Editor, keys: PipeInput, text: str) -> dict[str, list[float]]:
    """Type, choose and delete; returns the milliseconds of each."""
    found: dict[str, list[float]] = {}
    rendered = asyncio.Event()
    seen = Seen("", False, False)

    def look(_: object) -> None:
        nonlocal seen
        has_list = editor._is_list_open and editor._candidates is not None
        seen = Seen(editor.text, editor._is_fresh, has_list)
        rendered.set()

    async def until(is_seen: Callable[[], bool]) -> None:
        while not is_seen():
            rendered.clear()
            await rendered.wait()

    async def press(name: str, key: str, expected: str) -> None:
        started = time.perf_counter()
        keys.send_text(key)
        if name != "down":
            await until(lambda: seen.text == expected)
            found.setdefault(f"{name}: shown", []).append(1000 * (time.perf_counter() - started))
        await until(lambda: seen.text == expected and (seen.has_list if name == "down" else seen.has_offer))
        found.setdefault(f"{name}: answered", []).append(1000 * (time.perf_counter() - started))

    editor._application.after_render += look
    typed = editor.text
    running = asyncio.create_task(editor.run())
    await until(lambda: seen.has_offer)
    for index, character in enumerate(text):
        typed += character
        await press("key", character if character != "\n" else "\x1b\r", typed)
        if index % 10 == 0:
            await press("down", DOWN, typed)
    for _ in text:
        typed = typed[:-1]
        await press("backspace", BACKSPACE, typed)
    keys.send_text(ENTER)
    await running
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument(
        "--before", type=int, default=0, help="bytes of the text that stand in the editor to begin with"
    )
    arguments = parse_arguments(parser, smoke="{dir}/model {dir}/text.txt --keys 10 --before 50")
    text = arguments.text.read_bytes()[: arguments.before + arguments.keys].decode(errors="ignore")
    before = text[: len(text) - arguments.keys]
    completer = Completer.load(find_model(arguments.model))
    screen = Vt100_Output(io.StringIO(), lambda: Size(24, 80), term="xterm-256color", enable_cpr=False)
    with create_pipe_input() as keys, undisturbed():
        session = TypingSession(completer, CompletionOptions())
        editor = Editor(session, before, keyboard=keys, screen=screen, has_color=True)
        found = asyncio.run(measure(editor, keys, text[len(before) :]))
    for name, values in found.items():
        values.sort()
        p50, p99 = values[len(values) // 2], values[int(0.99 * (len(values) - 1))]
        print(f"{name:20} {len(values):5} times, ms: p50 {p50:5.1f}  p99 {p99:5.1f}  most {values[-1]:5.1f}")


if __name__ == "__main__":
    main()
