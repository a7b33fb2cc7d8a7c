"""`complete`: the text so far comes in, its continuation goes out."""

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gru_complete.cli.loading import load_completer, use_one_thread
from gru_complete.cli.options import ModelOption
from gru_complete.cli.prompts import STDIN, file_blocks, reading_progress, text_blocks, text_to_edit
from gru_complete.errors import UsageError
from gru_complete.runtime.options import CompletionOptions, SamplingOptions

if TYPE_CHECKING:
    from gru_complete.cli.console import Console

DEFAULTS = CompletionOptions()

_DRAWING = ("temperature", "top_k", "top_p", "min_p", "typical", "repetition_penalty", "seed")
_WRITING = ("max_tokens", "until", "stop", "no_repeat")
# What an option does not go with: it would have no effect, or nobody could tell what is meant.
_NOT_WITH = {
    "words": ("number", "beam", "logprobs", "echo", "no_newline", *_WRITING, *_DRAWING),
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


def complete(
    context: typer.Context,
    prompt: Annotated[
        str | None,
        typer.Argument(help="Text to continue; '-', or nothing where input is piped in, reads standard input."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Text that comes before PROMPT, from a file.", metavar="FILE")
    ] = None,
    model: ModelOption = None,
    number: Annotated[int, typer.Option("-n", help="How many completions, one per line.", metavar="N")] = 1,
    max_tokens: Annotated[int, typer.Option(help="The most tokens to write.", metavar="N")] = DEFAULTS.max_tokens,
    until: Annotated[
        str, typer.Option(help="Where to end: word, line, sentence, paragraph or none.", metavar="WHAT")
    ] = DEFAULTS.until,
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text; may be given several times.", metavar="TEXT")
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="0: always the likeliest; 1: as the model believes.", metavar="T")
    ] = DEFAULTS.sampling.temperature,
    top_k: Annotated[
        int, typer.Option(help="Draw among the K likeliest tokens; 0: all.", metavar="K")
    ] = DEFAULTS.sampling.top_k,
    top_p: Annotated[
        float, typer.Option(help="Draw among the likeliest that together have P.", metavar="P")
    ] = DEFAULTS.sampling.top_p,
    min_p: Annotated[
        float, typer.Option(help="Leave out what has less than P times the likeliest.", metavar="P")
    ] = DEFAULTS.sampling.min_p,
    typical: Annotated[
        float, typer.Option(help="Draw among the most typical that together have P.", metavar="P")
    ] = DEFAULTS.sampling.typical,
    repetition_penalty: Annotated[
        float, typer.Option(help="Above 1: avoid what stands there already.", metavar="X")
    ] = DEFAULTS.sampling.repetition_penalty,
    no_repeat: Annotated[
        int | None,
        typer.Option(
            help="No N words in a row come twice; 0: they may. Default: 3 with a beam or at temperature 0, else 0.",
            metavar="N",
        ),
    ] = None,
    novel: Annotated[
        int, typer.Option(help="Write no N words in a row that stand so in the text it learnt from.", metavar="N")
    ] = 0,
    beam: Annotated[
        int, typer.Option(help="Search the likeliest text, N at a time, instead of drawing.", metavar="N")
    ] = 0,
    min_confidence: Annotated[
        float | None,
        typer.Option(help="Only what has this probability; exit code 1 if nothing has.", metavar="P"),
    ] = None,
    words: Annotated[
        int, typer.Option(help="List the K likeliest whole words that come next, with probabilities.", metavar="K")
    ] = 0,
    adapt: Annotated[
        bool | None,
        typer.Option("--adapt/--no-adapt", help="Learn phrases from the text so far; default: if the model gains."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same text.", metavar="N")] = DEFAULTS.seed,
    logprobs: Annotated[
        int, typer.Option(help="With --json: of each token, and of the K likeliest in its place.", metavar="K")
    ] = 0,
    lines: Annotated[bool, typer.Option("--lines", help="Complete every line of standard input on its own.")] = False,
    null: Annotated[
        bool, typer.Option("-0", "--null", help="As --lines, with NUL instead of newlines; nothing is escaped.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per completion.")] = False,
    echo: Annotated[bool, typer.Option("--echo", help="Print the text so far, too.")] = False,
    no_newline: Annotated[bool, typer.Option("--no-newline", help="No newline at the end.")] = False,
    state_in: Annotated[
        Path | None, typer.Option(help="Go on from a text that was read before.", metavar="STATE")
    ] = None,
    state_out: Annotated[Path | None, typer.Option(help="Keep what was read, for --state-in.", metavar="STATE")] = None,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Type, and see at each key what may follow.")
    ] = False,
) -> None:
    """Continue PROMPT and print only the continuation."""
    use_one_thread()
    gc.disable()  # nothing that is loaded becomes rubbish
    from gru_complete.cli.answers import Request, answer, answer_lines
    from gru_complete.cli.states import load_state
    from gru_complete.model.home import find_model

    gc.enable()
    _check_option_conflicts(context)
    reads_lines = lines or (null and prompt in (None, STDIN))
    if reads_lines and (prompt not in (None, STDIN) or state_out is not None):
        other = "--state-out" if state_out is not None else "PROMPT"
        raise UsageError(f"every line of standard input is completed on its own; {other} does not go with that")
    if reads_lines and number > 1 and not as_json:
        raise UsageError("-n with --lines needs --json, which says what belongs to which line")
    if logprobs and not as_json:
        raise UsageError("--logprobs needs --json")
    sampling = SamplingOptions(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        typical=typical,
        repetition_penalty=repetition_penalty,
    )
    options = CompletionOptions(
        max_tokens=max_tokens,
        until=until,
        stop=tuple(os.fsencode(text) for text in stop or ()),
        sampling=sampling,
        seed=seed,
        beam=beam,
        no_repeat=no_repeat,
        min_confidence=min_confidence,
        logprobs=logprobs,
        novel=novel,
    )
    request = Request(options, number, words, as_json, echo, null)
    console: Console = context.obj
    console.check_output()  # before any work
    path = find_model(model)
    request.model = path.name
    completer = load_completer(path, adapt)
    if novel:
        from gru_complete.model.corpus_words import corpus_words

        completer.corpus = corpus_words(path, completer.tokenizer)
    before = None if state_in is None else load_state(state_in, completer, adapt)
    if file is not None and (reads_lines or interactive):
        with reading_progress(console) as progress:
            before = completer.read(file_blocks(file), before, progress)
    if interactive:
        from gru_complete.cli.interactive import run

        text = text_to_edit(prompt, file)
        raise typer.Exit(run(completer, text, options, console, before=before, end=b"" if no_newline else b"\n"))
    if reads_lines:
        has_offer = answer_lines(console, completer, request, before)
    else:
        blocks = text_blocks(prompt, file, drops_newline=state_out is None)
        end = b"" if no_newline else request.end
        has_offer = answer(console, completer, request, before, blocks, state_out=state_out, end=end)
    if not has_offer:
        raise typer.Exit(1)


def _check_option_conflicts(context: typer.Context) -> None:
    flags = {str(parameter.name): max(parameter.opts, key=len) for parameter in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in flags}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    for name in given:
        for other in _NOT_WITH.get(name, ()):
            if other in given:
                raise UsageError(f"{flags[name]} and {flags[other]} do not go together")
