"""What `--help` prints: options under headings, the most common ones first, with examples that can be pasted.

This is plain text, as Typer writes it without rich, whose import would take longer than everything else. An option's
``rich_help_panel`` is its heading, as with rich; the examples of a command are ``EXAMPLES`` in its module.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from gru_complete.cli.console import Console
from gru_complete.cli.loading import NUMPY_BYTES, TORCH_BYTES, require_address_space

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter
    from typer.core import TyperOption

ARGUMENTS, COMMON, SETTINGS, OUTPUT, LONG_TEXTS = "Arguments", "Options", "Settings", "Output", "Long texts"
"""Headings: of arguments, of options that name no other heading, and of options that several commands share."""

Examples = Mapping[str, Sequence[str]]
"""Command lines, by the heading of the options that they show."""


class GroupedCommand(TyperCommand):
    """A command whose help has a heading for each group of options, in the order of the signature."""

    examples: Examples = {}
    needs_torch = False

    def get_help_option(self, ctx: "Context") -> "TyperOption | None":
        """The option ``--help``."""
        return _written_as_a_result(super().get_help_option(ctx))

    def invoke(self, ctx: "Context") -> Any:
        """Run the command, unless numpy or torch could only fail in it."""
        require_address_space(TORCH_BYTES if self.needs_torch else NUMPY_BYTES)
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: "Context") -> list[str]:
        """The pieces of the usage line, without Typer's braces around what is required."""
        return [piece.removeprefix("{").removesuffix("}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the arguments and each group of options, followed by its examples."""
        groups: dict[str, list[tuple[str, str]]] = {ARGUMENTS: [], COMMON: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:  # otherwise it is hidden
                default = ARGUMENTS if parameter.param_type_name == "argument" else COMMON
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or default, []).append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
                if examples := self.examples.get(heading):
                    formatter.write("\n" + "".join(f"  $ {example}\n" for example in examples))


class HelpfulGroup(TyperGroup):
    """A command of further commands: alone, it prints its help, which has the first sentence of each one's help."""

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Without arguments, print the help on stderr and end with Typer's exit code for that."""
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(2)
        return super().parse_args(ctx, args)

    def get_help_option(self, ctx: "Context") -> "TyperOption | None":
        """The option ``--help``."""
        return _written_as_a_result(super().get_help_option(ctx))

    def format_commands(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write each command with the first sentence of its help, however long that is."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(1000)) for name, command in commands if command])


def _written_as_a_result(option: "TyperOption | None") -> "TyperOption | None":
    """The option ``--help``, whose text is written as all results are: a stdout that takes none is an error."""
    if option is not None:
        option.callback = _write_help
    return option


def _write_help(ctx: "Context", _: object, is_wanted: bool) -> None:
    if is_wanted and not ctx.resilient_parsing:
        Console().write(f"{ctx.get_help()}\n".encode())
        raise typer.Exit
