"""What `complete` answers: to one text, or to every line of standard input."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gru_complete.cli.prompts import PromptLines, reading_progress
from gru_complete.cli.results import Result, on_one_line
from gru_complete.cli.states import refuse_to_overwrite, save_state
from gru_complete.errors import UsageError
from gru_complete.runtime.completer import Completer, PromptState
from gru_complete.runtime.draft import Completion
from gru_complete.runtime.options import MAX_BEAM, CompletionOptions, check_range

if TYPE_CHECKING:
    from gru_complete.cli.console import Console

MAX_COMPLETIONS = 10_000
MAX_WORDS = 1000


class Request:
    """What is asked for, besides the text; every value is checked when the request is made.

    Args:
        options: how completions are drawn, and where they end.
        number: how many of them, different ones.
        words: how many words to list instead; 0 for none.
        as_json: whether records are printed.
        echo: whether the text so far is printed before its completion.
        null: whether results end with NUL.

    Attributes:
        model: its name, for records.

    Raises:
        UsageError: a value is outside its range.
    """

    def __init__(
        self, options: CompletionOptions, number: int, words: int, as_json: bool, echo: bool, null: bool
    ) -> None:
        is_searched = options.beam > 0 or options.sampling.temperature == 0
        if is_searched and number > MAX_BEAM:
            how = "with --beam" if options.beam else "at temperature 0"
            hint = f"ask for {MAX_BEAM} at most, or draw them: --temperature 0.7 without --beam"
            raise UsageError(f"-n {number}: {how} completions are searched, {MAX_BEAM} at most", hint=hint)
        check_range("-n", number, 1, MAX_COMPLETIONS)
        check_range("--words", words, 0, MAX_WORDS)
        self.options = options
        self.number = number
        self.words = words
        self.as_json = as_json
        self.echo = echo
        self.null = null
        self.model = ""

    @property
    def may_be_empty(self) -> bool:
        """Whether there may be nothing to offer, which the exit code says."""
        return self.options.min_confidence is not None

    @property
    def end(self) -> bytes:
        """What ends a result."""
        return b"\0" if self.null else b"\n"

    def line(self, result: Result, prompt: bytes) -> bytes:
        """A result as it is printed where there may be several: on one line, unless it ends with NUL."""
        if self.as_json:
            return result.to_json()
        if self.words:
            return result.text + self.end
        text = prompt + result.text if self.echo else result.text
        return (text if self.null else on_one_line(text)) + self.end


def answer(
    console: "Console",
    completer: Completer,
    request: Request,
    before: PromptState | None,
    blocks: Iterable[bytes],
    *,
    state_out: Path | None,
    end: bytes,
) -> bool:
    """Print what may follow a text.

    Args:
        console: where to.
        completer: the model.
        request: what is asked for.
        before: what was read before the text.
        blocks: the text.
        state_out: a file to keep it in.
        end: printed after a single completion.

    Returns:
        Whether there was anything to offer.
    """
    if state_out is not None:
        refuse_to_overwrite(state_out)
    is_single = not (request.as_json or request.words or request.number > 1)
    echoes_at_once = is_single and request.echo and not request.may_be_empty
    kept: list[bytes] = []  # the text, if it has to be printed later
    if echoes_at_once:
        blocks = _tee(blocks, console.write)
    elif request.as_json or request.echo:
        blocks = _tee(blocks, kept.append)
    with reading_progress(console) as progress:
        prompt_state = completer.read(blocks, before, progress)
    if state_out is not None:
        save_state(state_out, prompt_state, completer, console if prompt_state.overlay is not None else None)
    prompt = b"".join(kept)
    if is_single:
        return _print_single(console, completer, prompt_state, request, prompt, end)
    has_text = False
    for result in results(completer, prompt_state, request, prompt, separator=request.end):
        if result.has_text:
            console.write(request.line(result, prompt))
            has_text = True
    return has_text or not request.may_be_empty


def answer_lines(console: "Console", completer: Completer, request: Request, before: PromptState | None) -> bool:
    """Print what may follow each line of standard input.

    Args:
        console: where to.
        completer: the model.
        request: what is asked for.
        before: what was read before each line.

    Returns:
        Whether there was anything to offer for any of them.
    """
    lines = PromptLines(request.end)
    has_text = False
    for prompt, result in _results_by_line(completer, request, before, lines):
        console.write(request.line(result, prompt))
        has_text = has_text or result.has_text
    return has_text or not request.may_be_empty


def _results_by_line(
    completer: Completer, request: Request, before: PromptState | None, lines: PromptLines
) -> Iterator[tuple[bytes, Result]]:
    from gru_complete.runtime.batch import complete_each

    if not (request.words or request.options.beam or request.may_be_empty or request.number > 1):
        for completion in complete_each(completer, lines.take, request.options, before):
            yield completion.prompt, Result.from_completion(completion, prompt=completion.prompt, model=request.model)
        return
    before = completer.read(b"", before)
    while (prompt := _next(lines)) is not None:
        prompt_state = completer.read(prompt, before)
        for result in results(completer, prompt_state, request, prompt, separator=b"\t"):
            yield prompt, result


def _next(lines: PromptLines) -> bytes | None:
    try:
        return lines.take(True)
    except EOFError:
        return None


def results(
    completer: Completer, prompt_state: PromptState, request: Request, prompt: bytes, *, separator: bytes
) -> Iterator[Result]:
    """What may follow a text that was read: all words in one result, or a result for each completion.

    Args:
        completer: the model.
        prompt_state: the text.
        request: what is asked for.
        prompt: the text again, for records.
        separator: between words.
    """
    if request.words:
        from gru_complete.runtime.words import likeliest_words

        found = likeliest_words(completer.hypotheses(prompt_state), request.words)
        likely = [word for word in found if word.probability >= (request.options.min_confidence or 0)]
        yield Result.from_words(likely, prompt=prompt, model=request.model, separator=separator)
        return
    for completion in _completions(completer, prompt_state, request):
        yield Result.from_completion(completion, prompt=prompt, model=request.model)


def _completions(completer: Completer, prompt_state: PromptState, request: Request) -> Iterator[Completion]:
    return completer.complete_many(prompt_state, request.options, request.number)


def _print_single(
    console: "Console", completer: Completer, prompt_state: PromptState, request: Request, prompt: bytes, end: bytes
) -> bool:
    """Print a completion as it is, piece by piece; returns whether there was any."""
    pieces: Iterable[bytes] = completer.stream(prompt_state, request.options)
    if request.options.beam:  # which is not known to be the likeliest before it is finished
        pieces = (completion.data for completion in _completions(completer, prompt_state, request))
    has_text = False
    try:
        for piece in pieces:
            if piece:
                console.write(piece if has_text else prompt + piece)
                has_text = True
    except KeyboardInterrupt:
        console.write(b"\n")
        raise
    if request.may_be_empty and not has_text:
        return False
    if end:
        console.write(end if has_text else prompt + end)
    return True


def _tee(blocks: Iterable[bytes], to: Callable[[bytes], object]) -> Iterator[bytes]:
    """The blocks, each after something was told of it."""
    for block in blocks:
        to(block)
        yield block
