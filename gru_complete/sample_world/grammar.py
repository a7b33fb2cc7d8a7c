"""The grammar of the sample world, compiled to linked steps.

``watson.grammar`` holds the words and rules, and its head explains the notation. A text is a sequence of articles with
blank lines between them; each article is one derivation of the rule ``article``. Hidden attributes (gender, number,
cuisine) are drawn once and determine words much later, so a model that forgets them predicts those words badly.

Every pattern becomes a chain of ``Step`` objects. The same chains serve both ways: ``writing.py`` follows one path
through them, ``probability.py`` follows all paths that agree with a given text. For example the rule
``{P:gender}{P.He} sees [animal].`` becomes::

    Bind(P) -> Recall(P, "gender.he") -> Say(" sees ") -> Word(ox, oxen, cat) -> Say(".")
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


@dataclass(eq=False)
class Step:
    """One instruction. ``next`` is the step after it; None returns to the caller. A step is equal only to itself."""

    next: "Step | None"


@dataclass(eq=False)
class Say(Step):
    """Write a fixed text."""

    text: str


@dataclass(eq=False)
class Word(Step):
    """Write one word of a list, and store its row in ``variable`` if there is one.

    Attributes:
        texts: the words.
        weights: their relative frequencies.
        variable: where to store the row of the chosen word.
        cumulative_weights: the running sums of the weights, to draw a word.
        log2s: the row and the log2 probability of each word, to find it by its text.
        lengths: the different lengths of the words in characters, ascending.
    """

    texts: tuple[str, ...]
    weights: tuple[int, ...]
    variable: int | None = None
    cumulative_weights: tuple[int, ...] = field(init=False)
    log2s: dict[str, tuple[int, float]] = field(init=False)
    lengths: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Compute the attributes that follow from the others."""
        self.cumulative_weights = tuple(accumulate(self.weights))
        costs = (math.log2(weight / self.cumulative_weights[-1]) for weight in self.weights)
        self.log2s = {text: (row, cost) for row, (text, cost) in enumerate(zip(self.texts, costs, strict=True))}
        self.lengths = tuple(sorted({len(text) for text in self.texts}))


