"""The exact probability of a text of the sample world: a lower bound, on average, for the bits of any model.

The probability of an article is the sum over all derivations that write it. The forward algorithm computes it from left
to right. Let F(p, q) be the total probability of all beginnings of derivations that have written the first p characters
of the article and are in state q, that is: the next step, the stack of calls to return to, and the rows stored in the
variables. Then::

    F(0, start) = 1
    F(p', q') = sum over all moves (p, q) -> (p', q') of F(p, q) * P(move)
    P(article) = F(length of the article, finished)

A move follows one step of the grammar, if the step writes exactly the characters from p to p'. Equal states are merged,
so a part that can be derived in many ways is read once. The probability that an article *begins* with a text is the sum
of F over all states in which the text is first written completely.
"""

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

_Stack = tuple[Step, "_Stack"] | None
_State = tuple[Step | None, _Stack, tuple[int, ...]]


def _log2_add(a: float, b: float) -> float:
    """Return log2 (2**a + 2**b)."""
    high, low = (a, b) if a >= b else (b, a)
    return high + math.log2(1.0 + 2.0 ** (low - high)) if low > -math.inf else high


def _moves(state: _State, text: str, position: int) -> Iterator[tuple[int, _State, float]]:
    """Follow one step in all ways that agree with the text.

    Args:
        state: q, with at least one step to go.
        text: the article, or its beginning.
        position: p.

    Yields:
        p', q' and log2 P(move). If p' is past the end, the step writes more than the text has, and q' is not used.
    """
    step, stack, rows = state
    if step is None:
        if stack is not None:
            yield position, (stack[0].next, stack[1], rows), 0.0
        return
    match step:
        case Say(text=said):
            if text.startswith(said, position) or said.startswith(text[position:]):
                yield position + len(said), (step.next, stack, rows), 0.0
        case Word():
            yield from _word_moves(step, state, text, position)
        case Call():
            back = stack if step.next is None else (step, stack)
            for branch, log2 in zip(step.branches, step.log2s, strict=True):
                yield position, (branch, back, rows), log2
        case Bind(variable=variable):
            log2 = -math.log2(step.num_rows - step.different)
            for row in range(step.num_rows):
                if not (step.different and row == rows[variable]):
                    yield position, (step.next, stack, (*rows[:variable], row, *rows[variable + 1 :])), log2
        case Recall(variable=variable):
            back = stack if step.next is None else (step, stack)
            yield position, (step.cells[rows[variable]], back, rows), 0.0


def _word_moves(step: Word, state: _State, text: str, position: int) -> Iterator[tuple[int, _State, float]]:
    """The moves of ``_moves`` for a word: each word of the list that the text has here, or ends in the middle of.

    Args:
        step: the step of the state.
        state: q.
        text: the article, or its beginning.
        position: p.
    """
    _, stack, rows = state
    variable = step.variable
    for length in step.lengths:
        entry = step.log2s.get(text[position : position + length])
        if entry is not None and position + length <= len(text):
            row, log2 = entry
            new_rows = rows if variable is None else (*rows[:variable], row, *rows[variable + 1 :])
            yield position + length, (step.next, stack, new_rows), log2
    if position + step.lengths[-1] > len(text):
        rest = text[position:]
        for said, (_, log2) in step.log2s.items():
            if len(said) > len(rest) and said.startswith(rest):
                yield position + len(said), state, log2


def _log2_article(article: str, grammar: Grammar, *, complete: bool) -> float:
    """The log2 of the probability that an article is this text or, unless ``complete``, begins with it.

    Positions are visited from left to right, and every move leads to the right or stays. So all mass of a position has
    arrived before the next position is visited, and every derivation is counted exactly once.

    Returns:
        At most 0; -inf if no derivation agrees with the text.
    """
    forward: dict[int, dict[_State, float]] = {0: {(grammar.start, None, (-1,) * grammar.num_variables): 0.0}}
    positions = [0]
    total = -math.inf
    while positions:
        position = heapq.heappop(positions)
        states = forward[position]
        while states:
            state, mass = states.popitem()
            is_finished = state[0] is None and state[1] is None
            if position == len(article) and (is_finished or not complete):
                total = _log2_add(total, mass)
                continue
            for next_position, next_state, log2 in _moves(state, article, position):
                if next_position > len(article):
                    total = total if complete else _log2_add(total, mass + log2)
                    continue
                if next_position not in forward:
                    forward[next_position] = {}
                    heapq.heappush(positions, next_position)
                _add_mass(forward[next_position], next_state, mass + log2)
        del forward[position]
    return total


def _add_mass(states: dict[_State, float], state: _State, mass: float) -> None:
    states[state] = _log2_add(states[state], mass) if state in states else mass


def log2_probability(text: str, *, grammar: Grammar | None = None) -> float:
    """The exact log2 probability of a text, given its number of articles.

    Args:
        text: whole articles with blank lines between them; a newline at the very end does not matter.
        grammar: the world that the text is about; Mr and Mrs Watson's if omitted.

    Returns:
        At most 0; -inf for a text that the grammar cannot write.
    """
    grammar = grammar or watson_grammar()
    articles = text.removesuffix("\n").split(ARTICLE_SEPARATOR)
    return sum(_log2_article(article, grammar, complete=True) for article in articles)


def log2_prefix_probability(text: str, *, grammar: Grammar | None = None) -> float:
    """The exact log2 of the probability that a text begins with ``text``, which may end in the middle of a word.

    Args:
        text: articles with blank lines between them; the last one may be unfinished.
        grammar: the world that the text is about; Mr and Mrs Watson's if omitted.

    Returns:
        At most 0; -inf if the grammar can write no text that begins like this.
    """
    grammar = grammar or watson_grammar()
    *whole, last = text.split(ARTICLE_SEPARATOR)
    log2_whole = sum(_log2_article(article, grammar, complete=True) for article in whole)
    return log2_whole + _log2_article(last, grammar, complete=False)


def bits_per_byte(text: str, *, grammar: Grammar | None = None) -> float:
    """The exact bits per byte of a text of this world: what the best possible model needs for it.

    Raises:
        CorpusError: the text is empty, or the grammar cannot write one of its articles.
    """
    log2 = log2_probability(text, grammar=grammar)
    if log2 == -math.inf:
        raise CorpusError("the text has an article that the sample grammar cannot write")
    return -log2 / len(text.encode())
