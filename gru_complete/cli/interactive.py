"""`complete -i`: an editor that shows the suggested continuation in grey behind the text.

Tab accepts the suggestion, Ctrl-Right accepts a word of it. Up and Down choose among other likely next words, with
their probabilities. Alt-Enter inserts a newline, Enter prints the text on stdout, Ctrl-C cancels and prints nothing.
The editor is drawn on the terminal, never on stdout, and erased at the end: ``x=$(gru-complete complete -i)`` works.

The model runs in a thread of its own: a key is shown at once, and answers about an older text are dropped. This is the
only module that imports prompt_toolkit, and it is imported only for ``-i``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO, TypeVar

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.data_structures import Point
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import Input, create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    Dimension,
    FormattedTextControl,
    HSplit,
    Layout,
    Window,
)
from prompt_toolkit.layout.processors import (
    AfterInput,
    ConditionalProcessor,
    Processor,
    TabsProcessor,
    Transformation,
    TransformationInput,
)
from prompt_toolkit.output import ColorDepth, Output, create_output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Style

from gru_complete.cli.console import HARMFUL, is_terminal, terminal_text
from gru_complete.errors import UsageError
from gru_complete.runtime.session import Candidate, Stale, TypingSession, first_word

if TYPE_CHECKING:
    from gru_complete.cli.console import Console
    from gru_complete.runtime.completer import Completer
    from gru_complete.runtime.options import CompletionOptions
    from gru_complete.runtime.prompt_state import PromptState

KEYS = "Tab: accept  Enter: done  Ctrl-C: cancel  Ctrl-Right: word  Up/Down: others"  # a narrow window cuts it off
STYLE = Style.from_dict({"suggestion": "#888888", "keys": "#888888", "chosen": "reverse"})
STYLE_WITHOUT_COLOR = Style.from_dict({"suggestion": "dim", "keys": "dim", "chosen": "reverse"})
IDLE_SECONDS = 0.1  # without a key; after that, candidates are searched before anybody asks for them
_SWITCH_SECONDS = 0.0005  # the longest that the thread of the model may keep the drawing thread waiting

Answer = TypeVar("Answer")


class Suggester(Protocol):
    """What the editor needs of a ``TypingSession``."""

    def suggest(self, text: bytes, is_stale: Callable[[], bool]) -> str:
        """The suggested continuation of the text."""

    def candidates(self, text: bytes, is_stale: Callable[[], bool]) -> list[Candidate]:
        """The most likely next words."""


def run(
    completer: Completer,
    text: bytes,
    options: CompletionOptions,
    console: Console,
    *,
    before: PromptState | None = None,
    end: bytes = b"\n",
) -> int:
    """Run the editor until the user leaves it, then print the text.

    Args:
        completer: the model.
        text: the initial text.
        options: where a suggestion ends.
        console: prints the text.
        before: the state of text that comes before; it is continued, but neither shown nor printed.
        end: printed after the text.

    Returns:
        The exit code: 0, or 130 after Ctrl-C (143 and 129 after SIGTERM and SIGHUP).

    Raises:
        UsageError: there is no terminal, or it cannot move its cursor.
    """
    with open_terminal() as (keyboard, screen):
        session = TypingSession(completer, options, before)
        editor = Editor(
            session,
            text.decode("utf-8", "surrogateescape"),
            keyboard=create_input(keyboard),
            screen=_output(screen),
            has_color=console.has_color(screen),
        )
        with undisturbed():
            typed = asyncio.run(editor.run())
    if typed is not None:
        console.write(typed.encode("utf-8", "surrogateescape") + end)
    return editor.exit_code


@contextmanager
def undisturbed() -> Iterator[None]:
    """While keys are answered: switch threads quickly, and keep the garbage collector to new objects."""
    seconds = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.freeze()  # traversing the model's pieces and all modules takes as long as an answer
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(seconds)


@contextmanager
def open_terminal() -> Iterator[tuple[TextIO, TextIO]]:
    """The keyboard and the screen: stdin and stderr, or the terminal of the process if these are redirected.

    Raises:
        UsageError: there is no terminal, or it cannot move its cursor.
    """
    if os.environ.get("TERM") in ("dumb", "unknown"):
        raise UsageError(
            f"-i needs a terminal that can move its cursor, but TERM is {os.environ['TERM']}",
            hint="leave -i out, or set TERM to the type of your terminal, as in TERM=xterm",
        )
    with ExitStack() as stack:
        try:
            keyboard = sys.stdin if is_terminal(sys.stdin) else stack.enter_context(open(_terminal_name()))
            screen = sys.stderr if is_terminal(sys.stderr) else stack.enter_context(open(_terminal_name(), "w"))
        except OSError:
            raise UsageError("-i needs a terminal to type in", hint="leave -i out to print the continuation") from None
        yield keyboard, screen


def _output(screen: TextIO) -> Output:
    """What draws on the screen."""
    output = create_output(screen)
    if isinstance(output, Vt100_Output):
        output.enable_cpr = False  # the cursor's position is not needed, and some terminals do not answer
    return output


def _terminal_name() -> str:
    """The device file of the terminal at which the user sits."""
    if sys.platform == "win32":
        raise OSError("the console has no file")
    for stream in (sys.stdin, sys.stderr, sys.stdout):
        if is_terminal(stream):
            return os.ttyname(stream.fileno())  # by name, since macOS cannot wait for keys at /dev/tty
    return "/dev/tty"


class Editor:
    """The text being typed, and the suggestions for it.

    Args:
        suggester: suggests continuations.
        text: the initial text.
        keyboard: where keys come from.
        screen: where the editor is drawn.
        has_color: whether the screen may show colour.

    Attributes:
        suggestion: what is shown in grey behind the text.
        exit_code: of the command, once the editor was left.
    """

    def __init__(self, suggester: Suggester, text: str, *, keyboard: Input, screen: Output, has_color: bool) -> None:
        self.exit_code = 0
        self._is_left = False
        self._suggester = suggester
        self._seen = text  # the text to which the fields below belong
        self._greedy = ""
        self._is_fresh = (
            False  # whether the model has answered for `_seen`; if not, the rest of an older answer is shown
        )
        self._is_idle = False  # whether no key has been pressed for a while
        self._is_list_open = False
        self._candidates: list[Candidate] | None = None  # searched when idle, or when the list is opened
        self._choice = 0  # Down presses less Up presses: the greedy continuation, then the candidates, cyclically
        self._has_question = asyncio.Event()  # set when the model has something to answer
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._buffer = Buffer(document=Document(text))
        self._buffer.on_text_changed += lambda _: self._follow_text()
        self._application: Application[str | None] = Application(
            layout=self._layout(),
            key_bindings=self._key_bindings(),
            style=STYLE if has_color else STYLE_WITHOUT_COLOR,
            include_default_pygments_style=False,
            color_depth=None if has_color else ColorDepth.DEPTH_1_BIT,
            erase_when_done=True,
            input=keyboard,
            output=screen,
        )
        # Only after a key is shown: the model would take the interpreter from the drawing.
        self._application.after_render += lambda _: self._has_question.set()
        self._application.ttimeoutlen = 0.05  # seconds after which an Escape is no longer the beginning of an arrow key
        self._application.timeoutlen = 0.1  # and no longer that of Alt-Enter

    @property
    def text(self) -> str:
        """The text typed so far."""
        return self._buffer.text

    @property
    def suggestion(self) -> str:
        """What is shown in grey behind the text: the greedy continuation, or the rest of the chosen candidate."""
        if not self._buffer.document.is_cursor_at_the_end:
            return ""
        return self._continuation()

    async def run(self) -> str | None:
        """Let the user type; returns the text, or None if the editor was cancelled.

        Raises:
            GruCompleteError: the model could not answer.
        """
        try:
            return await self._application.run_async(pre_run=self._start)
        finally:
            self._is_left = True
            self._thread.shutdown()

    # ---------------------------------------------------------------------------------------- answers

    def _start(self) -> None:
        """Start the questions to the model, and end the editor on signals."""
        self._application.create_background_task(self._answer_questions())
        if sys.platform != "win32":
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self._leave, 128 + number)

    async def _answer_questions(self) -> None:
        """Ask the model about the latest text whenever there is something to ask."""
        try:
            while True:
                await self._has_question.wait()
                self._has_question.clear()
                if self._buffer.document.is_cursor_at_the_end:
                    await self._update_suggestions(self._seen)
        except Exception as error:  # prompt_toolkit would print it and wait for Enter
            if not self._application.is_done:
                self._application.exit(exception=error)

    async def _update_suggestions(self, text: str) -> None:
        """Get the greedy continuation, then the candidates if they are wanted; stop as soon as the text has changed."""
        if not self._is_fresh:
            greedy = await self._ask(self._suggester.suggest, text)
            if greedy is None:
                return
            self._greedy, self._is_fresh = greedy, True
            self._application.invalidate()
            asyncio.get_running_loop().call_later(IDLE_SECONDS, self._become_idle, text)
        if self._candidates is None and (self._is_list_open or self._is_idle):
            candidates = await self._ask(self._suggester.candidates, text)
            if candidates is not None:
                self._candidates = candidates
                self._application.invalidate()

    def _become_idle(self, text: str) -> None:
        """Ask for candidates, unless the text has changed."""
        if self._seen is text:
            self._is_idle = True
            self._has_question.set()

    async def _ask(self, question: Callable[[bytes, Callable[[], bool]], Answer], text: str) -> Answer | None:
        """Ask in the model's thread; None if the text has changed meanwhile."""

        def is_stale() -> bool:
            return self._seen is not text or self._is_left

        def answer() -> Answer | None:
            try:
                return question(text.encode("utf-8", "surrogateescape"), is_stale)
            except Stale:
                return None

        result = await asyncio.get_running_loop().run_in_executor(self._thread, answer)
        return None if is_stale() else result

    def _continuation(self) -> str:
        """The rest of the chosen candidate, else the greedy continuation, wherever the cursor is."""
        if self._is_list_open and self._candidates and self._chosen >= 0:
            return self._candidates[self._chosen].rest
        return self._greedy

    @property
    def _chosen(self) -> int:
        """The index of the chosen candidate; -1 is the greedy continuation."""
        return self._choice % (len(self._candidates or ()) + 1) - 1

    def _follow_text(self) -> None:
        """After a key: keep the rest of the suggestion if the key agrees with it, and ask the model again."""
        expected = self._seen + self._continuation()
        text = self._buffer.text
        agrees = text.startswith(self._seen) and expected.startswith(text)
        self._greedy = expected[len(text) :] if agrees else ""
        self._seen, self._is_fresh, self._is_idle = text, False, False
        self._close_list()

    def _close_list(self) -> None:
        self._is_list_open, self._candidates, self._choice = False, None, 0

    # ---------------------------------------------------------------------------------------- keys

    def _key_bindings(self) -> KeyBindings:
        """What each key does; all other keys do what prompt_toolkit's buffer does with them."""
        bindings = KeyBindings()
        add = bindings.add
        has_suggestion = Condition(lambda: bool(self.suggestion))
        is_at_end = Condition(lambda: self._buffer.document.is_cursor_at_the_end)
        is_empty = Condition(lambda: not self._buffer.text)

        @add("tab")
        @add("right", filter=has_suggestion)
        def _take(event: KeyPressEvent) -> None:
            self._buffer.insert_text(self.suggestion)

        @add("c-right", filter=has_suggestion)
        @add("escape", "f", filter=has_suggestion)
        def _take_word(event: KeyPressEvent) -> None:
            self._buffer.insert_text(first_word(self.suggestion))

        @add("down", filter=is_at_end)
        def _next(event: KeyPressEvent) -> None:
            self._choose(1)

        @add("up", filter=is_at_end)
        def _previous(event: KeyPressEvent) -> None:
            self._choose(-1)

        @add("escape", filter=Condition(lambda: self._is_list_open))
        def _close(event: KeyPressEvent) -> None:
            self._close_list()

        @add("escape", "enter")
        @add("c-j")
        def _break_line(event: KeyPressEvent) -> None:
            self._buffer.insert_text("\n")

        @add("enter")
        def _finish(event: KeyPressEvent) -> None:
            event.app.exit(result=self._buffer.text)

        @add("c-c")
        @add("<sigint>")
        @add("c-d", filter=is_empty)
        def _leave(event: KeyPressEvent) -> None:
            self._leave(128 + signal.SIGINT)

        @add("c-z")
        def _stay(event: KeyPressEvent) -> None:
            """Do nothing: if the process were stopped inside $(...), the shell would wait for ever."""

        return bindings

    def _choose(self, direction: int) -> None:
        self._is_list_open = True
        self._choice += direction

    def _leave(self, exit_code: int) -> None:
        if not self._application.is_done:
            self.exit_code = exit_code
            self._application.exit(result=None)

    # ---------------------------------------------------------------------------------------- drawing

    def _layout(self) -> Layout:
        """The text with its suggestion, the list of candidates if it is open, and the line of keys."""
        has_tabs = Condition(lambda: "\t" in self._buffer.text)
        processors = [
            _EscapeControls(),
            ConditionalProcessor(TabsProcessor(tabstop=8, char1=" ", char2=" "), has_tabs),
            AfterInput(lambda: [("class:suggestion", _on_one_line(self.suggestion))]),
        ]
        text = Window(BufferControl(self._buffer, processors), wrap_lines=True, dont_extend_height=True)
        control = FormattedTextControl(self._list_lines, show_cursor=False, get_cursor_position=self._cursor_in_list)
        candidates = Window(control, dont_extend_height=True)
        keys = Window(FormattedTextControl([("class:keys", KEYS)]), height=Dimension(min=0, max=1))
        is_list_shown = Condition(lambda: self._is_list_open and self._candidates is not None)
        return Layout(HSplit([text, ConditionalContainer(candidates, is_list_shown), keys]))

    def _cursor_in_list(self) -> Point:
        """The line that the window must show if the list does not fit."""
        return Point(0, max(0, self._chosen))

    def _list_lines(self) -> StyleAndTextTuples:
        """The candidates with their probabilities, one per line."""
        candidates = self._candidates or []
        if not candidates:
            return [("class:keys", "no suggestions")]
        chosen = self._chosen
        lines: StyleAndTextTuples = []
        for index, candidate in enumerate(candidates):
            line = f" {candidate.probability:7.1%}  {_on_one_line(candidate.word)} "
            lines += [("class:chosen" if index == chosen else "", line), ("", "\n")]
        return lines[:-1]


class _EscapeControls(Processor):
    """Shows what could steer a terminal, such as marks that reverse the text direction, as replacement characters."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """Replace each by one character, so that the cursor stays in place."""
        return Transformation([(style, _without_controls(text)) for style, text, *_ in transformation_input.fragments])


def _without_controls(text: str) -> str:
    """Replace what the terminal must not see; prompt_toolkit itself shows C0 and C1 as ``^[`` and ``<9b>``."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if char > "\xa0" and (char in HARMFUL or _is_byte(char)) else char for char in text)


def _is_byte(character: str) -> bool:
    """Whether a character stands for a byte that is not UTF-8."""
    return "\ud800" <= character <= "\udfff"


def _on_one_line(text: str) -> str:
    """Model text as it is shown: newlines as a sign for them, and nothing that could steer the terminal."""
    return terminal_text(text.replace("\n", "↵").replace("\t", " "))