@dataclass(eq=False)
class Call(Step):
    """Go through one of a rule's alternatives, then come back.

    Attributes:
        branches: the first step of each alternative.
        weights: their relative frequencies.
        cumulative_weights: the running sums of the weights, to draw an alternative.
        log2s: the log2 probability of each alternative.
    """

    branches: tuple[Step | None, ...]
    weights: tuple[int, ...]
    cumulative_weights: tuple[int, ...] = field(init=False)
    log2s: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Compute the attributes that follow from the others."""
        self.cumulative_weights = tuple(accumulate(self.weights))
        self.log2s = tuple(math.log2(weight / self.cumulative_weights[-1]) for weight in self.weights)


@dataclass(eq=False)
class Bind(Step):
    """Store a row of a table in ``variable``, write nothing; with ``different``, another row than is stored there."""

    variable: int
    num_rows: int
    different: bool


@dataclass(eq=False)
class Recall(Step):
    """Write the cell for the row stored in ``variable``; ``name`` is ``table.column``, or the list of a stored word."""

    variable: int
    name: str
    cells: tuple[Step | None, ...]


@dataclass(frozen=True)
class Grammar:
    """A compiled grammar.

    Args:
        start: the step that writes an article.
        num_variables: how many variables an article uses.
        contrasts: by ``table.column``, the phenomenon of the minimal pairs that its rows make.
    """

    start: Step
    num_variables: int
    contrasts: dict[str, str]


_REFERENCE = re.compile(
    r"""
    \[ (?: (?P<form>[aAsdgl]) : )? (?P<name>\w+) \]                                       # [rule], [list], [s:list]
    | \{ (?P<variable>\w+) (?: (?P<mark>[:=.]) (?P<source>\w+) )? (?P<different>!)? \w* \}  # {V:table}, {V.column}, {V}
    """,
    re.VERBOSE,
)


class _Compiler:
    """Turns the text of a grammar into linked steps.

    Each rule is compiled once, or twice if it is also used with a capital letter.

    Attributes:
        blocks: the lines of each block, by its kind and name, such as ("rule", "article").
        columns: the names of each table's columns.
        sources: for each variable the table or list that its rows are from.
        variables: the index of each variable.
        rules: the compiled alternatives of each rule, and their weights.
    """

    def __init__(self, source: str) -> None:
        self.blocks: dict[tuple[str, str], list[str]] = {}
        self.columns: dict[str, list[str]] = {}
        self._read_blocks(source)
        self.sources: dict[str, str] = {}
        self._find_variables()
        self.variables = {variable: index for index, variable in enumerate(self.sources)}
        self.rules: dict[str, tuple[tuple[Step | None, ...], tuple[int, ...]]] = {}

    def _read_blocks(self, source: str) -> None:
        """Sort the lines of a grammar into blocks: a line without indentation starts one."""
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

    def _find_variables(self) -> None:
        """Find where each variable gets its rows.

        Raises:
            UsageError: from two tables or lists.
        """
        for lines in self.blocks.values():
            for match in _REFERENCE.finditer("\n".join(lines)):
                variable, source = match["variable"], match["source"]
                if match["mark"] in (":", "=") and self.sources.setdefault(variable, source) != source:
                    raise UsageError(f"the grammar's variable {variable} is chosen from two lists")

    def compile_from(self, start: str) -> Grammar:
        """Compile every rule that can be reached from ``start``."""
        contrasts = {
            cell: name
            for (kind, name), lines in self.blocks.items()
            if kind == "contrast"
            for cell in _split_words(lines)
        }
        return Grammar(Call(None, *self._compile_rule(start)), len(self.variables), contrasts)

    def _compile_pattern(self, pattern: str, then: Step | None) -> Step | None:
        """Compile one pattern so that ``then`` follows it."""
        parts: list[str | re.Match[str]] = []
        end = 0
        for match in _REFERENCE.finditer(pattern):
            parts += [pattern[end : match.start()], match]
            end = match.end()
        parts.append(pattern[end:])
        for part in reversed(parts):
            if not isinstance(part, str):
                then = self._compile_reference(part, then)
            elif part:
                then = Say(then, part)
        return then

    def _compile_reference(self, match: re.Match[str], then: Step | None) -> Step:
        """Compile one ``[...]`` or ``{...}`` of a pattern so that ``then`` follows it.

        Raises:
            UsageError: it refers to something that the grammar does not define.
        """
        if match["name"] is not None:
            return self._compile_call(match["name"], match["form"] or "", then)
        if match["variable"] not in self.sources:
            raise UsageError(f"the grammar never chooses what {match[0]} recalls")
        variable, source = self.variables[match["variable"]], self.sources[match["variable"]]
        if match["mark"] == ":":
            return Bind(then, variable, len(self._find_lines("table", source)), match["different"] is not None)
        if match["mark"] == "=":
            return Word(then, *self._read_words(source, ""), variable)
        if match["mark"] == ".":
            return Recall(then, variable, *self._compile_column(source, match["source"]))
        texts, _ = self._read_words(source, "")
        return Recall(then, variable, source, tuple(Say(None, text) for text in texts))

    def _compile_call(self, name: str, form: str, then: Step | None) -> Step:
        """Compile a reference to a rule or to a list of words; ``Name`` is ``name`` with a capital letter."""
        capital = name[0].isupper() or form == "A"
        lower = name[0].lower() + name[1:]
        if ("words", lower) not in self.blocks:
            return Call(then, *self._compile_rule(name))
        texts, weights = self._read_words(lower, form.lower())
        return Word(then, tuple(map(_capitalise, texts)) if capital else texts, weights)

    def _compile_rule(self, name: str) -> tuple[tuple[Step | None, ...], tuple[int, ...]]:
        """Return the alternatives of a rule and their weights; an empty entry marks a rule that is being compiled."""
        if name not in self.rules:
            self.rules[name] = ((), ())
            lines = self._find_lines("rule", name[0].lower() + name[1:])
            weights, patterns = zip(*map(_split_weight, lines), strict=True)
            if name[0].isupper():
                patterns = tuple(map(_capitalise, patterns))
            self.rules[name] = tuple(self._compile_pattern(pattern, None) for pattern in patterns), weights
        if not self.rules[name][0]:
            raise UsageError(f"the grammar's rule {name} needs itself")
        return self.rules[name]

    def _compile_column(self, table: str, column: str) -> tuple[str, tuple[Step | None, ...]]:
        """Return ``table.column`` and its compiled cells; ``Column`` is ``column`` with a capital letter."""
        columns = self.columns[table]
        lower = column[0].lower() + column[1:]
        if column not in columns and lower not in columns:
            raise UsageError(f"the grammar's table {table} has no column {column}")
        capital = column not in columns
        index = columns.index(lower if capital else column)
        cells = [line.split()[index].replace("_", " ") for line in self._find_lines("table", table)]
        steps = tuple(self._compile_pattern(_capitalise(cell) if capital else cell, None) for cell in cells)
        return f"{table}.{columns[index]}", steps

    def _read_words(self, name: str, form: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Return the words of a list in one of the forms of ``watson.grammar``, and their weights."""
        texts, weights = [], []
        for entry in _split_words(self._find_lines("words", name)):
            word, _, weight = entry.partition("*")
            base, _, irregular = word.replace("_", " ").partition("/")
            weights.append(int(weight or 1))
            if form == "a":
                base = f"{_indefinite_article(base)} {base}"
            elif form:
                base = irregular or _inflect(base, form)
            texts.append(base)
        if len(set(texts)) < len(texts):
            twice = sorted({text for text in texts if texts.count(text) > 1})
            raise UsageError(f"the grammar's list {name} says {', '.join(twice)} twice")
        return tuple(texts), tuple(weights)

    def _find_lines(self, kind: str, name: str) -> list[str]:
        """Return the lines of a block, such as those of ``rule article``."""
        if (kind, name) not in self.blocks:
            raise UsageError(f"the grammar has no {kind} {name}")
        return self.blocks[kind, name]


