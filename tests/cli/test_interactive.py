"""`complete -i`: first the editor with keys from a pipe and no screen, then the whole command as a person sees it."""

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from gru_complete.cli.console import HARMFUL
from gru_complete.cli.interactive import Editor, _without_controls
from gru_complete.errors import ModelError
from gru_complete.runtime.session import Candidate, Stale

PATIENCE = 6  # seconds, on a machine with much else to do

RIGHT, LEFT, UP, DOWN, CONTROL_RIGHT = "\x1b[C", "\x1b[D", "\x1b[A", "\x1b[B", "\x1b[1;5C"
ALT_ENTER, CONTROL_C, CONTROL_D, CONTROL_Z, ESCAPE = "\x1b\r", "\x03", "\x04", "\x1a", "\x1b"


def pasted(text):
    return f"\x1b[200~{text}\x1b[201~"


class Proverb:
    """Knows one sentence and goes on with it; other texts it continues with a question mark."""

    def __init__(self, sentence="The cat sat on the mat."):
        self.sentence = sentence
        self.asked = []

    def suggest(self, text, is_stale):
        self.asked.append(text.decode())
        return self.sentence[len(text.decode()) :] if self.sentence.startswith(text.decode()) else "?"

    def candidates(self, text, is_stale):
        return [Candidate("cat", "cat", 0.5), Candidate("dog", "dog", 0.25)]


async def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.002)


class Typist:
    """Presses keys and looks at the editor."""

    def __init__(self, editor, keys):
        self.editor = editor
        self.press = keys.send_text

    async def sees(self, text, offer=None):
        await until(lambda: self.editor.text == text and offer in (None, self.editor.suggestion))

    async def sees_list(self, *words):
        shown = [*words] if words else [""]
        await until(lambda: list_shown(self.editor) == shown)


def list_shown(editor):
    return [line.strip() for line in "".join(text for _, text, *_ in editor._list_lines()).split("\n")]


def type_into(script, suggester=None, text=""):
    """Run the editor while the script types; returns the text it left, and its exit code."""

    async def run(keys):
        editor = Editor(suggester or Proverb(), text, keyboard=keys, screen=DummyOutput(), has_color=True)
        running = asyncio.create_task(editor.run())
        typing = asyncio.create_task(script(Typist(editor, keys)))
        await asyncio.wait([running, typing], return_when=asyncio.FIRST_EXCEPTION, timeout=PATIENCE)
        assert typing.done()
        await typing
        return await asyncio.wait_for(running, PATIENCE), editor.exit_code

    with create_pipe_input() as keys:
        return asyncio.run(run(keys))


def test_enter_gives_the_text_without_what_is_offered():
    async def script(typist):
        await typist.sees("The", " cat sat on the mat.")
        typist.press("\r")

    assert type_into(script, text="The") == ("The", 0)


def test_tab_takes_all_that_is_offered():
    async def script(typist):
        typist.press("The c")
        await typist.sees("The c", "at sat on the mat.")
        typist.press("\t")
        await typist.sees("The cat sat on the mat.", "")
        typist.press("\r")

    assert type_into(script) == ("The cat sat on the mat.", 0)


def test_the_right_arrow_takes_it_too_but_moves_inside_the_text():
    async def script(typist):
        await typist.sees("The cat sat on", " the mat.")
        typist.press(LEFT)
        await typist.sees("The cat sat on", "")
        typist.press(RIGHT)
        await typist.sees("The cat sat on", " the mat.")
        typist.press(RIGHT + "\r")

    assert type_into(script, text="The cat sat on") == ("The cat sat on the mat.", 0)


def test_control_right_takes_a_word():
    async def script(typist):
        await typist.sees("The c", "at sat on the mat.")
        typist.press(CONTROL_RIGHT)
        await typist.sees("The cat", " sat on the mat.")
        typist.press(CONTROL_RIGHT + CONTROL_RIGHT)
        await typist.sees("The cat sat on", " the mat.")
        typist.press("\r")

    assert type_into(script, text="The c") == ("The cat sat on", 0)


