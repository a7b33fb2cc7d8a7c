"""`complete`: the text so far comes in, its continuation goes out."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli.options import ModelOption
from gru_complete.errors import CorpusError, UsageError
from gru_complete.runtime.options import CompletionOptions, SamplingOptions

if TYPE_CHECKING:
    from gru_complete.cli.console import Console
    from gru_complete.runtime.completer import Completer, Completion

DEFAULTS = CompletionOptions()


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
    repetition_penalty: Annotated[
        float, typer.Option(help="Above 1: avoid what stands there already.", metavar="X")
    ] = DEFAULTS.sampling.repetition_penalty,
    adapt: Annotated[
        bool | None,
        typer.Option("--adapt/--no-adapt", help="Learn phrases from the text so far; default: if the model gains."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same text.", metavar="N")] = DEFAULTS.seed,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per completion.")] = False,
    echo: Annotated[bool, typer.Option("--echo", help="Print the text so far, too.")] = False,
    no_newline: Annotated[bool, typer.Option("--no-newline", help="No newline at the end.")] = False,
) -> None:
    """Continue PROMPT and print only the continuation."""
    # numpy's matrix library reads this once, at import. One thread starts quicker, is quicker on one row, and gives
    # the same bits on every machine.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    from gru_complete.model_dir import find_model
    from gru_complete.runtime.completer import Completer

    if not 1 <= number <= 10_000:
        raise UsageError(f"-n must be between 1 and 10000, not {number}")
    sampling = SamplingOptions(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty
    )
    stops = tuple(os.fsencode(text) for text in stop or ())
    options = CompletionOptions(max_tokens=max_tokens, until=until, stop=stops, sampling=sampling, seed=seed)
    console: Console = context.obj
    if sys.stdout is None:
        console.write(b"")  # says that it is closed, before any work
    path = find_model(model)
    text = read_text_so_far(prompt, file)
    completer = Completer.load(path, adapts=adapt)
    if adapt and completer.predictor.memory is None:
        raise UsageError("--adapt: this model has no counts to lay new ones over", hint="train without ngrams.order=0")
    if as_json:
        for completion in completer.complete_many(text, options, number):
            line = json.dumps(json_record(completion, model=path.name), ensure_ascii=False)
            console.write(line.encode("utf-8", "surrogateescape") + b"\n")
    elif number > 1:
        for completion in completer.complete_many(text, options, number):
            one_line = ((text if echo else b"") + completion.text).replace(b"\n", rb"\n")
            console.write(one_line + b"\n")
    else:
        _stream(console, completer, text, options, echo=echo, end=b"" if no_newline else b"\n")


def _stream(
    console: "Console", completer: "Completer", text: bytes, options: CompletionOptions, *, echo: bool, end: bytes
) -> None:
    if echo:
        console.write(text)
    try:
        for piece in completer.stream(text, options):
            console.write(piece)
    except KeyboardInterrupt:
        console.write(b"\n")
        raise
    if end:
        console.write(end)


def read_text_so_far(prompt: str | None, file: Path | None) -> bytes:
    """What is to be continued: the file's text, then PROMPT or standard input less one final newline.

    Raises:
        CorpusError: the file cannot be read.
        UsageError: there is nothing to continue, and a terminal is no prompt.
    """
    before = b""
    if file is not None:
        try:
            before = file.read_bytes()
        except OSError as error:
            raise CorpusError(f"cannot read {str(file)!r}: {str(error.strerror).lower()}") from None
    if prompt is not None and prompt != "-":
        return before + os.fsencode(prompt)
    if prompt is None and file is not None:
        return before
    if sys.stdin is None or (prompt is None and sys.stdin.isatty()):
        raise UsageError("no text to continue", hint='give it as in: gru-complete complete "Mr Watson goes"')
    return before + sys.stdin.buffer.read().removesuffix(b"\n")


def json_record(completion: "Completion", *, model: str) -> dict[str, Any]:
    """What ``--json`` prints of a completion; keys are only ever added."""
    return {
        "prompt": completion.prompt.decode("utf-8", "replace"),
        "text": completion.text.decode("utf-8"),
        "tokens": completion.tokens,
        "logprob": completion.logprob,
        "bytes": len(completion.text),
        "stop_reason": completion.stop_reason,
        "seed": completion.seed,
        "model": model,
    }
