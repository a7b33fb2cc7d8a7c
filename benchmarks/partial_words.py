"""Prompts that end inside a word: how often the word is found, how likely its rest is, read in five ways.

Sentences of TEXT are cut inside a random word, between two of its letters; what is before the cut is the prompt. With
more cuts than sentences, each is cut in several places; then the cuts are not independent, and intervals too narrow.

- naive: the prompt is encoded as it is, and the model goes on after its last token;
- healing: the prompt's last token is dropped, and what comes next must begin with its bytes;
- K = 1: the one likeliest segmentation of the prompt's last word, its last token finished or begun; what it rules out
  counts as exp(-50);
- width 1: a search that reads one segmentation on at each token boundary of that word. Words come after the likeliest
  of all of them, the log probability is summed over them: so it is no K = 1;
- K = 8: what ``complete`` does, a search of width 8. Words come after the 8 likeliest of all segmentations that are
  found, wherever their last boundary is; the log probability is summed over all that are found.

K counts the segmentations of the whole word that go on, the likeliest of all; the width of the search, in
``runtime/segmentation.py``, counts those that are read on at the *same* boundary (and is K as well). K = 1 here is the
first of those of K = 8.

All use the same search for whole words (``runtime/words.py``), and the log probabilities are of text: of the rest of
the word and the character after it, however they are cut into tokens. Shares have Wilson intervals, means those of
normal distributions, all of 95 %; gains are of the same prompts, so their intervals are of differences. For K = 8
against K = 1 the cuts are counted that one of them gets right and the other does not; the interval of the difference
is that of Agresti and Min (2005) for matched pairs.

    python benchmarks/partial_words.py MODEL TEXT [--cuts 500] [--seed 0] [--json out.json]
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import math
import random
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common import parse_arguments
from tqdm import tqdm

from gru_complete.evaluation.intervals import Interval, mean_interval, share_interval
from gru_complete.model.home import find_model
from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.first_tokens import Row
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.segmentation import Hypotheses
from gru_complete.runtime.wordbreaks import End, State, read, word_prefix
from gru_complete.runtime.words import most_likely_words

WAYS = ("naive", "healing", "K = 1", "width 1", "K = 8")
HITS = {"first": "the first word", "among_three": "one of three"}
SENTENCE = re.compile(r"[^\s.!?][^.!?]*[.!?]+[\"'”’)]*")
MIN_WORDS = 4
IMPOSSIBLE = math.exp(-50)  # the chance of what no tokens spell after the only segmentation that is left
LETTERS = re.compile(r"[^\W\d_]{2,}")


class Cut(NamedTuple):
    """A sentence cut inside a word: what is before, the rest of the word, and the character after that."""

    prompt: bytes
    rest: bytes
    after: bytes


class Given(NamedTuple):
    """What the search for words needs, with segmentations of our own choosing."""

    predictor: Predictor
    pieces: PieceIndex
    overlay: Overlay | None
    segment: bytes
    found: list[Row]

    def rows(self) -> list[Row]:
        """As ``Hypotheses.rows``."""
        return self.found


class Pairing(NamedTuple):
    """How often two ways were right on the same cuts.

    Attributes:
        won: only the one was.
        lost: only the other was.
        both: both were.
        difference: of the shares of cuts that they get right.
    """

    won: int
    lost: int
    both: int
    difference: Interval


def paired(one: Sequence[float], other: Sequence[float]) -> Pairing:
    """Compare hits (1 or 0) of two ways on the same cuts."""
    pairs = list(zip(one, other, strict=True))
    won, lost, both = (pairs.count(pair) for pair in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)))
    # Half a cut is added to each of the four cells: so some width is left where none was won or lost.
    count = len(pairs) + 2
    centre = (won - lost) / count
    half = 1.959964 * math.sqrt(max(0.0, (won + lost + 1) / count - centre**2) / count)
    return Pairing(won, lost, both, Interval((won - lost) / len(pairs), centre - half, centre + half))


def cuts_of(text: str, number: int, seed: int) -> list[Cut]:
    """Choose sentences, and in each a word and a place in it; more than one where there are too few sentences."""
    generator = random.Random(seed)
    sentences = [" ".join(match[0].split()) for match in SENTENCE.finditer(text)]
    sentences = [sentence for sentence in sentences if len(sentence.split()) >= MIN_WORDS]
    chosen = generator.sample(sentences, min(number, len(sentences)))
    cuts: dict[Cut, None] = {}
    known = -1
    while known < len(cuts) < number:  # until a round finds no other
        known = len(cuts)
        for sentence in chosen:
            words = list(LETTERS.finditer(sentence))
            if not words:
                continue
            word = generator.choice(words)
            place = generator.randint(word.start() + 1, word.end() - 1)
            rest = rest_of_word(sentence[:place], sentence[place:])
            cuts[Cut(sentence[:place].encode(), rest.encode(), sentence[place + len(rest) :][:1].encode())] = None
    return list(cuts)[:number]


def rest_of_word(before: str, following: str) -> str:
    """What finishes the word begun, by the rule that the search goes by."""
    data = following.encode()
    after: State | End | None = word_prefix(before.encode())[1]
    for position in range(len(data)):
        assert isinstance(after, State)
        after = read(after, data[position : position + 1])
        if isinstance(after, End):
            return data[: position + after.offset].decode()
    return following


def readings(completer: Completer, prompt: bytes) -> dict[str, Hypotheses | Given]:
    """The prompt, read in each of the ways."""
    context = completer.read(prompt)
    predictor, pieces, overlay = completer.predictor, completer.pieces, context.overlay
    *tokens, last = completer.tokenizer.encode_segment(context.segment)
    before = predictor.read(context.decoder_state, tokens)
    after = predictor.step(before, last)
    rows = predictor.log_probabilities([before, after], overlay)
    piece = pieces.pieces[last]
    itself = float(rows[0][last])
    going_on = Row(0.0, before, piece, rows[0])
    whole = math.log(math.exp(log_mass(pieces, going_on)) + math.exp(itself))
    healed = [going_on._replace(log_weight=-whole), Row(itself - whole, after, b"", rows[1])]

    def given(found: list[Row]) -> Given:
        return Given(predictor, pieces, overlay, context.segment, found)

    def hypotheses(width: int) -> Hypotheses:
        return Hypotheses.open(predictor, pieces, context.decoder_state, context.segment, overlay, width=width)

    all_of_them = hypotheses(8)
    best = all_of_them.rows()[0]
    return {
        "naive": given([Row(0.0, after, b"", rows[1])]),
        "healing": given(healed),
        "K = 1": given([best._replace(log_weight=-log_mass(pieces, best._replace(log_weight=0.0)))]),
        "width 1": hypotheses(1),
        "K = 8": all_of_them,
    }


def log_mass(pieces: PieceIndex, row: Row) -> float:
    """The natural log probability of the tokens that may follow in a row."""
    if not row.remainder:
        return row.log_weight
    _, longer, stop = pieces.range(row.remainder)
    chances = (math.exp(float(row.log_probabilities[token])) for token in pieces.order[longer:stop].tolist())
    return row.log_weight + math.log(math.fsum([1e-300, *chances]))


def log_probability(hypotheses: Hypotheses | Given, data: bytes) -> float:
    """The natural log probability that the text goes on with these bytes."""
    if isinstance(hypotheses, Hypotheses):
        return hypotheses.extended(data)[1]
    predictor, pieces, overlay, _, rows = hypotheses
    chance = 0.0
    for row in rows:
        text = row.remainder + data
        for length in range(len(row.remainder) + 1, len(text) + 1):
            start, longer, stop = pieces.range(text[:length])
            going_on = range(start, stop) if length == len(text) else range(start, longer)
            for token in pieces.order[going_on.start : going_on.stop].tolist():
                mass = math.exp(row.log_weight + float(row.log_probabilities[token]))
                if length < len(text):
                    reading = predictor.step(row.decoder_state, token)
                    mass *= math.exp(Hypotheses.open(predictor, pieces, reading, text[length:], overlay).total)
                chance += mass
    return math.log(max(chance, IMPOSSIBLE))


def measure(completer: Completer, cuts: list[Cut]) -> dict[str, Any]:
    """All figures of all ways, cut by cut."""
    found: dict[str, dict[str, list[float]]] = {way: {"first": [], "among_three": [], "nats": []} for way in WAYS}
    for cut in tqdm(cuts, disable=None):
        for way, hypotheses in readings(completer, cut.prompt).items():
            words = [word.completion for word in most_likely_words(hypotheses, 3)]  # type: ignore[arg-type]
            found[way]["first"].append(float(words[:1] == [cut.rest]))
            found[way]["among_three"].append(float(cut.rest in words))
            found[way]["nats"].append(log_probability(hypotheses, cut.rest + cut.after))
    return found


def summary(found: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Shares, means and gains over the first way, with their intervals."""
    figures: dict[str, Any] = {}
    for way, values in found.items():
        count = len(values["nats"])
        gains = [own - other for own, other in zip(values["nats"], found["naive"]["nats"], strict=True)]
        hits = [own - other for own, other in zip(values["first"], found["naive"]["first"], strict=True)]
        figures[way] = {
            "first": share_interval(int(sum(values["first"])), count),
            "among_three": share_interval(int(sum(values["among_three"])), count),
            "nats": mean_interval(values["nats"]),
            "gain_nats": mean_interval(gains),
            "gain_first": mean_interval(hits),
            "median_gain_nats": statistics.median(gains),
        }
    return figures