def test_up_and_down_walk_through_the_candidates_in_a_circle():
    async def script(typist):
        await typist.sees("The ", "cat sat on the mat.")
        typist.press(DOWN)
        await typist.sees("The ", "cat")
        await typist.sees_list("50.0%  cat", "25.0%  dog")
        typist.press(DOWN)
        await typist.sees("The ", "dog")
        typist.press(DOWN)
        await typist.sees("The ", "cat sat on the mat.")
        typist.press(UP)
        await typist.sees("The ", "dog")
        typist.press("\t")
        await typist.sees("The dog", "?")
        typist.press("\r")

    assert type_into(script, text="The ") == ("The dog", 0)


def test_candidates_are_looked_for_in_a_pause_and_shown_when_asked_for():
    async def script(typist):
        await until(lambda: typist.editor._candidates is not None)
        await typist.sees("The ", "cat sat on the mat.")
        typist.press("\r")

    assert type_into(script, text="The ") == ("The ", 0)


def test_escape_and_typing_close_the_list():
    async def script(typist):
        typist.press(UP)
        await typist.sees("The ", "dog")
        typist.press(ESCAPE)
        await typist.sees("The ", "cat sat on the mat.")
        typist.press(UP)
        await typist.sees("The ", "dog")
        typist.press("c")
        await typist.sees("The c", "at sat on the mat.")
        typist.press("\r")

    assert type_into(script, text="The ") == ("The c", 0)


def test_control_c_leaves_without_the_text():
    async def script(typist):
        await typist.sees("The", " cat sat on the mat.")
        typist.press(CONTROL_C)

    assert type_into(script, text="The") == (None, 130)


def test_control_d_leaves_an_empty_text_and_control_z_does_nothing():
    async def script(typist):
        typist.press(CONTROL_Z + "x\x7f" + CONTROL_D)

    assert type_into(script) == (None, 130)


def test_a_termination_signal_leaves_with_its_code():
    async def script(typist):
        await typist.sees("The", " cat sat on the mat.")
        os.kill(os.getpid(), signal.SIGTERM)

    assert type_into(script, text="The") == (None, 143)


def test_lines_are_broken_by_alt_enter_and_pasted_whole():
    async def script(typist):
        typist.press("a" + ALT_ENTER + "b")
        await typist.sees("a\nb")
        typist.press(pasted("c\r\nd\te"))
        await typist.sees("a\nbc\nd\te")
        typist.press("\r")

    assert type_into(script) == ("a\nbc\nd\te", 0)


def test_alt_enter_breaks_the_line_also_while_the_list_is_open():
    async def script(typist):
        typist.press(DOWN)
        await typist.sees("The ", "cat")
        typist.press(ALT_ENTER)
        await typist.sees("The \n")
        typist.press("\r")

    assert type_into(script, text="The ") == ("The \n", 0)


def test_what_was_offered_stays_while_it_is_typed(monkeypatch):
    proverb = Proverb()
    goes_on = threading.Event()

    def slow(text, is_stale):
        if text != b"The":
            goes_on.wait(PATIENCE)
        return Proverb.suggest(proverb, text, is_stale)

    monkeypatch.setattr(proverb, "suggest", slow)

    async def script(typist):
        await typist.sees("The", " cat sat on the mat.")
        typist.press(" ca")
        await typist.sees("The ca", "t sat on the mat.")
        typist.press("k")
        await typist.sees("The cak", "")
        goes_on.set()
        await typist.sees("The cak", "?")
        typist.press("\r")

    assert type_into(script, proverb, text="The") == ("The cak", 0)


def test_an_answer_about_an_older_text_is_dropped_and_the_latest_text_asked_about():
    asked, goes_on = [], threading.Event()

    class Slow(Proverb):
        def suggest(self, text, is_stale):
            asked.append(text)
            if text == b"x":
                goes_on.wait(PATIENCE)
                if is_stale():
                    raise Stale
            return f" after {text.decode()}"

    async def script(typist):
        await typist.sees("", " after ")
        typist.press("x")
        await until(lambda: b"x" in asked)
        typist.press("y")
        await typist.sees("xy")
        typist.press("z")
        await typist.sees("xyz", "")
        goes_on.set()
        await typist.sees("xyz", " after xyz")
        typist.press("\r")

    assert type_into(script, Slow()) == ("xyz", 0)
    assert asked == [b"", b"x", b"xyz"]


