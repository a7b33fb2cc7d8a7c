"""Minimal pairs of the sample world: two texts that differ in one word, of which only one agrees with the grammar.

A pair comes from an article that recalls a variable twice. The first recall is the cue; at the second, the *decisive*
word, the wrong text has the cell of another row::

    Mrs Bo walks, and she sings.       the cue "Mrs" and the decisive word "she" both recall the gender
    Mrs Bo walks, and he sings.
"""

import random
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gru_complete.errors import UsageError
from gru_complete.sample_world.grammar import Grammar, Say, watson_grammar
from gru_complete.sample_world.probability import log2_prefix_probability
from gru_complete.sample_world.writing import Mention, write_article

DISTANCE_BUCKETS = (5, 10, 15, 20, 30, 40, 60)
"""The longest distance, in words, of each range over which the pairs are spread evenly: 1 to 5, 6 to 10 and so on."""

MIN_CONTRAST_BITS = 10.0
"""How much less probable the wrong text of a pair must be; nearly all wrong texts are impossible."""

_MAX_REST_WORDS = 4


@dataclass(frozen=True)
class MinimalPair:
    """Two texts from the start of an article that differ in one word, which only one of them gets right.

    Args:
        right: the right text.
        wrong: the wrong text.
        phenomenon: what the word must agree with, such as "pronoun gender".
        distance: words from the nearest cue before the decisive word to that word.
    """

    right: str
    wrong: str
    phenomenon: str
    distance: int


class _Candidate(NamedTuple):
    """A pair, and where the sentence with the decisive word ends in the article."""

    pair: MinimalPair
    sentence_end: int


def sentences(text: str) -> list[str]:
    """Split a text after ``.``, ``!`` or ``?``, and a closing quote if there is one, before white space."""
    return [sentence for sentence in re.split(r"(?:(?<=[.!?])|(?<=[.!?]\"))\s+", text) if sentence]


def minimal_pairs(
    count: int, *, seed: int, exclude: Collection[str] = (), grammar: Grammar | None = None
) -> list[MinimalPair]:
    """Write pairs, spread over the phenomena and over ``DISTANCE_BUCKETS`` as evenly as the grammar allows.

    Args:
        count: how many; all different.
        seed: the same seed gives the same pairs.
        exclude: sentences that no pair may contain, such as those of the training text.
        grammar: the world to write about; Mr and Mrs Watson's if omitted.

    Raises:
        UsageError: the grammar cannot give that many pairs.
    """
    grammar = grammar or watson_grammar()
    rng = random.Random(seed)
    excluded = set(exclude)
    quota = -(-count // (len(set(grammar.contrasts.values())) * len(DISTANCE_BUCKETS)))
    bucket_sizes: dict[tuple[str, int], int] = {}
    pairs: dict[str, MinimalPair] = {}
    for attempt in range(200 * count):
        if len(pairs) == count:
            break
        if attempt == 50 * count:  # the rare buckets are as full as they will get
            quota = count
        article, mentions = write_article(grammar, rng)
        candidates = list(_candidates(article, mentions, grammar, rng))
        while candidates:
            pair, sentence_end = candidates.pop(int(rng.random() * len(candidates)))
            bucket = (pair.phenomenon, next(end for end in DISTANCE_BUCKETS if pair.distance <= end))
            if bucket_sizes.get(bucket, 0) >= quota or pair.right in pairs:
                continue
            if not excluded.isdisjoint(sentences(article[:sentence_end])) or not _has_contrast(pair, grammar):
                continue
            pairs[pair.right] = pair
            bucket_sizes[bucket] = bucket_sizes.get(bucket, 0) + 1
            break  # only one pair from each article, so that pairs are independent
    if len(pairs) < count:
        raise UsageError(f"the grammar gave only {len(pairs)} of {count} pairs", hint="ask for fewer")
    return list(pairs.values())


def _candidates(
    article: str, mentions: Sequence[Mention], grammar: Grammar, rng: random.Random
) -> Iterator[_Candidate]:
    """Find every pair that an article can give.

    Args:
        article: the right text.
        mentions: its parts that recall a variable.
        grammar: names the cells that make pairs.
        rng: chooses the wrong rows.
    """
    cue_ends: dict[int, int] = {}  # by variable, the end of its last mention
    for mention in mentions:
        phenomenon = grammar.contrasts.get(mention.recall.name)
        cue_end = cue_ends.get(mention.variable)
        num_rows = len(mention.recall.cells)
        if phenomenon is not None and cue_end is not None:
            other = mention.recall.cells[(mention.row + 1 + int(rng.random() * (num_rows - 1))) % num_rows]
            distance = len(article[cue_end : mention.end].split())
            if isinstance(other, Say) and distance <= DISTANCE_BUCKETS[-1]:
                sentence_end = mention.end + len(sentences(article[mention.end :] + " ")[0])
                rest = _rest_of_sentence(article, mention, mentions, sentence_end)
                right, wrong = article[: mention.end] + rest, article[: mention.start] + other.text + rest
                yield _Candidate(MinimalPair(right, wrong, phenomenon, distance), sentence_end)
        if "." in mention.recall.name:
            cue_ends[mention.variable] = mention.end


def _rest_of_sentence(article: str, mention: Mention, mentions: Sequence[Mention], sentence_end: int) -> str:
    """Return what follows the decisive word in both texts of a pair: the rest of the sentence, or nothing.

    A long rest would only add noise to both scores, and a rest with another word that agrees with the right text would
    be a second mistake in the wrong text.

    Args:
        article: the right text.
        mention: the decisive word.
        mentions: all parts of the article that recall a variable.
        sentence_end: where the sentence of the decisive word ends.
    """
    rest = article[mention.end : sentence_end]
    is_recalled = any(
        other.variable == mention.variable and mention.end <= other.start < sentence_end for other in mentions
    )
    return "" if len(rest.split()) > _MAX_REST_WORDS or is_recalled else rest


def _has_contrast(pair: MinimalPair, grammar: Grammar) -> bool:
    """Whether the wrong text is less probable by at least ``MIN_CONTRAST_BITS``."""
    right = log2_prefix_probability(pair.right, grammar=grammar)
    return right - log2_prefix_probability(pair.wrong, grammar=grammar) >= MIN_CONTRAST_BITS