def _split_words(lines: Sequence[str]) -> list[str]:
    return [word for line in lines for word in line.split()]


def _split_weight(alternative: str) -> tuple[int, str]:
    """Split the line of an alternative into its weight, 1 if there is none, and its pattern."""
    weight, _, pattern = alternative.partition(" ")
    return (int(weight), pattern) if weight.isdigit() else (1, alternative)


def _capitalise(pattern: str) -> str:
    """Make the first letter of a pattern a capital, even if it comes from a reference."""
    if match := re.match(r"\{\w+:\w+!?\w*\}", pattern):  # writes nothing
        return match[0] + _capitalise(pattern[match.end() :])
    if match := re.match(r"\[a:|\[[sdgl]:|\[|\{\w+\.|", pattern):
        start = match.end() if match[0] != "[a:" else 1
        return pattern[:start] + pattern[start : start + 1].upper() + pattern[start + 1 :]
    return pattern


_INFLECTIONS = {
    "s": ((r"(s|x|z|ch|sh)$", r"\1es"), (r"([^aeiou])y$", r"\1ies"), (r"$", "s")),
    "d": ((r"e$", "ed"), (r"([^aeiou])y$", r"\1ied"), (r"$", "ed")),
    "g": ((r"([^e])e$", r"\1ing"), (r"$", "ing")),
    "l": ((r"([^aeiou])le$", r"\1ly"), (r"(\w{3})y$", r"\1ily"), (r"ic$", "ically"), (r"ll$", "lly"), (r"$", "ly")),
}


def _inflect(word: str, form: str) -> str:
    """Form the plural or third person (s), past (d), -ing form (g) or adverb (l) by the first rule that fits."""
    for ending, replacement in _INFLECTIONS[form]:
        if re.search(ending, word):
            return re.sub(ending, replacement, word, count=1)
    return word


def _indefinite_article(word: str) -> str:
    """Choose "a" or "an" by the sound that a word begins with."""
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
    """Compile a grammar; the head of ``watson.grammar`` explains the notation.

    Args:
        source: the grammar's text.
        start: the rule that derives an article.

    Raises:
        UsageError: a reference leads nowhere, a rule needs itself, or a list has a word twice.
    """
    return _Compiler(source).compile_from(start)
