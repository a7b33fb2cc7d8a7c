"""What `complete` answers: to one text, or to every line of standard input."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from gru_complete.cli.prompts import PromptLines, reading_progress, tee
from gru_complete.cli.results import Result, on_one_line
from gru_complete.cli.states import refuse_to_overwrite, save_state
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.prompt_state import PromptState
from gru_complete.text.prompts import PromptSource, read_prompt, read_whole_prompt

if TYPE_CHECKING:
    from gru_complete.cli.console import Console


class Request:
    """What is requested, besides the text. ``check_numbers`` has checked it.

    Args:
        options: how completions are drawn, and where they end.
        number: how many different completions.
        words: how many words to list instead; 0 for none.
        as_json: whether to print records.
        echo: whether to print the text so far before its completion.
        null: whether results end with NUL instead of a newline.
        model: the name of the model, for records.
    """

    def __init__(
        self, options: CompletionOptions, number: int, words: int, as_json: bool, echo: bool, null: bool, model: str
    ) -> None:
        self.options = options
        self.number = number
        self.words = words
        self.as_json = as_json
        self.echo = echo
        self.null = null
        self.model = model

    @property
    def is_suggestion(self) -> bool:
        """Whether the text printed may be empty, which the exit code then says."""
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
    sources: Iterable[PromptSource],
    *,
    state_out: Path | None,
    end: bytes,
) -> bool:
    """Print what may follow a text.

    Args:
        console: where to print.
        completer: the model.
        request: what is requested.
        before: where the text before it ended.
        sources: the text.
        state_out: a file to save its state in.
        end: printed after a single completion.

    Returns:
        Whether there was anything to print; without ``min_confidence`` always True.

    Raises:
        CorpusError: the text cannot be read, or is not text.
        UsageError: ``state_out`` is a file of another kind.
        EnvironmentFailure: the state cannot be written.
        ModelError: the model's scores are not finite.
    """
    if state_out is not None:
        refuse_to_overwrite(state_out)
    is_single = not (request.as_json or request.words or request.number > 1)
    kept: list[bytes] = []  # the text, if it has to be printed later
    if is_single and request.echo and not request.is_suggestion:
        sources = _tee(sources, console.write)
    elif request.as_json or request.echo:
        sources = _tee(sources, kept.append)
    with reading_progress(console) as progress:
        prompt_state = read_text(completer, sources, before, progress)
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
    return has_text or not request.is_suggestion


def answer_lines(console: "Console", completer: Completer, request: Request, before: PromptState | None) -> bool:
    """Print what may follow each line of standard input.

    Args:
        console: where to print.
        completer: the model.
        request: what is requested.
        before: where the text before each line ended.

    Returns:
        Whether there was anything to print for any of them; without ``min_confidence`` always True.

    Raises:
        CorpusError: standard input cannot be read, or a line is too long.
        ModelError: the model's scores are not finite.
    """
    lines = PromptLines(request.end)
    has_text = False
    for prompt, result in _results_by_line(completer, request, before, lines):
        console.write(request.line(result, prompt))
        has_text = has_text or result.has_text
    return has_text or not request.is_suggestion


def _results_by_line(
    completer: Completer, request: Request, before: PromptState | None, lines: PromptLines
) -> Iterator[tuple[bytes, Result]]:
    """Each line with its results: drawn side by side where possible, else line after line."""
    before = completer.read(b"", before)
    given: deque[bytes] = deque()  # the lines being completed, as they were given
    numbers = count(1)

    def take(waits: bool) -> bytes | None:
        line = lines.take(waits)
        if line is None:
            return None
        given.append(line)
        what = f"prompt {next(numbers):,} of standard input"
        return read_whole_prompt(line, completer.normal_form, what=what, unfinished=before.pending)

    if not (request.words or request.options.beam or request.is_suggestion or request.number > 1):
        from gru_complete.runtime.batch import complete_each

        for completion in complete_each(completer, take, request.options, before):
            prompt = given.popleft()
            yield prompt, Result.from_completion(completion, prompt=prompt, model=request.model)
        return
    with suppress(EOFError):
        while (text := take(True)) is not None:
            prompt = given.popleft()
            for result in results(completer, completer.read(text, before), request, prompt, separator=b"\t"):
                yield prompt, result


def read_text(
    completer: Completer,
    sources: Iterable[PromptSource],
    before: PromptState | None,
    progress: Callable[[int], None] | None = None,
) -> PromptState:
    """Read a text from its sources in constant memory, as the model has learnt text.

    Args:
        completer: the model.
        sources: the text.
        before: where the text before it ended.
        progress: called after each block with the number of bytes read so far.

    Raises:
        CorpusError: a source cannot be read, or is not text.
    """
    unfinished = b"" if before is None else before.pending
    return completer.read(read_prompt(sources, completer.normal_form, unfinished=unfinished), before, progress)


def results(
    completer: Completer, prompt_state: PromptState, request: Request, prompt: bytes, *, separator: bytes
) -> Iterator[Result]:
    """Yield what may follow a text that was read: all words in one result, or a result for each completion.

    Args:
        completer: the model.
        prompt_state: the text.
        request: what is requested.
        prompt: the text again, for records.
        separator: between words.

    Raises:
        ModelError: the model's scores are not finite.
    """
    if request.words:
        from gru_complete.runtime.words import most_likely_words

        words = most_likely_words(completer.hypotheses(prompt_state), request.words)
        words = [word for word in words if word.probability >= (request.options.min_confidence or 0)]
        yield Result.from_words(words, prompt=prompt, model=request.model, separator=separator)
        return
    for completion in completer.complete_many(prompt_state, request.options, request.number):
        yield Result.from_completion(completion, prompt=prompt, model=request.model)


def _print_single(
    console: "Console", completer: Completer, prompt_state: PromptState, request: Request, prompt: bytes, end: bytes
) -> bool:
    """Print one completion as it is, piece by piece; return False if a suggestion is empty."""
    has_text = False
    try:
        for piece in _pieces(completer, prompt_state, request.options):
            if piece:
                console.write(piece if has_text else prompt + piece)
                has_text = True
    except KeyboardInterrupt:
        console.write(b"\n")
        raise
    if request.is_suggestion and not has_text:
        return False
    if end:
        console.write(end if has_text else prompt + end)
    return True


def _pieces(completer: Completer, prompt_state: PromptState, options: CompletionOptions) -> Iterable[bytes]:
    """One completion in pieces. Beam search yields a single piece, since it knows its result only at the end."""
    if options.beam:
        return (completion.data for completion in completer.complete_many(prompt_state, options, 1))
    return completer.stream(prompt_state, options)


def _tee(sources: Iterable[PromptSource], to: Callable[[bytes], object]) -> Iterator[PromptSource]:
    """The sources, each block after ``to`` was called with it."""
    for source in sources:
        yield source._replace(blocks=tee(source.blocks, to))
