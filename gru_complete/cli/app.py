"""The command line as a whole: the commands, the options all share, and the one place where errors become exits."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from gru_complete.cli.console import Console
from gru_complete.errors import GruCompleteError

if TYPE_CHECKING:
    from typer._click import Command, Context

PROGRAM = "gru-complete"
BUG_EXIT_CODE = 70

# Each command's module, and in it a function or a Typer of further commands.
_PLACES = {
    "train": ("train", "train"),
    "complete": ("complete", "complete"),
    "prime": ("prime", "prime"),
    "eval": ("evaluate", "evaluate"),
    "inspect": ("inspect", "inspect"),
    "check": ("check", "check"),
    "adapt": ("adapt", "adapt"),
    "recall": ("recall", "recall"),
    "compare": ("compare", "compare"),
    "models": ("models", "app"),
}


class _Commands(TyperGroup):
    """Loads a command when it is asked for: `complete` need not wait for the others."""

    def list_commands(self, ctx: "Context") -> list[str]:
        """The names of all commands, as `--help` lists them."""
        return list(_PLACES)

    def get_command(self, ctx: "Context", cmd_name: str) -> "Command | None":
        """A command by its name."""
        for name in [cmd_name] if cmd_name in _PLACES else _PLACES:  # all, where one is suggested for an unknown name
            if name not in self.commands:
                self.commands[name] = _loaded(name)
        return self.commands.get(cmd_name)


def _loaded(name: str) -> "Command":
    module, attribute = _PLACES[name]
    found = getattr(import_module(f"gru_complete.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    command = typer.Typer(add_completion=False, rich_markup_mode=None)
    command.command(name)(found)
    return typer.main.get_command(command)


app = typer.Typer(
    name=PROGRAM,
    cls=_Commands,
    help="Train your own autocomplete from your own text, and complete text with it.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help needs no rich, which takes longer to import than the help to read
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version as installed_version

        typer.echo(f"{PROGRAM} {installed_version(PROGRAM)}")
        raise typer.Exit


@app.callback()
def shared_options(
    context: typer.Context,
    color: Annotated[str, typer.Option(help="Colour codes: auto, always or never.", metavar="WHEN")] = "auto",
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; also by GRU_COMPLETE_DEBUG=1.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Train your own autocomplete from your own text, and complete text with it."""
    if color not in ("auto", "always", "never"):
        raise typer.BadParameter(f"{color!r} is none of auto, always, never", param_hint="--color")
    context.ensure_object(Console).color = color
    if debug:
        os.environ["GRU_COMPLETE_DEBUG"] = "1"


def run(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code; errors become one line on stderr."""
    console = Console()
    try:
        code = app(args=arguments, prog_name=PROGRAM, standalone_mode=False, obj=console)
    except GruCompleteError as error:
        _show_traceback_if_wanted()
        console.error(str(error), error.hint)
        return error.exit_code
    except typer.TyperException as error:
        message = error.format_message()
        hint = f"see {PROGRAM} --help, or --help after a command; text that begins with '-' goes after --"
        console.error(message[:1].lower() + message[1:].rstrip("."), hint)
        return error.exit_code
    except typer.Abort:
        return 1
    except MemoryError:
        _show_traceback_if_wanted()
        console.error("out of memory")
        return 5
    except Exception as error:
        _show_traceback_if_wanted()
        console.error(
            f"this should not have happened: {type(error).__name__}",
            hint="please report it, with what GRU_COMPLETE_DEBUG=1 shows (read it first: it may hold file names)",
        )
        return BUG_EXIT_CODE
    return code if isinstance(code, int) else 0


def _show_traceback_if_wanted() -> None:
    if os.environ.get("GRU_COMPLETE_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exc()


def main() -> None:
    """The console script."""
    code = run()
    if sys.argv[1:2] == ["complete"]:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> None:
    """End the process without taking it apart, object by object, which takes as long as several tokens do.

    Where the streams cannot be flushed, it returns, and Python ends as usual.
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
