"""Drawing texts of the sample world."""

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

# ----------------------------------------------------------------------------------------------------------- writing


@dataclass(frozen=True)
class _Mention:
    """A stretch of written text that depends on a variable: ``text[start:end]`` is its row's cell."""

    start: int
    end: int
    variable: int
    row: int
    recall: Recall


@dataclass
class _Writer:
    """Follows one derivation. Only ``random()`` is drawn from: its values are the same in every Python."""

    rng: random.Random
    rows: list[int]
    pieces: list[str] = field(default_factory=list)
    num_chars: int = 0
    mentions: list[_Mention] = field(default_factory=list)

    def write(self, step: Step | None) -> None:
        while step is not None:
            match step:
                case Say(text=text):
                    self._say(text)
                case Word():
                    row = self._draw(step.ends)
                    self._say(step.texts[row])
                    if step.variable is not None:
                        self.rows[step.variable] = row
                case Call():
                    self.write(step.branches[self._draw(step.ends)])
                case Bind(variable=variable):
                    row = int(self.rng.random() * (step.num_rows - step.different))
                    self.rows[variable] = row + (step.different and row >= self.rows[variable])
                case Recall(variable=variable):
                    start, row = self.num_chars, self.rows[variable]
                    self.write(step.cells[row])
                    self.mentions.append(_Mention(start, self.num_chars, variable, row, step))
            step = step.next

    def _say(self, text: str) -> None:
        self.pieces.append(text)
        self.num_chars += len(text)

    def _draw(self, ends: tuple[int, ...]) -> int:
        return bisect_right(ends, int(self.rng.random() * ends[-1]))


def _write_article(grammar: Grammar, rng: random.Random) -> tuple[str, list[_Mention]]:
    writer = _Writer(rng, [-1] * grammar.num_variables)
    writer.write(grammar.start)
    return "".join(writer.pieces), writer.mentions


def generate(num_bytes: int, *, seed: int, grammar: Grammar | None = None) -> str:
    """Write articles until there are at least ``num_bytes`` bytes of them; the text ends in a newline.

    The same arguments give the same text on every platform and Python version.
    """
    grammar = grammar or watson_grammar()
    rng = random.Random(seed)
    articles: list[str] = []
    written = 0
    while not articles or written < num_bytes:
        article, _ = _write_article(grammar, rng)
        articles.append(article)
        written += len(article.encode()) + len(ARTICLE_SEPARATOR)
    return ARTICLE_SEPARATOR.join(articles) + "\n"
