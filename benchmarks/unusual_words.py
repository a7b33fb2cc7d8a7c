"""What `check` finds of words that were made wrong, and what it finds besides.

Held-out text (TUNING and TEXT): in each sentence of five words or more one word is replaced: by any word of the same
text (*swap*), by another form of the same verb, pronoun or article (*agreement*), or by a pronoun of another gender or
case (*pronoun*; English). Which kind, as the sentence allows, which word and by what is drawn. A finding is right if
it is at the word; precision is the share of findings that are, recall the share of words found, and F0.5 weighs
precision more. Beside it plain surprisal: words that the model finds less likely than a threshold. Both thresholds are
those with the best F0.5 on TUNING; `check` with the threshold that the model says is shown too.

Pairs (``--tuning-pairs``, ``--pairs``, files as ``eval --pairs`` reads them): how often the first finding in the wrong
text is the wrong word with the right one as first alternative, and how often nothing is found in the right text. The
threshold is the one with which the lesser of both shares is greatest on the tuning pairs.

    python benchmarks/unusual_words.py MODEL TUNING TEXT [--bytes 60000] [--seed 0]
    python benchmarks/unusual_words.py MODEL --tuning-pairs A.jsonl --pairs B.jsonl [--number 300]
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import random
import re
import time
from bisect import bisect_right
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from common import Detection, best_threshold, parse_arguments

from gru_complete.checking.error_model import WORD
from gru_complete.checking.threshold import threshold_from_manifest
from gru_complete.checking.unusual_words import UnusualWord, WordChecker
from gru_complete.evaluation.intervals import share_interval
from gru_complete.model.directory import load_model
from gru_complete.model.home import find_model
from gru_complete.runtime.completer import Completer

SENTENCE = re.compile(r"\S.*?(?:[.!?]+[\"'”’)]*(?=\s)|\n\s*\n|\Z)", re.DOTALL)
AGREEMENT = {"was": ["were"], "were": ["was"], "is": ["are"], "are": ["is"], "has": ["have"], "have": ["has"]}
AGREEMENT |= {"do": ["does"], "does": ["do"], "this": ["these"], "these": ["this"], "those": ["that"]}
AGREEMENT |= {"a": ["an"], "an": ["a"]}
PRONOUNS = {"he": ["she"], "she": ["he"], "his": ["her"], "her": ["his", "him"], "him": ["her"]}
PRONOUNS |= {"himself": ["herself"], "herself": ["himself"]}
KINDS = ("swap", "agreement", "pronoun")
MIN_ODDS = 2.0  # findings below it are not looked for where a threshold is chosen for prose
MIN_IN_PAIRS = 0.2


class Error(NamedTuple):
    """A word that was made wrong: its first character in the text, what stood there, and the kind."""

    offset: int
    right: str
    kind: str


def corrupted(text: str, seed: int) -> tuple[str, list[Error]]:
    """The text with one wrong word per sentence."""
    rng = random.Random(seed)
    pool = [match[0] for match in WORD.finditer(text)]
    parts, errors, end, shift = [], [], 0, 0
    for sentence in SENTENCE.finditer(text):
        words = list(WORD.finditer(text, *sentence.span()))
        if len(words) < 5:
            continue
        choices = {"agreement": _choices(words, AGREEMENT), "pronoun": _choices(words, PRONOUNS)}
        kind = rng.choice(["swap", *(name for name, found in choices.items() if found)])
        if kind == "swap":
            word = rng.choice(words)
            other = rng.choice([one for one in rng.choices(pool, k=50) if one.lower() != word[0].lower()])
        else:
            word, other = rng.choice(choices[kind])
        if word[0][:1].isupper() and word[0] != "I":
            other = other[:1].upper() + other[1:]
        parts += [text[end : word.start()], other]
        errors.append(Error(word.start() + shift, word[0], kind))
        shift += len(other) - len(word[0])
        end = word.end()
    return "".join([*parts, text[end:]]), errors


def _choices(words: list[re.Match[str]], table: dict[str, list[str]]) -> list[tuple[re.Match[str], str]]:
    return [(word, other) for word in words for other in table.get(word[0].lower(), ())]


def surprisals(completer: Completer, text: str) -> list[tuple[float, int]]:
    """Each word's surprisal in nats, that of all tokens that write some of it, and its offset."""
    tokens = completer.tokenizer.encode(text.encode())
    pieces, predictor = completer.tokenizer.pieces, completer.predictor
    ends = list(accumulate(len(pieces[token]) for token in tokens))
    costs, reading, waiting = [], predictor.start(), []
    for index, token in enumerate(tokens):
        waiting.append(reading)
        if len(waiting) == 128 or index + 1 == len(tokens):
            rows = predictor.log_probabilities(waiting)
            start = index + 1 - len(waiting)
            costs += [-float(row[token]) for row, token in zip(rows, tokens[start : index + 1], strict=True)]
            waiting = []
        reading = predictor.step(reading, token)
    before = [0.0, *accumulate(costs)]
    byte_offsets = [0, *accumulate(len(character.encode()) for character in text)]
    result = []
    for match in WORD.finditer(text):
        first = bisect_right(ends, byte_offsets[match.start()])
        last = bisect_right(ends, byte_offsets[match.end()] - 1)
        result.append((before[min(last + 1, len(costs))] - before[first], match.start()))
    return result


