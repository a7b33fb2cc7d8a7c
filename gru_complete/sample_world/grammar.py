"""A small written world whose texts have an exactly known probability: the sample data and its judge.

``watson.grammar`` holds the words and rules. A text is a sequence of articles with blank lines between them; each
article is one derivation of the rule ``article``. Hidden attributes (gender, number, cuisine) are drawn once and steer
words said much later, so a reader who forgets them pays. `generate` draws derivations; `log2_probability` sums over
*all* derivations of a given text, which makes it the fewest bits in which any model can expect to write this world.

The same program serves both ways: patterns compile to linked `Step` objects, the writer follows one path through
them, and the parser follows every path that agrees with the text, position by position (the forward algorithm, with
states ``(step, return stack, attributes)`` merged as soon as they are equal).

    python -m gru_complete.sample_world corpus data/watson.txt
    python -m gru_complete.sample_world pairs data/watson-pairs.jsonl --corpus data/watson.txt
    python -m gru_complete.sample_world score data/watson.txt
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from itertools import accumulate

from gru_complete.errors import UsageError

ARTICLE_SEPARATOR = "\n\n"


# ------------------------------------------------------------------------------------------ the grammar as a program


@dataclass(eq=False)
class Step:
    """One instruction; ``next`` follows it, None returns to the rule that called this one. Equal only to itself."""

    next: "Step | None"


@dataclass(eq=False)
class Say(Step):
    """Write a fixed text."""

    text: str


@dataclass(eq=False)
class Word(Step):
    """Write one word of a list, remember which one under ``variable`` if there is one."""

    texts: tuple[str, ...]
    weights: tuple[int, ...]
    variable: int | None = None
    ends: tuple[int, ...] = field(init=False)
    log2s: dict[str, tuple[int, float]] = field(init=False)
    lengths: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Prepare drawing by weight and finding by text."""
        self.ends = tuple(accumulate(self.weights))
        costs = (math.log2(weight / self.ends[-1]) for weight in self.weights)
        self.log2s = {text: (row, cost) for row, (text, cost) in enumerate(zip(self.texts, costs, strict=True))}
        self.lengths = tuple(sorted({len(text) for text in self.texts}))


