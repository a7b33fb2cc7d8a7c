"""A small written world whose texts have an exactly known probability: the sample data and its judge.

``watson.grammar`` holds the words and rules. A text is a sequence of articles with blank lines between them; each
article is one derivation of the rule ``article``. Hidden attributes (gender, number, cuisine) are drawn once and steer
words said much later, so a reader who forgets them pays. `generate` draws derivations; `log2_probability` sums over
*all* derivations of a given text, which makes it the fewest bits in which any model can expect to write this world.

The same program serves both ways: patterns compile to linked `Step` objects, the writer follows one path through
them, and the parser follows every path that agrees with the text, position by position (the forward algorithm, with
states ``(step, return stack, attributes)`` merged as soon as they are equal).

    python -m gru_complete.text.synthetic corpus data/watson.txt
    python -m gru_complete.text.synthetic pairs data/watson-pairs.jsonl --corpus data/watson.txt
    python -m gru_complete.text.synthetic score data/watson.txt
"""

import argparse
import heapq
import json
import math
import random
import re
import sys
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib import resources
from itertools import accumulate
from pathlib import Path

from gru_complete.errors import CorpusError, GruCompleteError, UsageError
from gru_complete.files import write_file

ARTICLE_SEPARATOR = "\n\n"
DISTANCE_BUCKETS = (5, 10, 15, 20, 30, 40, 60)
"""Upper ends, in words, of the ranges over which minimal pairs are spread evenly."""

LEAST_CONTRAST_BITS = 10.0
"""How much less probable the wrong half of a pair is at least; nearly all are impossible."""


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
    source = resources.files("gru_complete.text").joinpath("watson.grammar").read_text(encoding="utf-8")
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


# ----------------------------------------------------------------------------------------------------- minimal pairs


@dataclass(frozen=True)
class MinimalPair:
    """Two texts from an article's start that differ in one word, which only one of them gets right.

    ``distance`` counts the words from the nearest earlier word that tells the two apart to the one that differs.
    """

    right: str
    wrong: str
    phenomenon: str
    distance: int


def sentences(text: str) -> list[str]:
    """The sentences of a text, cut after ``.``, ``!`` or ``?`` and a closing quote, before white space."""
    return [sentence for sentence in re.split(r"(?:(?<=[.!?])|(?<=[.!?]\"))\s+", text) if sentence]


def minimal_pairs(
    count: int, *, seed: int, exclude: Collection[str] = (), grammar: Grammar | None = None
) -> list[MinimalPair]:
    """Write pairs, spread over the phenomena and over `DISTANCE_BUCKETS` as evenly as the grammar allows.

    Args:
        count: how many; all different.
        seed: the same seed gives the same pairs.
        exclude: sentences that no pair may contain, such as those of the training text.
        grammar: the world to write about; Mr and Mrs Watson's if omitted.

    Raises:
        UsageError: the grammar cannot give so many pairs.
    """
    grammar = grammar or watson_grammar()
    rng = random.Random(seed)
    forbidden = set(exclude)
    quota = -(-count // (len(set(grammar.contrasts.values())) * len(DISTANCE_BUCKETS)))
    taken: dict[tuple[str, int], int] = {}
    pairs: dict[str, MinimalPair] = {}
    for attempt in range(200 * count):
        if len(pairs) == count:
            break
        if attempt == 50 * count:  # the rare buckets are as full as they get
            quota = count
        article, mentions = _write_article(grammar, rng)
        candidates = list(_contrasts(article, mentions, grammar, rng))
        while candidates:
            pair, sentence_end = candidates.pop(int(rng.random() * len(candidates)))
            bucket = (pair.phenomenon, next(end for end in DISTANCE_BUCKETS if pair.distance <= end))
            if taken.get(bucket, 0) >= quota or pair.right in pairs:
                continue
            if not forbidden.isdisjoint(sentences(article[:sentence_end])) or not _is_fair(pair, grammar):
                continue
            pairs[pair.right] = pair
            taken[bucket] = taken.get(bucket, 0) + 1
            break  # one pair of an article, so that pairs are independent
    if len(pairs) < count:
        raise UsageError(f"the grammar gave only {len(pairs)} of {count} pairs", hint="ask for fewer")
    return list(pairs.values())


def _contrasts(
    article: str, mentions: list[_Mention], grammar: Grammar, rng: random.Random
) -> Iterator[tuple[MinimalPair, int]]:
    """Every pair that an article offers, with the end of the decisive word's sentence."""
    cue_end: dict[int, int] = {}
    for mention in mentions:
        phenomenon = grammar.contrasts.get(mention.recall.name)
        cue = cue_end.get(mention.variable)
        rows = len(mention.recall.cells)
        if phenomenon is not None and cue is not None:
            other = mention.recall.cells[(mention.row + 1 + int(rng.random() * (rows - 1))) % rows]
            distance = len(article[cue : mention.end].split())
            if isinstance(other, Say) and distance <= DISTANCE_BUCKETS[-1]:
                sentence_end = mention.end + len(sentences(article[mention.end :] + " ")[0])
                rest = article[mention.end : sentence_end]
                again = (
                    m for m in mentions if m.variable == mention.variable and mention.end <= m.start < sentence_end
                )
                if len(rest.split()) > 4 or any(again):  # noise to both scores, or a second word against the wrong one
                    rest = ""
                before = article[: mention.start]
                right, wrong = article[: mention.end] + rest, before + other.text + rest
                yield MinimalPair(right, wrong, phenomenon, distance), sentence_end
        if "." in mention.recall.name:
            cue_end[mention.variable] = mention.end


def _is_fair(pair: MinimalPair, grammar: Grammar) -> bool:
    right = log2_prefix_probability(pair.right, grammar=grammar)
    return right - log2_prefix_probability(pair.wrong, grammar=grammar) >= LEAST_CONTRAST_BITS


# ------------------------------------------------------------------------------------------------------ command line


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sample corpus, its minimal pairs or a fresh sample, or score a text of this world."""
    parser = argparse.ArgumentParser(prog="python -m gru_complete.text.synthetic", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    corpus = commands.add_parser("corpus", help="write articles to a file ('-': stdout)")
    corpus.add_argument("path", type=Path)
    corpus.add_argument("--bytes", type=int, default=1_000_000, dest="num_bytes", help="at least this many")
    corpus.add_argument("--seed", type=int, default=1, help="another seed, another sample")
    pairs = commands.add_parser("pairs", help="write minimal pairs whose sentences are not in a corpus")
    pairs.add_argument("path", type=Path)
    pairs.add_argument("--count", type=int, default=2400)
    pairs.add_argument("--seed", type=int, default=2)
    pairs.add_argument("--corpus", type=Path, required=True, help="the text to keep away from")
    score = commands.add_parser("score", help="print the exact bits per byte of a text of this world")
    score.add_argument("path", type=Path)
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except GruCompleteError as error:
        parser.exit(error.exit_code, f"error: {error}\n")


def _run(options: argparse.Namespace) -> None:
    if options.command == "score":
        print(f"{bits_per_byte(_read(options.path)):.6f}")
        return
    if options.command == "corpus":
        text = generate(options.num_bytes, seed=options.seed)
    else:
        known = set(sentences(_read(options.corpus)))
        lines = [json.dumps(asdict(pair)) for pair in minimal_pairs(options.count, seed=options.seed, exclude=known)]
        text = "\n".join(lines) + "\n"
    if str(options.path) == "-":
        sys.stdout.write(text)
    else:
        write_file(options.path, text.encode())


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"cannot read {path}: {error}") from None


if __name__ == "__main__":
    main()
