"""The command line as a whole: its commands, their common options, and the one place where errors become exit codes."""

import os
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

from gru_complete.cli.console import Console
from gru_complete.cli.help import GroupedCommand, HelpfulGroup
from gru_complete.cli.text_argument import TextCommand
from gru_complete.errors import EnvironmentFailure, GruCompleteError, printable
from gru_complete.storage.os_calls import os_reason
from gru_complete.thread_settings import set_thread_defaults

if TYPE_CHECKING:
    from typer._click import Command, Context

PROGRAM = "gru-complete"
BUG_EXIT_CODE = 70

COMMANDS = {
    "train": ("train", "train"),
    "complete": ("complete", "complete"),
    "prime": ("prime", "prime"),
    "eval": ("evaluate", "evaluate"),
    "inspect": ("inspect", "inspect"),
    "check": ("check", "check"),
    "recall": ("recall", "recall"),
    "compare": ("compare", "compare"),
    "models": ("models", "app"),
}
"""By the name of each command, its module and what it is there: a function, or a Typer of further commands."""
TEXT_COMMANDS = ("complete", "inspect")
"""The commands whose argument is text."""


class _Commands(HelpfulGroup):
    """Imports the module of a command only when it is used, so that `complete` does not wait for the others."""

    def list_commands(self, ctx: "Context") -> list[str]:
        """The names of all commands, as `--help` lists them."""
        return list(COMMANDS)

    def get_command(self, ctx: "Context", cmd_name: str) -> "Command | None":
        """A command by its name."""
        # For an unknown name all are imported, since one of them is suggested.
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                self.commands[name] = _load_command(name)
        return self.commands.get(cmd_name)


def _load_command(name: str) -> "Command":
    """Import a command's module and make the command."""
    module_name, attribute = COMMANDS[name]
    module = import_module(f"gru_complete.cli.{module_name}")
    function_or_typer = getattr(module, attribute)
    if isinstance(function_or_typer, typer.Typer):
        return typer.main.get_command(function_or_typer)
    wrapper = typer.Typer(add_completion=False, rich_markup_mode=None)
    wrapper.command(name, cls=TextCommand if name in TEXT_COMMANDS else GroupedCommand)(function_or_typer)
    command = typer.main.get_command(wrapper)
    assert isinstance(command, GroupedCommand)
    command.examples = getattr(module, "EXAMPLES", {})
    command.needs_torch = getattr(module, "NEEDS_TORCH", False)
    return command


app = typer.Typer(
    name=PROGRAM,
    cls=_Commands,
    help="Train your own autocomplete from your own text, and complete text with it.",
    rich_markup_mode=None,  # plain help: importing rich would take longer than everything else
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version as installed_version

        Console().write(f"{PROGRAM} {installed_version(PROGRAM)}\n".encode())
        raise typer.Exit


@app.callback()
def shared_options(
    context: typer.Context,
    color: Annotated[str, typer.Option(help="When to use colour: auto, always or never.", metavar="WHEN")] = "auto",
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of errors; also with GRU_COMPLETE_DEBUG=1.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train your own autocomplete from your own text, and complete text with it."""
    if color not in ("auto", "always", "never"):
        raise typer.BadParameter(f"{color!r} is not one of auto, always, never", param_hint="--color")
    context.ensure_object(Console).color = color
    if debug:
        os.environ["GRU_COMPLETE_DEBUG"] = "1"


def run(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code; an error becomes one line on stderr, and perhaps a hint."""
    console = Console()
    try:
        code = app(args=arguments, prog_name=PROGRAM, standalone_mode=False, obj=console)
    except GruCompleteError as error:
        _show_traceback_if_wanted()
        console.error(str(error), error.hint)
        return error.exit_code
    except typer.TyperException as error:
        message = error.format_message()
        hint = (
            f"run {PROGRAM} --help, or --help after a command; text that begins with '-' and has no space goes after --"
        )
        console.error(message[:1].lower() + message[1:].rstrip("."), hint)
        return error.exit_code
    except typer.Abort:
        return 1
    except Exception as error:
        _show_traceback_if_wanted()
        if problem := refusal_of_the_machine(error):
            console.error(problem)
            return EnvironmentFailure.exit_code
        console.error(
            f"internal error: {type(error).__name__}",
            hint="please report it with the output of GRU_COMPLETE_DEBUG=1 (which may contain file names)",
        )
        return BUG_EXIT_CODE
    return code if isinstance(code, int) else 0


def refusal_of_the_machine(error: Exception) -> str | None:
    """What the machine refused, if that is what made an error; None if the error is a bug.

    The library says more of what it expects to be refused. What comes here was refused where nobody expects it: to the
    loader of a C library, to Python's start of a thread, to the standard output of another package.
    """
    text = str(error).lower()
    if isinstance(error, MemoryError) or "allocate memory" in text or "failed to map segment" in text:
        return "out of memory"
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return "the system starts no further thread"
    if isinstance(error, OSError):
        name = "a file" if error.filename is None else printable(os.fsdecode(error.filename))
        return f"cannot use {name}: {os_reason(error)}"
    return None


def _show_traceback_if_wanted() -> None:
    if _is_debugging():
        import traceback

        traceback.print_exc()


def _is_debugging() -> bool:
    return os.environ.get("GRU_COMPLETE_DEBUG", "0") not in ("", "0")


def main() -> None:
    """Run the command line of this process, and end it with the exit code."""
    if not sys.warnoptions and not _is_debugging():
        warnings.simplefilter("ignore")  # of numpy and others: nothing that the user can do something about
    set_thread_defaults()
    code = run()
    if sys.argv[1:2] == ["complete"]:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> None:
    """End the process without freeing every object, which would take as long as generating several tokens.

    If the streams cannot be flushed, this returns and Python exits as usual.
    """
    import atexit

    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return
    os._exit(code)