def test_a_key_is_drawn_before_the_model_is_asked_about_it():
    drawn, asked = [], []

    class Watched(DummyOutput):
        def write(self, data):
            drawn.append(data)

    class Late(Proverb):
        def suggest(self, text, is_stale):
            asked.append((text, "".join(drawn)))
            return ""

    async def run(keys):
        editor = Editor(Late(), "", keyboard=keys, screen=Watched(), has_color=True)
        running = asyncio.create_task(editor.run())
        for key in "qxz":
            keys.send_text(key)
            await until(lambda key=key: asked and asked[-1][0].decode().endswith(key))
        keys.send_text("\r")
        await running

    with create_pipe_input() as keys:
        asyncio.run(run(keys))
    for text, before in asked[1:]:
        assert chr(text[-1]) in before


def test_leaving_does_not_wait_for_an_answer_that_is_not_wanted():
    asked, given_up = threading.Event(), threading.Event()

    class Patient(Proverb):
        def suggest(self, text, is_stale):
            asked.set()
            deadline = time.monotonic() + PATIENCE
            while not is_stale():
                assert time.monotonic() < deadline
                time.sleep(0.001)
            given_up.set()
            raise Stale

    async def script(typist):
        await until(asked.is_set)
        typist.press(CONTROL_C)

    assert type_into(script, Patient()) == (None, 130)
    assert given_up.is_set()


def test_a_model_that_fails_ends_the_editor_with_its_error():
    class Damaged(Proverb):
        def suggest(self, text, is_stale):
            raise ModelError("the model's scores are not finite numbers")

    async def script(typist):
        pass

    with pytest.raises(ModelError, match="not finite"):
        type_into(script, Damaged())


def test_bytes_that_are_no_text_come_back_as_they_were():
    async def script(typist):
        await typist.sees("caf\udcc3")
        typist.press("!\r")

    class Mute(Proverb):
        def suggest(self, text, is_stale):
            assert text.startswith(b"caf\xc3")
            return ""

    assert type_into(script, Mute(), text="caf\udcc3") == ("caf\udcc3!", 0)


def test_what_is_typed_is_shown_but_for_what_could_steer_the_terminal():
    every = "".join(map(chr, range(0xA0, sys.maxunicode + 1)))
    shown = _without_controls(every)
    assert len(shown) == len(every)
    replaced = {char for char, other in zip(every, shown, strict=True) if char != other}
    assert replaced == {char for char in HARMFUL if char > "\xa0"} | set(map(chr, range(0xD800, 0xE000)))
    assert {other for char, other in zip(every, shown, strict=True) if char != other} == {"\ufffd"}


# ---------------------------------------------------------------------------------------- the whole command


GRU_COMPLETE = [sys.executable, "-m", "gru_complete"]


