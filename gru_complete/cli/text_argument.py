"""Commands whose argument is text: what begins with "-" and has white space in it is text there, not an option."""

from collections.abc import Container
from typing import TYPE_CHECKING

from gru_complete.cli.help import GroupedCommand

if TYPE_CHECKING:
    from typer._click import Context
    from typer._click.parser import _OptionParser, _ParsingState


class TextCommand(GroupedCommand):
    """A command that takes text, such as "- a list item", signatures and the front matter of a page."""

    def make_parser(self, ctx: "Context") -> "_OptionParser":
        """The parser of the command's options, which leaves text alone."""
        parser = super().make_parser(ctx)
        process_option = parser._process_opts

        def process(argument: str, state: "_ParsingState") -> None:
            if is_text(argument, parser._long_opt):
                state.largs.append(argument)
            else:
                process_option(argument, state)

        parser._process_opts = process  # type: ignore[method-assign, assignment]
        return parser


def is_text(argument: str, long_options: Container[str]) -> bool:
    """Whether an argument that begins with "-" is text: it has white space, and is not ``--option=value``."""
    return any(map(str.isspace, argument)) and argument.partition("=")[0] not in long_options