def detection(scored: list[tuple[float, int]], errors: list[Error], threshold: float) -> tuple[Detection, Counter[str]]:
    """With a threshold; and how many were found of each kind."""
    kinds = {error.offset: error.kind for error in errors}
    found = [offset for score, offset in scored if score >= threshold]
    hits = Counter(kinds[offset] for offset in found if offset in kinds)
    return Detection(len(found), sum(hits.values()), len(errors)), hits


def odds(findings: list[UnusualWord]) -> list[tuple[float, int]]:
    """What `check` found, as scores of words."""
    return [(finding.alternatives[0].odds, finding.offset) for finding in findings]


def prose(
    completer: Completer, default: float, tuning_path: Path, text_path: Path, num_bytes: int, seed: int
) -> dict[str, object]:
    """Precision and recall on corrupted text."""
    texts = [path.read_bytes()[:num_bytes].decode(errors="ignore") for path in (tuning_path, text_path)]
    (tuning, tuning_errors), (text, errors) = (corrupted(one, seed + number) for number, one in enumerate(texts))
    places = {error.offset for error in tuning_errors}
    plain = best_threshold(surprisals(completer, tuning), places)
    tried = odds(list(WordChecker(completer, threshold=MIN_ODDS).findings([tuning])))
    chosen = best_threshold(tried, places)
    print(f"{len(errors)} wrong words of {len(WORD.findall(text))} ({Counter(error.kind for error in errors)})")
    print(f"on the tuning text `check` had F0.5 {detection(tried, tuning_errors, chosen)[0].f_half:.3f}\n")
    started = time.perf_counter()
    found = odds(list(WordChecker(completer, threshold=chosen).findings([text])))
    seconds = time.perf_counter() - started
    rows = {
        "plain surprisal": (plain, surprisals(completer, text)),
        "check, threshold chosen": (chosen, found),
        "check, default": (default, odds(list(WordChecker(completer, threshold=default).findings([text])))),
    }
    result: dict[str, object] = {}
    print(f"{'':26}{'threshold':>10}{'precision':>11}{'recall':>9}{'F0.5':>8}   recall by kind")
    totals = Counter(error.kind for error in errors)
    for name, (threshold, scored) in rows.items():
        figures, hits = detection(scored, errors, threshold)
        kinds = {kind: hits[kind] / max(1, totals[kind]) for kind in KINDS}
        shown = ", ".join(f"{kind} {share:.2f}" for kind, share in kinds.items())
        print(
            f"{name:26}{threshold:10.2f}{figures.precision:11.3f}{figures.recall:9.3f}{figures.f_half:8.3f}   {shown}"
        )
        result[name] = {
            "threshold": threshold,
            "found": figures.found,
            "right": figures.right,
            "errors": figures.actual,
            "f_half": figures.f_half,
            "recall_by_kind": kinds,
        }
    print(f"\n{seconds:.1f} s for {len(text.encode()):,} bytes of corrupted text")
    clean = list(WordChecker(completer, threshold=default).findings([texts[1]]))
    print(f"as it was written: {len(clean)} findings with the default, in {len(WORD.findall(texts[1]))} words")
    return {**result, "seconds": seconds, "findings_in_clean_text": len(clean)}


