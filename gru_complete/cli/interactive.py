"""`complete -i`: a text is typed, and its continuation stands greyed behind it until it is taken.

Tab takes all of it, Ctrl-Right a word. Up and Down walk through other words that may come next, with their
probabilities. Alt-Enter begins a new line, Enter prints the text on stdout, Ctrl-C leaves and prints nothing. All this
is drawn on the terminal and wiped at the end, never on stdout, so that ``x=$(gru-complete complete -i)`` works.

The model thinks in a thread of its own: a key is shown at once, and what was thought about an older text is dropped.
This is the only module that imports prompt_toolkit, and it is imported for ``-i`` only.
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

from gru_complete.cli.console import JOINERS, is_terminal, terminal_text
from gru_complete.errors import UsageError
from gru_complete.runtime.session import Candidate, Stale, TypingSession, first_word

if TYPE_CHECKING:
    from gru_complete.cli.console import Console
    from gru_complete.runtime.completer import Completer, PromptState
    from gru_complete.runtime.options import CompletionOptions

KEYS = "Tab: take  Enter: done  Ctrl-C: leave  Ctrl-Right: word  Up/Down: others"  # a narrow window shows the first
STYLE = Style.from_dict({"offer": "#888888", "keys": "#888888", "chosen": "reverse"})
STYLE_WITHOUT_COLOR = Style.from_dict({"offer": "dim", "keys": "dim", "chosen": "reverse"})
IDLE_SECONDS = 0.1  # without a key, then the candidates are looked for before they are asked for
_SWITCH_SECONDS = 0.0005  # that the thread which thinks may keep the one that draws waiting

Answer = TypeVar("Answer")


class Suggester(Protocol):
    """What the editor asks: a ``TypingSession``."""

    def suggest(self, text: bytes, is_stale: Callable[[], bool]) -> str:
        """What may follow the text."""

    def candidates(self, text: bytes, is_stale: Callable[[], bool]) -> list[Candidate]:
        """Words that may come next."""


def run(
    completer: Completer,
    text: bytes,
    options: CompletionOptions,
    console: Console,
    *,
    before: PromptState | None = None,
    end: bytes = b"\n",
) -> int:
    """Let a person type and complete a text, then print it.

    Args:
        completer: the model.
        text: what stands there to begin with.
        options: where an offer ends.
        console: prints the text.
        before: what was read before it; it is continued, but neither shown nor printed.
        end: printed after the text.

    Returns:
        The exit code: 0, or 130 when the person left with Ctrl-C (and 143, 129 after other signals).

    Raises:
        UsageError: there is no terminal, or one that cannot move its cursor.
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
    """While keys are answered: let the drawing have the interpreter soon, and look for rubbish in what is new only."""
    seconds = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.freeze()  # to look through the model's pieces and all modules takes as long as an answer
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(seconds)


@contextmanager
def open_terminal() -> Iterator[tuple[TextIO, TextIO]]:
    """The keyboard and the screen: stdin and stderr, or where these are redirected, the terminal behind them.

    Raises:
        UsageError: there is none, or it cannot move its cursor.
    """
    if os.environ.get("TERM") in ("dumb", "unknown"):
        raise UsageError(
            f"-i needs a terminal that can move its cursor, and TERM is {os.environ['TERM']}",
            hint="leave -i out, or set TERM to what the terminal is, as in TERM=xterm",
        )
    with ExitStack() as stack:
        try:
            keyboard = sys.stdin if is_terminal(sys.stdin) else stack.enter_context(open(_terminal_name()))
            screen = sys.stderr if is_terminal(sys.stderr) else stack.enter_context(open(_terminal_name(), "w"))
        except OSError:
            raise UsageError(
                "-i needs a terminal to type in", hint="leave -i out: the continuation is then printed"
            ) from None
        yield keyboard, screen


def _output(screen: TextIO) -> Output:
    output = create_output(screen)
    if isinstance(output, Vt100_Output):
        output.enable_cpr = False  # we need not know where the cursor is, and some terminals do not answer
    return output