def as_markdown(report: dict[str, Any]) -> str:
    lines = [
        f"{report['cuts']} cuts of {report['text']}, model {report['model']}, seed {report['seed']}",
        "",
        "| the prompt is read | word is first, % | among three, % | first: gain over naive | log p of the rest, nats "
        "| gain over naive, nats |",
        "|---|---|---|---|---|---|",
    ]
    for way, figures in report["ways"].items():
        cells = [printable(figures["first"], 100, 1), printable(figures["among_three"], 100, 1)]
        cells += [
            printable(figures["gain_first"], 100, 1),
            printable(figures["nats"], 1, 2),
            printable(figures["gain_nats"], 1, 2),
        ]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| right is | K = 8 only | K = 1 only | both | K = 8 less K = 1, % |",
        "|---|---|---|---|---|",
    ]
    for name, pairing in report["paired"].items():
        counts = f"{pairing.won} | {pairing.lost} | {pairing.both}"
        lines.append(f"| {HITS[name]} | {counts} | {printable(pairing.difference, 100, 2)} |")
    return "\n".join(lines)


def printable(interval: Interval, scale: float, digits: int) -> str:
    value, low, high = (f"{scale * number:.{digits}f}" for number in interval)
    return f"{value} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="name or directory")
    parser.add_argument("text", type=Path, help="that the model was not trained on")
    parser.add_argument("--cuts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures, and those of every cut")
    options = parse_arguments(parser, smoke="{dir}/model {dir}/text.txt --cuts 10")
    model = find_model(options.model)
    cuts = cuts_of(options.text.read_text(encoding="utf-8-sig"), options.cuts, options.seed)
    found = measure(Completer.load(model), cuts)
    report = {
        "model": model.name,
        "text": options.text.name,
        "seed": options.seed,
        "cuts": len(cuts),
        "ways": summary(found),
        "paired": {name: paired(found["K = 8"][name], found["K = 1"][name]) for name in HITS},
    }
    print(as_markdown(report))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"prompt": cut.prompt.decode(), "rest": cut.rest.decode()} for cut in cuts]
        options.json.write_text(json.dumps(report | {"every_cut": {"cuts": rows, **found}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