Judged = tuple[list[tuple[float, bool]], float]
"""Of a pair: each finding of the wrong text, its odds and whether it is right; the greatest odds in the right text."""


def judged(checker: WordChecker, path: Path, number: int) -> list[Judged]:
    """Both texts of evenly spaced pairs."""
    pairs = [json.loads(line) for line in path.read_text().splitlines()]
    result = []
    for index in range(min(number, len(pairs))):
        pair = pairs[index * len(pairs) // min(number, len(pairs))]
        right, wrong = (list(WORD.finditer(pair[key])) for key in ("right", "wrong"))
        place, word = next(
            (other.start(), one[0]) for one, other in zip(right, wrong, strict=True) if one[0] != other[0]
        )
        found = [
            (finding.alternatives[0].odds, finding.offset == place and finding.alternatives[0].word == word)
            for finding in checker.findings([pair["wrong"]])
        ]
        others = [finding.alternatives[0].odds for finding in checker.findings([pair["right"]])]
        result.append((found, max(others, default=0.0)))
    return result


def shares(results: list[Judged], threshold: float) -> tuple[int, int]:
    """How many wrong texts are flagged as they should be, and how many right ones are left alone."""
    flagged = 0
    for found, _ in results:
        reported = [is_right for score, is_right in found if score >= threshold]
        flagged += bool(reported) and reported[0]
    return flagged, sum(most < threshold for _, most in results)


def pairs(completer: Completer, default: float, tuning_path: Path, path: Path, number: int) -> dict[str, object]:
    """How often the wrong word of a pair is found first, and nothing in the right text."""
    tuning = judged(WordChecker(completer, threshold=MIN_IN_PAIRS), tuning_path, number)
    candidates = sorted({score for found, most in tuning for score in [*(one for one, _ in found), most] if score > 0})
    chosen = max(candidates, key=lambda threshold: min(shares(tuning, threshold)))
    report: dict[str, object] = {}
    for name, threshold in (("chosen on the tuning pairs", chosen), ("the default", default)):
        results = judged(WordChecker(completer, threshold=threshold), path, number)
        counts = shares(results, threshold)
        flagged, clean = (share_interval(count, len(results)) for count in counts)
        print(f"threshold {threshold:.3g} ({name}), {len(results)} pairs:")
        print(f"  wrong word first, with the right one: {flagged.value:.3f} [{flagged.low:.3f}, {flagged.high:.3f}]")
        print(f"  nothing in the right text:            {clean.value:.3f} [{clean.low:.3f}, {clean.high:.3f}]")
        report[name] = {"threshold": threshold, "flagged": flagged._asdict(), "clean": clean._asdict()}
    return report


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name or directory")
    parser.add_argument("tuning", type=Path, nargs="?", help="text that chooses the thresholds")
    parser.add_argument("text", type=Path, nargs="?", help="text that is reported on")
    parser.add_argument("--bytes", type=int, default=60_000, help="of each text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tuning-pairs", type=Path)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--number", type=int, default=300, help="pairs of each file")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    smoke = "{dir}/model {dir}/corpus.txt {dir}/text.txt --bytes 800 --number 3"
    smoke += " --tuning-pairs {dir}/pairs.jsonl --pairs {dir}/pairs.jsonl"
    options = parse_arguments(parser, smoke=smoke)
    model = load_model(find_model(options.model))
    completer, default = Completer.from_model(model), threshold_from_manifest(model.manifest)
    report: dict[str, object] = {}
    if options.text is not None:
        report["prose"] = prose(completer, default, options.tuning, options.text, options.bytes, options.seed)
    if options.pairs is not None:
        report["pairs"] = pairs(completer, default, options.tuning_pairs, options.pairs, options.number)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