def _terminal_name() -> str:
    """The file of the terminal that a person sits at."""
    if sys.platform == "win32":
        raise OSError("the console has no file")
    for stream in (sys.stdin, sys.stderr, sys.stdout):
        if is_terminal(stream):
            return os.ttyname(stream.fileno())  # by name, since macOS cannot wait for keys at /dev/tty
    return "/dev/tty"


class Editor:
    """The text being typed, with what is offered for it.

    Args:
        suggester: answers what may follow.
        text: what stands there to begin with.
        keyboard: where keys come from.
        screen: where the editor is drawn.
        has_color: whether the screen may show colour.

    Attributes:
        offer: what stands greyed behind the text.
        exit_code: as the editor was left, once it was.
    """

    def __init__(self, suggester: Suggester, text: str, *, keyboard: Input, screen: Output, has_color: bool) -> None:
        self.exit_code = 0
        self._is_left = False
        self._suggester = suggester
        self._seen = text  # the text that what follows is about
        self._greedy = ""
        self._is_fresh = False  # whether the model has answered for `_seen`, or what is left of an older offer stands
        self._is_pausing = False  # whether no key has come for a while
        self._is_list_open = False
        self._candidates: list[Candidate] | None = None  # asked for in a pause, or when the list is opened
        self._choice = 0  # counts Down and Up: the greedy offer, then the candidates, in a circle
        self._question = asyncio.Event()  # set when there is something to think about
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
        # Only once a key is shown: the model would take the interpreter's time from the drawing.
        self._application.after_render += lambda _: self._question.set()
        self._application.ttimeoutlen = 0.05  # after so many seconds, an Escape is no beginning of an arrow key
        self._application.timeoutlen = 0.1  # and after so many, none of Alt-Enter

    @property
    def text(self) -> str:
        """What is typed."""
        return self._buffer.text

    @property
    def offer(self) -> str:
        """What stands greyed behind the text: the greedy continuation, or the candidate chosen."""
        if not self._buffer.document.is_cursor_at_the_end:
            return ""
        return self._offer()

    async def run(self) -> str | None:
        """Let the person type; returns the text, or None if it was left.

        Raises:
            GruCompleteError: the model could not answer.
        """
        try:
            return await self._application.run_async(pre_run=self._start)
        finally:
            self._is_left = True
            self._thread.shutdown()

    # ---------------------------------------------------------------------------------------- thinking

    def _start(self) -> None:
        self._application.create_background_task(self._think())
        if sys.platform != "win32":
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self._leave, 128 + number)

    async def _think(self) -> None:
        """Answer what is asked about the latest text; what the text has outrun is dropped."""
        try:
            while True:
                await self._question.wait()
                self._question.clear()
                text = self._seen
                if not self._buffer.document.is_cursor_at_the_end:
                    continue
                if not self._is_fresh:
                    greedy = await self._ask(self._suggester.suggest, text)
                    if greedy is None:
                        continue
                    self._greedy, self._is_fresh = greedy, True
                    self._application.invalidate()
                    asyncio.get_running_loop().call_later(IDLE_SECONDS, self._pause, text)
                if self._candidates is None and (self._is_list_open or self._is_pausing):
                    candidates = await self._ask(self._suggester.candidates, text)
                    if candidates is not None:
                        self._candidates = candidates
                        self._application.invalidate()
        except Exception as error:  # prompt_toolkit would print it and wait for Enter
            if not self._application.is_done:
                self._application.exit(exception=error)

    def _pause(self, text: str) -> None:
        if self._seen is text:
            self._is_pausing = True
            self._question.set()

    async def _ask(self, question: Callable[[bytes, Callable[[], bool]], Answer], text: str) -> Answer | None:
        """Ask in the other thread; None if the text has changed meanwhile."""

        def is_stale() -> bool:
            return self._seen is not text or self._is_left

        def answer() -> Answer | None:
            try:
                return question(text.encode("utf-8", "surrogateescape"), is_stale)
            except Stale:
                return None

        found = await asyncio.get_running_loop().run_in_executor(self._thread, answer)
        return None if is_stale() else found

    def _offer(self) -> str:
        if self._is_list_open and self._candidates and self._chosen >= 0:
            return self._candidates[self._chosen].rest
        return self._greedy

    @property
    def _chosen(self) -> int:
        """Which candidate is chosen; -1 for none of them, but the greedy offer."""
        return self._choice % (len(self._candidates or ()) + 1) - 1

    def _follow_text(self) -> None:
        """After a key: keep what is left of the offer when it was typed itself, and ask again."""
        expected = self._seen + self._offer()
        text = self._buffer.text
        goes_on = text.startswith(self._seen) and expected.startswith(text)
        self._greedy = expected[len(text) :] if goes_on else ""
        self._seen, self._is_fresh, self._is_pausing = text, False, False
        self._close_list()

    def _close_list(self) -> None:
        self._is_list_open, self._candidates, self._choice = False, None, 0

    # ---------------------------------------------------------------------------------------- keys

    def _key_bindings(self) -> KeyBindings:
        bindings = KeyBindings()
        add = bindings.add
        is_offered = Condition(lambda: bool(self.offer))
        is_at_end = Condition(lambda: self._buffer.document.is_cursor_at_the_end)
        is_empty = Condition(lambda: not self._buffer.text)

        @add("tab")
        @add("right", filter=is_offered)
        def _take(event: KeyPressEvent) -> None:
            self._buffer.insert_text(self.offer)

        @add("c-right", filter=is_offered)
        @add("escape", "f", filter=is_offered)
        def _take_word(event: KeyPressEvent) -> None:
            self._buffer.insert_text(first_word(self.offer))

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
            """Stopped inside of $(...), the shell would wait for ever."""

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
        has_tabs = Condition(lambda: "\t" in self._buffer.text)
        processors = [
            _ShowHarmless(),
            ConditionalProcessor(TabsProcessor(tabstop=8, char1=" ", char2=" "), has_tabs),
            AfterInput(lambda: [("class:offer", _on_one_line(self.offer))]),
        ]
        text = Window(BufferControl(self._buffer, processors), wrap_lines=True, dont_extend_height=True)
        listed = FormattedTextControl(self._list_lines, show_cursor=False, get_cursor_position=self._place_of_choice)
        candidates = Window(listed, dont_extend_height=True)
        keys = Window(FormattedTextControl([("class:keys", KEYS)]), height=Dimension(min=0, max=1))
        is_list_shown = Condition(lambda: self._is_list_open and self._candidates is not None)
        return Layout(HSplit([text, ConditionalContainer(candidates, is_list_shown), keys]))

    def _place_of_choice(self) -> Point:
        """Where the list is looked at, if not all of it fits into the window."""
        return Point(0, max(0, self._chosen))

    def _list_lines(self) -> StyleAndTextTuples:
        candidates = self._candidates or []
        if not candidates:
            return [("class:keys", "no word to offer")]
        chosen = self._chosen
        lines: StyleAndTextTuples = []
        for index, candidate in enumerate(candidates):
            line = f" {candidate.probability:7.1%}  {_on_one_line(candidate.word)} "
            lines += [("class:chosen" if index == chosen else "", line), ("", "\n")]
        return lines[:-1]


class _ShowHarmless(Processor):
    """Shows what would steer a terminal (marks that turn the direction of writing, say) as replacement characters."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """Replace them one for one, so that the cursor stays where it belongs."""
        return Transformation([(style, _shown(text)) for style, text, *_ in transformation_input.fragments])


def _shown(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char <= "\xa0" or char in JOINERS else "\ufffd" for char in text)


def _on_one_line(text: str) -> str:
    """The model's text as it is offered: newlines as a sign for them, nothing that could steer the terminal."""
    return terminal_text(text.replace("\n", "↵").replace("\t", " "))
