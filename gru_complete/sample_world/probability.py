"""The exact probability of a text of the sample world."""

import heapq
import math
from collections.abc import Iterator

from gru_complete.errors import CorpusError
from gru_complete.sample_world.grammar import (
    ARTICLE_SEPARATOR,
    Bind,
    Call,
    Grammar,
    Recall,
    Say,
    Step,
    Word,
    watson_grammar,
)

# ----------------------------------------------------------------------------------------------------------- scoring

_Stack = tuple[Step, "_Stack"] | None
_State = tuple[Step | None, _Stack, tuple[int, ...]]


def _log2_add(a: float, b: float) -> float:
    high, low = (a, b) if a >= b else (b, a)
    return high + math.log2(1.0 + 2.0 ** (low - high)) if low > -math.inf else high


def _moves(state: _State, text: str, position: int) -> Iterator[tuple[int, _State, float]]:
    """Where one step may lead: new position (past the end: the step says more than the text has), state, log2 cost."""
    step, stack, rows = state
    if step is None:
        if stack is not None:
            yield position, (stack[0].next, stack[1], rows), 0.0
        return
    match step:
        case Say(text=said):
            if text.startswith(said, position) or said.startswith(text[position:]):
                yield position + len(said), (step.next, stack, rows), 0.0
        case Word(variable=variable):
            for length in step.lengths:
                found = step.log2s.get(text[position : position + length])
                if found is not None and position + length <= len(text):
                    known = rows if variable is None else (*rows[:variable], found[0], *rows[variable + 1 :])
                    yield position + length, (step.next, stack, known), found[1]
            if position + step.lengths[-1] > len(text):
                rest = text[position:]
                for said, (_, cost) in step.log2s.items():
                    if len(said) > len(rest) and said.startswith(rest):
                        yield position + len(said), state, cost
        case Call():
            back = stack if step.next is None else (step, stack)
            for branch, cost in zip(step.branches, step.log2s, strict=True):
                yield position, (branch, back, rows), cost
        case Bind(variable=variable):
            cost = -math.log2(step.num_rows - step.different)
            for row in range(step.num_rows):
                if not (step.different and row == rows[variable]):
                    yield position, (step.next, stack, (*rows[:variable], row, *rows[variable + 1 :])), cost
        case Recall(variable=variable):
            back = stack if step.next is None else (step, stack)
            yield position, (step.cells[rows[variable]], back, rows), 0.0


def _log2_article(article: str, grammar: Grammar, *, complete: bool) -> float:
    """log2 of the probability that an article is this text, or begins with it; -inf if it cannot be.

    Positions are visited from left to right, and mass always moves to the right or stays, so every derivation's mass
    arrives exactly once, however the derivations share their states.
    """
    frontier: dict[int, dict[_State, float]] = {0: {(grammar.start, None, (-1,) * grammar.num_variables): 0.0}}
    positions = [0]
    total = -math.inf
    while positions:
        position = heapq.heappop(positions)
        states = frontier[position]
        while states:
            state, mass = states.popitem()
            at_end = position == len(article)
            if (at_end and not complete) or (at_end and state[0] is None and state[1] is None):
                total = _log2_add(total, mass)
                continue
            for reached, follower, cost in _moves(state, article, position):
                if reached > len(article):
                    total = total if complete else _log2_add(total, mass + cost)
                    continue
                if reached not in frontier:
                    frontier[reached] = {}
                    heapq.heappush(positions, reached)
                there = frontier[reached]
                there[follower] = _log2_add(there[follower], mass + cost) if follower in there else mass + cost
        del frontier[position]
    return total


def log2_probability(text: str, *, grammar: Grammar | None = None) -> float:
    """Exact log2 P(text), summed over all derivations of its articles, given how many articles there are.

    Args:
        text: whole articles with blank lines between them; one newline at the very end does not matter.
        grammar: the world that the text comes from; Mr and Mrs Watson's if omitted.

    Returns:
        Bits, at most 0; -inf for a text that the grammar cannot write.
    """
    grammar = grammar or watson_grammar()
    articles = text.removesuffix("\n").split(ARTICLE_SEPARATOR)
    return sum(_log2_article(article, grammar, complete=True) for article in articles)


def log2_prefix_probability(text: str, *, grammar: Grammar | None = None) -> float:
    """Exact log2 of the probability that articles begin with ``text``, which may stop in the middle of a word.

    Args:
        text: whole articles but for the last one, which may be unfinished; blank lines between them.
        grammar: the world that the text comes from; Mr and Mrs Watson's if omitted.

    Returns:
        Bits, at most 0; -inf if nothing that the grammar writes begins so.
    """
    grammar = grammar or watson_grammar()
    *whole, last = text.split(ARTICLE_SEPARATOR)
    known = sum(_log2_article(article, grammar, complete=True) for article in whole)
    return known + _log2_article(last, grammar, complete=False)


def bits_per_byte(text: str, *, grammar: Grammar | None = None) -> float:
    """The exact bits per byte of a text of this world: what the best possible model pays for it.

    Raises:
        CorpusError: the text is empty, or the grammar cannot write one of its articles.
    """
    log2 = log2_probability(text, grammar=grammar)
    if log2 == -math.inf:
        raise CorpusError("the text has an article that the sample grammar cannot write")
    return -log2 / len(text.encode())
