"""Many prompts as one product."""
from __future__ import annotations
from collections.abc import Callable, Iterator
from dataclasses import replace
from gru_complete.runtime.completer import Completer, Completion, Context
from gru_complete.runtime.options import CompletionOptions
def forked(context: Context) -> Context:
    """A context whose overlay may go its own way."""
    return context._replace(overlay=None if context.overlay is None else context.overlay.fork())
def complete_each(completer: Completer, take: Callable[..., bytes | None], options: CompletionOptions, before: Context | None) -> Iterator[Completion]:
    before = completer.read(b"", before)
    try:
        while True:
            prompt = take(waits=True)
            assert prompt is not None
            yield replace(completer.complete(completer.read(prompt, forked(before)), options), prompt=prompt)
    except EOFError:
        return