@dataclass(eq=False)
class Call(Step):
    """Go through one of several alternatives, then come back."""

    branches: tuple[Step | None, ...]
    weights: tuple[int, ...]
    ends: tuple[int, ...] = field(init=False)
    log2s: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Prepare drawing by weight."""
        self.ends = tuple(accumulate(self.weights))
        self.log2s = tuple(math.log2(weight / self.ends[-1]) for weight in self.weights)


@dataclass(eq=False)
class Bind(Step):
    """Choose a row of a table for ``variable``, silently; with ``different``, another row than it has now."""

    variable: int
    num_rows: int
    different: bool


@dataclass(eq=False)
class Recall(Step):
    """Write what the row of ``variable`` says; ``name`` is ``table.column``, or the list that a word came from."""

    variable: int
    name: str
    cells: tuple[Step | None, ...]


@dataclass(frozen=True)
class Grammar:
    """A compiled grammar: where articles start, how many variables they use, and which cells make minimal pairs."""

    start: Step
    num_variables: int
    contrasts: dict[str, str]
    """``table.column`` to the phenomenon that its rows contrast."""


_PATTERN = re.compile(r"\[(?:([aAsdgl]):)?(\w+)\]|\{(\w+)(?:([:=.])(\w+))?(!)?\w*\}")


class _Compiler:
    """Turns the text of a grammar into linked steps, each rule once (twice when it also starts sentences)."""

    def __init__(self, source: str) -> None:
        self.blocks: dict[tuple[str, str], list[str]] = {}
        self.columns: dict[str, list[str]] = {}
        lines: list[str] = []
        for line in source.splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            if line[0].isspace():
                lines.append(line.strip())
                continue
            kind, name, *columns = line.split()
            if kind == "table":
                self.columns[name] = columns
            lines = self.blocks.setdefault((kind, " ".join([name, *columns]) if kind == "contrast" else name), [])
        self.kinds: dict[str, str] = {}
        """Each variable and the table or list that it chooses from."""
        for lines in self.blocks.values():
            for match in _PATTERN.finditer("\n".join(lines)):
                if match[4] in (":", "=") and self.kinds.setdefault(match[3], match[5]) != match[5]:
                    raise UsageError(f"the grammar's variable {match[3]} is chosen from two lists")
        self.variables = {variable: index for index, variable in enumerate(self.kinds)}
        self.rules: dict[str, tuple[tuple[Step | None, ...], tuple[int, ...]]] = {}

    def grammar(self, start: str) -> Grammar:
        """Compile everything that ``start`` can reach."""
        contrasts = {
            cell: name for (kind, name), lines in self.blocks.items() if kind == "contrast" for cell in _split(lines)
        }
        return Grammar(Call(None, *self._rule(start)), len(self.variables), contrasts)

    def compile(self, pattern: str, then: Step | None) -> Step | None:
        """Compile one pattern so that ``then`` follows it."""
        parts: list[str | re.Match[str]] = []
        end = 0
        for match in _PATTERN.finditer(pattern):
            parts += [pattern[end : match.start()], match]
            end = match.end()
        parts.append(pattern[end:])
        for part in reversed(parts):
            if not isinstance(part, str):
                then = self._reference(part, then)
            elif part:
                then = Say(then, part)
        return then

    def _reference(self, match: re.Match[str], then: Step | None) -> Step:
        form, name, variable, mark, what, different = match.groups()
        if name is not None:
            return self._call(name, form or "", then)
        if variable not in self.kinds:
            raise UsageError(f"the grammar never chooses what {match[0]} recalls")
        index, kind = self.variables[variable], self.kinds[variable]
        if mark == ":":
            return Bind(then, index, len(self._lines("table", kind)), different is not None)
        if mark == "=":
            return Word(then, *self._words(kind, ""), index)
        if mark == ".":
            return Recall(then, index, *self._column(kind, what))
        texts, _ = self._words(kind, "")
        return Recall(then, index, kind, tuple(Say(None, text) for text in texts))

    def _call(self, name: str, form: str, then: Step | None) -> Step:
        """A rule or a word of a list; ``Name`` is ``name`` with a capital."""
        capital = name[0].isupper() or form == "A"
        lower = name[0].lower() + name[1:]
        if ("words", lower) not in self.blocks:
            return Call(then, *self._rule(name))
        texts, weights = self._words(lower, form.lower())
        return Word(then, tuple(map(_capitalised, texts)) if capital else texts, weights)

    def _rule(self, name: str) -> tuple[tuple[Step | None, ...], tuple[int, ...]]:
        if name not in self.rules:
            self.rules[name] = ((), ())
            lines = self._lines("rule", name[0].lower() + name[1:])
            weights, patterns = zip(*map(_weighted, lines), strict=True)
            if name[0].isupper():
                patterns = tuple(map(_capitalised, patterns))
            self.rules[name] = tuple(self.compile(pattern, None) for pattern in patterns), weights
        if not self.rules[name][0]:
            raise UsageError(f"the grammar's rule {name} needs itself")
        return self.rules[name]

    def _column(self, table: str, column: str) -> tuple[str, tuple[Step | None, ...]]:
        columns = self.columns[table]
        lower = column[0].lower() + column[1:]
        if column not in columns and lower not in columns:
            raise UsageError(f"the grammar's table {table} has no column {column}")
        capital = column not in columns
        index = columns.index(lower if capital else column)
        cells = [line.split()[index].replace("_", " ") for line in self._lines("table", table)]
        steps = tuple(self.compile(_capitalised(cell) if capital else cell, None) for cell in cells)
        return f"{table}.{columns[index]}", steps

    def _words(self, name: str, form: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
        texts, weights = [], []
        for entry in _split(self._lines("words", name)):
            word, _, weight = entry.partition("*")
            base, _, irregular = word.replace("_", " ").partition("/")
            weights.append(int(weight or 1))
            if form == "a":
                base = f"{_indefinite_article(base)} {base}"
            elif form:
                base = irregular or _inflected(base, form)
            texts.append(base)
        if len(set(texts)) < len(texts):
            twice = sorted({text for text in texts if texts.count(text) > 1})
            raise UsageError(f"the grammar's list {name} says {', '.join(twice)} twice")
        return tuple(texts), tuple(weights)

    def _lines(self, kind: str, name: str) -> list[str]:
        if (kind, name) not in self.blocks:
            raise UsageError(f"the grammar has no {kind} {name}")
        return self.blocks[kind, name]


def _split(lines: Sequence[str]) -> list[str]:
    return [word for line in lines for word in line.split()]


def _weighted(alternative: str) -> tuple[int, str]:
    weight, _, pattern = alternative.partition(" ")
    return (int(weight), pattern) if weight.isdigit() else (1, alternative)


def _capitalised(pattern: str) -> str:
    """The pattern with its first letter a capital, in whatever reference that letter stands."""
    if match := re.match(r"\{\w+:\w+!?\w*\}", pattern):  # a silent choice
        return match[0] + _capitalised(pattern[match.end() :])
    if match := re.match(r"\[a:|\[[sdgl]:|\[|\{\w+\.|", pattern):
        start = match.end() if match[0] != "[a:" else 1
        return pattern[:start] + pattern[start : start + 1].upper() + pattern[start + 1 :]
    return pattern


_ENDINGS = {
    "s": ((r"(s|x|z|ch|sh)$", r"\1es"), (r"([^aeiou])y$", r"\1ies"), (r"$", "s")),
    "d": ((r"e$", "ed"), (r"([^aeiou])y$", r"\1ied"), (r"$", "ed")),
    "g": ((r"([^e])e$", r"\1ing"), (r"$", "ing")),
    "l": ((r"([^aeiou])le$", r"\1ly"), (r"(\w{3})y$", r"\1ily"), (r"ic$", "ically"), (r"ll$", "lly"), (r"$", "ly")),
}


def _inflected(word: str, form: str) -> str:
    """Plural or third person (s), past (d), -ing (g), adverb (l): the first ending that fits."""
    for ending, replacement in _ENDINGS[form]:
        if re.search(ending, word):
            return re.sub(ending, replacement, word, count=1)
    return word


def _indefinite_article(word: str) -> str:
    sounds = word.lower()
    if sounds.startswith(("honest", "heir", "hour")):
        return "an"
    return "an" if sounds[0] in "aeiou" and not sounds.startswith(("uni", "use", "eu", "uk", "one")) else "a"


@lru_cache(maxsize=1)
def watson_grammar() -> Grammar:
    """The grammar of the sample data, compiled on first use."""
    source = resources.files("gru_complete.sample_world").joinpath("watson.grammar").read_text(encoding="utf-8")
    return compile_grammar(source)


def compile_grammar(source: str, *, start: str = "article") -> Grammar:
    """Compile a grammar in the notation that the head of ``watson.grammar`` explains.

    Args:
        source: the grammar's text.
        start: the rule that derives an article.

    Raises:
        UsageError: a reference leads nowhere, or a list says a word twice.
    """
    return _Compiler(source).grammar(start)
