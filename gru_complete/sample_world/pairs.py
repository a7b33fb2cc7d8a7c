"""Minimal pairs of the sample world: two sentences that differ in one word, of which one is possible."""

import random
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from gru_complete.errors import UsageError
from gru_complete.sample_world.grammar import Grammar, Say, watson_grammar
from gru_complete.sample_world.probability import log2_prefix_probability
from gru_complete.sample_world.writing import _Mention, _write_article

DISTANCE_BUCKETS = (5, 10, 15, 20, 30, 40, 60)
"""Upper ends, in words, of the ranges over which minimal pairs are spread evenly."""

MIN_CONTRAST_BITS = 10.0
"""How much less probable the wrong half of a pair is at least; nearly all are impossible."""


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
    return right - log2_prefix_probability(pair.wrong, grammar=grammar) >= MIN_CONTRAST_BITS
