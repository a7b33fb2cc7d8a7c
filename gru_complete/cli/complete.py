"""`complete`: the text so far comes in, its continuation goes out."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gru_complete.cli.checks import check_numbers
from gru_complete.cli.help import COMMON, LONG_TEXTS
from gru_complete.cli.loading import choose_model, load_completer, no_garbage_collection, start_reading, use_one_thread
from gru_complete.cli.options import (
    LearnFromPromptOption,
    ModelOption,
    OldLearnFromPromptOption,
    StateInOption,
)
from gru_complete.cli.prompts import STDIN, file_source, reading_progress, text_sources, text_to_edit
from gru_complete.errors import UsageError, shell_word
from gru_complete.runtime.options import CompletionOptions, SamplingOptions

if TYPE_CHECKING:
    from gru_complete.cli.console import Console

DEFAULTS = CompletionOptions()

# Options with the names of the fields that they set.
_SAMPLING_FIELDS = ("temperature", "top_k", "top_p", "min_p", "typical", "repetition_penalty")
_COMPLETION_FIELDS = ("max_tokens", "until", "seed", "beam", "no_repeat", "min_confidence", "logprobs", "novel")

_DRAWING = (*_SAMPLING_FIELDS, "seed")
_CONFLICTS = {
    "words": (
        "number",
        "beam",
        "logprobs",
        "echo",
        "no_newline",
        "max_tokens",
        "until",
        "stop",
        "no_repeat",
        *_DRAWING,
    ),
    "novel": ("words", "min_confidence", "interactive"),
    "beam": ("min_confidence", "logprobs", *_DRAWING),
    "min_confidence": ("number", "logprobs", "no_repeat", *_DRAWING),
    "lines": ("state_out", "no_newline"),
    "null": ("no_newline",),
    "interactive": (
        *("number", "words", "beam", "min_confidence", "logprobs", "as_json", "echo", "lines", "null", "state_out"),
        *_DRAWING,
    ),
}
"""Options that cannot be combined with an option: they would have no effect, or the meaning would be unclear."""

# The headings of the options.
_LENGTH, _SAMPLING, _MOST_LIKELY = "Length", "Sampling", "The most likely text, instead of sampling"
_REPEATING, _PIPELINES = "Repeating", "Pipelines"

EXAMPLES = {
    COMMON: ['gru-complete complete "Dear Ms" --until paragraph', 'gru-complete complete "Dear M" --words 5'],
    _LENGTH: ['gru-complete complete "Dear Ms" --until none --max-tokens 200 --stop "Yours"'],
    _SAMPLING: ['gru-complete complete "Dear Ms" -n 3 --temperature 1 --seed 7'],
    _MOST_LIKELY: ['gru-complete complete "git com" --min-confidence 0.5'],
    _REPEATING: ['gru-complete complete "Dear Ms" --no-repeat 4 --novel 6'],
    _PIPELINES: ["gru-complete complete --lines --json < prompts.txt"],
    LONG_TEXTS: ['gru-complete complete "She" -f novel.txt --state-out novel.state'],
}
"""By the heading of the options that they show."""


def complete(
    context: typer.Context,
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="Text to continue; '-' (the default if input is piped in) reads standard input.", metavar="[PROMPT]"
        ),
    ] = None,
    model: ModelOption = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="File with text that comes before PROMPT.", metavar="FILE")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="Where to stop: word, line, sentence, paragraph or none. Default: line for a model of a text of "
            "lines (a list, a log, a shell history), else sentence.",
            metavar="WHAT",
        ),
    ] = DEFAULTS.until,
    number: Annotated[int, typer.Option("-n", help="Number of completions, one per line.", metavar="N")] = 1,
    words: Annotated[
        int, typer.Option(help="The K most likely next words, with their probabilities.", metavar="K")
    ] = 0,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Edit the text, with suggestions as you type.")
    ] = False,
    max_tokens: Annotated[
        int, typer.Option(help="Maximum number of tokens to generate.", metavar="N", rich_help_panel=_LENGTH)
    ] = DEFAULTS.max_tokens,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            help="Stop before this text; repeatable. A newline is $'\\n'.", metavar="TEXT", rich_help_panel=_LENGTH
        ),
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            help="Print the most likely text while its probability is at least P; exit code 1 if it is empty.",
            metavar="P",
            rich_help_panel=_MOST_LIKELY,
        ),
    ] = None,
    beam: Annotated[
        int,
        typer.Option(
            help="Beam search with N hypotheses, instead of sampling.", metavar="N", rich_help_panel=_MOST_LIKELY
        ),
    ] = DEFAULTS.beam,
    temperature: Annotated[
        float,
        typer.Option(
            help="Sampling temperature; 0 always takes the most likely token.", metavar="T", rich_help_panel=_SAMPLING
        ),
    ] = DEFAULTS.sampling.temperature,
    seed: Annotated[
        int,
        typer.Option(help="Random seed; the same seed gives the same text.", metavar="N", rich_help_panel=_SAMPLING),
    ] = DEFAULTS.seed,
    top_k: Annotated[
        int,
        typer.Option(
            help="Top-k sampling: keep the K most likely tokens; 0 keeps all.", metavar="K", rich_help_panel=_SAMPLING
        ),
    ] = DEFAULTS.sampling.top_k,
    top_p: Annotated[
        float,
        typer.Option(
            help="Nucleus (top-p) sampling: keep the most likely tokens that together have probability P.",
            metavar="P",
            rich_help_panel=_SAMPLING,
        ),
    ] = DEFAULTS.sampling.top_p,
    min_p: Annotated[
        float,
        typer.Option(
            help="Min-p sampling: drop tokens less than P times as likely as the most likely.",
            metavar="P",
            rich_help_panel=_SAMPLING,
        ),
    ] = DEFAULTS.sampling.min_p,
    typical: Annotated[
        float,
        typer.Option(
            help="Locally typical sampling: keep the most typical tokens that together have probability P.",
            metavar="P",
            rich_help_panel=_SAMPLING,
        ),
    ] = DEFAULTS.sampling.typical,
    repetition_penalty: Annotated[
        float,
        typer.Option(
            help="Penalise tokens that occurred already, if above 1.", metavar="X", rich_help_panel=_REPEATING
        ),
    ] = DEFAULTS.sampling.repetition_penalty,
    no_repeat: Annotated[
        int | None,
        typer.Option(
            help="Never repeat N consecutive words; 0 allows it. Default: 3 with --beam or at temperature 0, else 0.",
            metavar="N",
            rich_help_panel=_REPEATING,
        ),
    ] = None,
    novel: Annotated[
        int,
        typer.Option(
            help="Never reproduce N or more consecutive words of the training text; 0 allows it.",
            metavar="N",
            rich_help_panel=_REPEATING,
        ),
    ] = DEFAULTS.novel,
    lines: Annotated[
        bool,
        typer.Option("--lines", help="Complete each line of standard input separately.", rich_help_panel=_PIPELINES),
    ] = False,
    null: Annotated[
        bool,
        typer.Option(
            "-0",
            "--null",
            help="Like --lines, but separated by NUL instead of newlines; nothing is escaped.",
            rich_help_panel=_PIPELINES,
        ),
    ] = False,
    echo: Annotated[
        bool,
        typer.Option("--echo", help="Print the text so far before its continuation.", rich_help_panel=_PIPELINES),
    ] = False,
    no_newline: Annotated[
        bool, typer.Option("--no-newline", help="Omit the final newline.", rich_help_panel=_PIPELINES)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per completion.", rich_help_panel=_PIPELINES)
    ] = False,
    logprobs: Annotated[
        int,
        typer.Option(
            help="With --json: log probabilities of each token and of its K most likely alternatives.",
            metavar="K",
            rich_help_panel=_PIPELINES,
        ),
    ] = DEFAULTS.logprobs,
    learn_from_prompt: LearnFromPromptOption = None,
    state_in: StateInOption = None,
    state_out: Annotated[
        Path | None,
        typer.Option(
            help="Save the state after reading the text, for --state-in.", metavar="STATE", rich_help_panel=LONG_TEXTS
        ),
    ] = None,
    adapt: OldLearnFromPromptOption = None,
) -> None:
    """Continue PROMPT and print only the continuation."""
    _check_conflicts(context)
    reads_lines = lines or (null and prompt in (None, STDIN))
    if reads_lines:
        _check_lines(context)
    if logprobs and not as_json:
        raise UsageError("--logprobs needs --json")
    options = _options(context)
    check_numbers(options, number, words)
    console: Console = context.obj
    console.check_output()  # before any work
    _note_backslashes(console, stop or [])
    use_one_thread()
    path = choose_model(console, model)
    learns = adapt if learn_from_prompt is None else learn_from_prompt
    with no_garbage_collection():
        files = start_reading(path)
        from gru_complete.cli.answers import Request, answer, answer_lines, read_text
        from gru_complete.cli.states import load_state

        completer = load_completer(path, learns=learns, is_novel=novel > 0, files=files)
    request = Request(options, number, words, as_json, echo, null, path.name)
    before = None if state_in is None else load_state(state_in, completer, learns)
    if file is not None and (reads_lines or interactive):
        with reading_progress(console) as progress:
            before = read_text(completer, [file_source(file)], before, progress)
    end = b"" if no_newline else request.end
    drops_newline = until != "line"  # whoever asks for a line asks for the one after it
    if interactive:
        from gru_complete.cli.interactive import run

        text = text_to_edit(prompt, file, drops_newline=drops_newline)
        raise typer.Exit(run(completer, text, options, console, before=before, end=end))
    if reads_lines:
        has_text = answer_lines(console, completer, request, before)
    else:
        sources = text_sources(prompt, file, drops_newline=drops_newline and state_out is None)
        has_text = answer(console, completer, request, before, sources, state_out=state_out, end=end)
    if not has_text:
        raise typer.Exit(1)


def _note_backslashes(console: "Console", stops: list[str]) -> None:
    r"""Say of stop strings with ``\n`` in them, which shells pass on as it is, that this is no newline."""
    for stop in stops:
        if r"\n" in stop:
            console.note(rf"note: --stop {shell_word(stop)} has a backslash and an n in it; a newline is $'\n'")


def _options(context: typer.Context) -> CompletionOptions:
    """How to complete, from the options of the command line.

    Raises:
        UsageError: a value is outside its range.
    """
    given = context.params
    sampling = SamplingOptions(**{name: given[name] for name in _SAMPLING_FIELDS})
    stop = tuple(os.fsencode(text) for text in given["stop"] or ())
    return CompletionOptions(sampling=sampling, stop=stop, **{name: given[name] for name in _COMPLETION_FIELDS})


def _check_conflicts(context: typer.Context) -> None:
    """Refuse options that cannot be combined.

    Raises:
        UsageError: names two of them.
    """
    flags = {str(parameter.name): max(parameter.opts, key=len) for parameter in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in flags}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    for name in given:
        for other in _CONFLICTS.get(name, ()):
            if other in given:
                raise UsageError(f"{flags[name]} and {flags[other]} cannot be combined")


def _check_lines(context: typer.Context) -> None:
    """Refuse what has no meaning for each line of standard input.

    Raises:
        UsageError: says what, and why.
    """
    given = context.params
    has_prompt = given["prompt"] not in (None, STDIN)
    if has_prompt or given["state_out"] is not None:
        other = "--state-out" if given["state_out"] is not None else "PROMPT"
        raise UsageError(f"{other} cannot be combined with --lines, which completes each line of standard input")
    if given["number"] > 1 and not given["as_json"]:
        raise UsageError("-n with --lines needs --json, which tells the completions of one line from those of another")
