import re
import shlex

import pytest
import typer

from gru_complete.cli import app, complete
from gru_complete.cli.help import COMMON

COMMANDS = [name for name in app.COMMANDS if name != "models"]


def command_of(name):
    return typer.main.get_command(app.app).get_command(None, name)


def examples_of(name):
    return [(heading, example) for heading, examples in command_of(name).examples.items() for example in examples]


@pytest.fixture
def help_of(run, monkeypatch):
    """The help of a command on a terminal of some width."""

    def text(*command, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        code, out, err = run(*command, "--help")
        assert (code, err) == (0, "")
        return out.decode()

    return text


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_is_listed_once_in_its_group(help_of, name):
    text = help_of(name)
    parameters = [parameter for parameter in command_of(name).params if not getattr(parameter, "hidden", False)]
    assert len(parameters) > 3
    for parameter in parameters:
        if parameter.param_type_name == "option":
            spelling = max(parameter.opts, key=len)
            assert len(re.findall(rf"^  (?:-\w, )?{re.escape(spelling)}(?![\w-])", text, re.MULTILINE)) == 1, spelling
            heading = parameter.rich_help_panel or COMMON
            above = text[: re.search(rf"^  (?:-\w, )?{re.escape(spelling)}(?![\w-])", text, re.MULTILINE).start()]
            assert re.findall(r"^([A-Z].*):$", above, re.MULTILINE)[-1] == heading


@pytest.mark.parametrize("name", COMMANDS)
def test_common_options_come_first_and_have_examples(help_of, name):
    headings = re.findall(r"^([A-Z].*):$", help_of(name), re.MULTILINE)
    assert [heading for heading in headings if heading != "Arguments"][0] == COMMON
    assert {heading for heading, _ in examples_of(name)} <= set(headings)
    assert examples_of(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_printed_on_one_line_and_can_be_pasted(help_of, name):
    lines = help_of(name).splitlines()
    assert max(map(len, lines)) <= 80
    for _, example in examples_of(name):
        assert f"  $ {example}" in lines
        program, spelled, *arguments = shlex.split(example.partition(" <")[0])
        assert program == app.PROGRAM
        context = command_of(spelled).make_context(spelled, arguments)
        if spelled == "complete":
            complete._check_conflicts(context)


def test_every_group_of_complete_and_train_has_an_example(help_of):
    for name in ("complete", "train"):
        headings = {parameter.rich_help_panel or COMMON for parameter in command_of(name).params}
        assert {heading for heading, _ in examples_of(name)} == headings - {None}


@pytest.mark.parametrize("columns", [20, 40, 60, 100, 300])
def test_help_fits_its_terminal_up_to_a_readable_width(help_of, columns):
    for name in COMMANDS:
        text = "\n".join(line for line in help_of(name, columns=columns).splitlines() if not line.startswith("  $ "))
        assert max(map(len, text.splitlines())) <= max(50, min(columns, 110))


def test_usage_has_no_braces(help_of):
    assert help_of("train").startswith("Usage: gru-complete train [OPTIONS] CORPUS...\n")
    assert help_of("prime").startswith("Usage: gru-complete prime [OPTIONS] FILE...\n")


def test_the_program_alone_prints_its_help_without_an_error(run):
    code, out, err = run()
    assert (code, out) == (2, b"")
    assert err.startswith("Usage: gru-complete [OPTIONS] COMMAND [ARGS]...\n")
    assert "error:" not in err


def test_the_list_of_commands_does_not_cut_sentences_off(help_of):
    listed = " ".join(help_of().partition("Commands:")[2].split())
    assert "..." not in listed
    for name in COMMANDS:
        first = command_of(name).help.partition(".")[0]
        assert f"{name} {' '.join(first.split())}." in listed