def test_without_a_terminal_it_says_so(trained_model):
    command = [*GRU_COMPLETE, "complete", "-i", "The", "-m", str(trained_model)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"error: -i needs a terminal" in done.stderr
    assert b"hint: " in done.stderr


def test_a_dumb_terminal_is_refused(run, trained_model, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    code, out, err = run("complete", "-i", "The", "-m", trained_model)
    assert (code, out) == (2, b"")
    assert "TERM is dumb" in err


class Terminal:
    """A shell in tmux: keys in, screen out."""

    def __init__(self, socket, width=70, height=12):
        self.socket = socket
        self.tmux("new-session", "-d", "-x", str(width), "-y", str(height), "env PS1='$ ' bash --norc --noprofile")

    def tmux(self, *arguments):
        command = ["tmux", "-S", str(self.socket), "-f", os.devnull, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout

    def types(self, text):
        self.tmux("send-keys", "-l", text)

    def presses(self, *keys):
        self.tmux("send-keys", *keys)

    def screen(self):
        """What stands there, with colour codes."""
        return self.tmux("capture-pane", "-ep").rstrip("\n")

    def shows(self, pattern):
        """Assert that a pattern appears on the screen before ``PATIENCE`` runs out; returns the match."""
        deadline = time.monotonic() + PATIENCE
        while not (match := re.search(pattern, self.screen(), re.MULTILINE)):
            assert time.monotonic() < deadline, f"waited for {pattern!r} in vain:\n{self.screen()}"
            time.sleep(0.02)
        return match


@pytest.fixture
def terminal(tmp_path_factory):
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux")
    terminal = Terminal(tmp_path_factory.mktemp("t") / "s")
    terminal.shows(r"^\$")
    yield terminal
    with contextlib.suppress(subprocess.SubprocessError):
        terminal.tmux("kill-server")


GREY = r"\x1b\[38;5;\d+m"


def command(model, *arguments):
    words = [*GRU_COMPLETE, "complete", "-i", "-m", model, "--no-learn-from-prompt", *arguments]
    return f"PYTHONPATH={shlex.quote(os.getcwd())} {shlex.join(map(str, words))}"


def offered(terminal, text):
    """Wait until something is offered in grey behind the text; returns it."""
    return terminal.shows(rf"^{re.escape(text)}{GREY}([^\x1b\n]+)")[1].replace("↵", "\n")


def test_a_person_types_and_takes_what_is_offered(terminal, trained_model):
    terminal.types(f'x=$({command(trained_model, "The c")}); echo "[$x] $?"')
    terminal.presses("Enter")
    offered(terminal, "The c")
    assert "Tab: accept" in terminal.screen()
    terminal.types("at")
    offer = offered(terminal, "The cat")
    terminal.presses("C-Right")
    word = re.match(r"\s*\S+", offer)[0]
    offer = offered(terminal, f"The cat{word}")
    terminal.presses("Tab")
    taken = f"The cat{word}{offer}"
    terminal.shows(rf"^{re.escape(taken)}")
    terminal.types("!")
    terminal.shows(rf"^{re.escape(taken)}!")
    terminal.presses("Enter")
    assert terminal.shows(r"^\[((?s:.*))\] (\d+)$").groups() == (f"{taken}!", "0")
    assert "Tab: accept" not in terminal.screen()


@pytest.mark.parametrize("typed", ["\u3000x\u202fy", "हिन्दी है।"], ids=ascii)
def test_what_is_typed_in_other_scripts_is_on_the_screen(terminal, trained_model, typed):
    terminal.types(command(trained_model, "The c"))
    terminal.presses("Enter")
    offered(terminal, "The c")
    terminal.types(typed)
    terminal.shows(re.escape(f"The c{typed}"))
    terminal.presses("C-c")


def test_a_person_chooses_among_other_words(terminal, trained_model):
    terminal.types(f"{command(trained_model, 'The cat ')} | sed 's/.*/<&>/'")
    terminal.presses("Enter")
    offered(terminal, "The cat ")
    terminal.presses("Down")
    first = terminal.shows(r"^\x1b\[7m +(\d+\.\d)%  (\S+)\s")
    terminal.presses("Down")
    second = terminal.shows(rf"(?!{re.escape(first[0])})^\x1b\[7m +(\d+\.\d)%  (\S+)\s")
    assert float(first[1]) >= float(second[1])
    assert first[2] != second[2]
    assert re.search(rf"^The cat {GREY}{re.escape(second[2])}\x1b", terminal.screen(), re.MULTILINE)
    terminal.presses("Tab")
    terminal.shows(rf"^The cat {re.escape(second[2])}")
    terminal.presses("Enter")
    terminal.shows(rf"^<The cat {re.escape(second[2])}>$")


def test_control_c_prints_nothing_and_leaves_the_terminal_as_it_was(terminal, trained_model, tmp_path):
    terminal.types(f'{command(trained_model, "The cat")} > {tmp_path / "out"}; echo "left: $?"')
    terminal.presses("Enter")
    offered(terminal, "The cat")
    terminal.presses("C-c")
    terminal.shows(r"^left: 130$")
    assert "The cat" not in terminal.screen().splitlines()
    assert (tmp_path / "out").read_bytes() == b""
    terminal.types("echo still typed on")
    terminal.shows(r"^\$ echo still typed on")


def test_a_pasted_text_of_several_lines_wraps_and_goes_out_as_it_was(terminal, trained_model, tmp_path):
    text = "日本語 " * 30 + "\nThe old house\n" + "The cat saw a dog. " * 40 + "The"
    (tmp_path / "paste").write_text(text)
    terminal.types(f'{command(trained_model)} > {tmp_path / "out"}; echo "left: $?"')
    terminal.presses("Enter")
    terminal.shows("Tab: accept")
    terminal.tmux("load-buffer", str(tmp_path / "paste"))
    terminal.tmux("paste-buffer", "-p")  # -p: in brackets, as terminals paste
    terminal.shows(rf"The{GREY}[^\x1b]+")
    terminal.presses("Enter")
    terminal.shows(r"^left: 0$")
    assert (tmp_path / "out").read_text() == text + "\n"


def test_without_colour_the_offer_is_faint_only(terminal, trained_model):
    terminal.types(f"NO_COLOR=1 {command(trained_model, 'The cat')}")
    terminal.presses("Enter")
    terminal.shows(r"^The cat\x1b\[2m[^\x1b]+")
    assert not re.search(GREY, terminal.screen())


def test_keys_come_from_the_terminal_and_go_to_it_between_pipes(terminal, trained_model):
    terminal.types(f"echo | {command(trained_model, 'The cat')} 2>&1 | cat")
    terminal.presses("Enter")
    offered(terminal, "The cat")
    terminal.types(" saw")
    terminal.shows(r"^The cat saw")
    terminal.presses("Enter")
    terminal.shows(r"^The cat saw$")


def test_a_list_that_does_not_fit_shows_the_word_chosen(terminal, trained_model):
    terminal.tmux("resize-window", "-x", "40", "-y", "5")
    terminal.types("clear; " + command(trained_model, "The "))
    terminal.presses("Enter")
    offered(terminal, "The ")
    terminal.presses("Up")
    last = terminal.shows(r"^\x1b\[7m +(\d+\.\d)%  (\S+)\s")
    terminal.shows(rf"^The {GREY}{re.escape(last[2])}\x1b")


@pytest.mark.parametrize("prompt", [["-"], []])
def test_a_text_that_is_piped_in_is_edited_at_the_terminal(terminal, trained_model, tmp_path, prompt):
    terminal.types(
        f"printf 'The old\\nThe cat\\n' | {command(trained_model, *prompt)} > {tmp_path / 'out'}; echo \"left: $?\""
    )
    terminal.presses("Enter")
    terminal.shows(r"^The old")
    offered(terminal, "The cat")
    terminal.types(" saw")
    terminal.shows(r"^The cat saw")
    terminal.presses("Enter")
    terminal.shows(r"^left: 0$")
    assert (tmp_path / "out").read_text() == "The old\nThe cat saw\n"


def test_behind_a_file_nothing_is_read_from_a_pipe(terminal, trained_model, tmp_path):
    (tmp_path / "before").write_text("The old house. ")
    terminal.types(f'yes | {command(trained_model, "-f", tmp_path / "before")}; echo "left: $?"')
    terminal.presses("Enter")
    terminal.shows(r"Tab: accept")
    terminal.types("The")
    offered(terminal, "The")
    terminal.presses("Enter")
    terminal.shows(r"^The$")
    terminal.shows(r"^left: 0$")


def test_a_tiny_window_still_shows_what_is_typed(terminal, trained_model):
    terminal.tmux("resize-window", "-x", "20", "-y", "2")
    terminal.types("clear; " + command(trained_model))
    terminal.presses("Enter")
    terminal.shows(r"Tab")
    terminal.types("The old cat saw a small bird and the")
    terminal.shows(r"and the")
    terminal.presses("C-c")
    terminal.shows(r"^\$")
