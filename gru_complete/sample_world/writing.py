"""Write random texts of the sample world: one derivation of the grammar for each article."""

import random
from bisect import bisect_right
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Mention:
    """A part of a written article, ``article[start:end]``, that recalls a variable.

    Args:
        start: its first character.
        end: the character after its last.
        variable: the variable.
        row: the variable's row at that point.
        recall: the step that wrote it.
    """

    start: int
    end: int
    variable: int
    row: int
    recall: Recall


@dataclass
class _Writer:
    """Follows one derivation.

    Only ``rng.random()`` is used: its values, unlike those of the other methods, are the same in every Python version.

    Attributes:
        rng: the source of randomness.
        rows: the row stored in each variable, -1 before it is bound.
        pieces: the text so far.
        num_chars: the length of that text.
        mentions: the parts of that text that recall a variable.
    """

    rng: random.Random
    rows: list[int]
    pieces: list[str] = field(default_factory=list)
    num_chars: int = 0
    mentions: list[Mention] = field(default_factory=list)

    def write(self, step: Step | None) -> None:
        """Follow a chain of steps to its end."""
        while step is not None:
            match step:
                case Say(text=text):
                    self._say(text)
                case Word():
                    row = self._draw(step.cumulative_weights)
                    self._say(step.texts[row])
                    if step.variable is not None:
                        self.rows[step.variable] = row
                case Call():
                    self.write(step.branches[self._draw(step.cumulative_weights)])
                case Bind(variable=variable):
                    row = int(self.rng.random() * (step.num_rows - step.different))
                    self.rows[variable] = row + (step.different and row >= self.rows[variable])
                case Recall(variable=variable):
                    start, row = self.num_chars, self.rows[variable]
                    self.write(step.cells[row])
                    self.mentions.append(Mention(start, self.num_chars, variable, row, step))
            step = step.next

    def _say(self, text: str) -> None:
        self.pieces.append(text)
        self.num_chars += len(text)

    def _draw(self, cumulative_weights: tuple[int, ...]) -> int:
        return bisect_right(cumulative_weights, int(self.rng.random() * cumulative_weights[-1]))


def write_article(grammar: Grammar, rng: random.Random) -> tuple[str, list[Mention]]:
    """Write one article; return it and the parts of it that recall a variable, in the order in which they end."""
    writer = _Writer(rng, [-1] * grammar.num_variables)
    writer.write(grammar.start)
    return "".join(writer.pieces), writer.mentions


def generate(num_bytes: int, *, seed: int, grammar: Grammar | None = None) -> str:
    """Write articles until the text has at least ``num_bytes`` bytes; it ends with a newline.

    Args:
        num_bytes: the minimum size, in UTF-8.
        seed: the same seed gives the same text on every platform and Python version.
        grammar: the world to write about; Mr and Mrs Watson's if omitted.
    """
    grammar = grammar or watson_grammar()
    rng = random.Random(seed)
    articles: list[str] = []
    num_written = 0
    while not articles or num_written < num_bytes:
        article, _ = write_article(grammar, rng)
        articles.append(article)
        num_written += len(article.encode()) + len(ARTICLE_SEPARATOR)
    return ARTICLE_SEPARATOR.join(articles) + "\n"
