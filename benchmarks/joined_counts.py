"""How the n-gram models of a text and of a base are best joined: bits per byte of a test text under each way.

The first nine tenths of the text are counted, its last tenth fits the shares; then both are counted.

    python benchmarks/joined_counts.py TRAIN TEST [--base MODEL] [--bytes 120000]
"""

import argparse
import math
from pathlib import Path

import numpy as np
from common import parse_arguments

from gru_complete.arrays import FloatArray, TokenIds
from gru_complete.model.directory import load_model
from gru_complete.model.home import built_in_model
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.evidence import StreamScores
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer
from gru_complete.training.mixing import pair_with_base

CONSTANT_SHARES = np.linspace(0.02, 0.98, 49)


def read_tokens(text: bytes, tokenizer: Tokenizer) -> TokenIds:
    """The tokens of a text, which may be cut inside a character at its ends, as a document."""
    return np.array([DOCUMENT_END, *tokenizer.encode(text.decode(errors="ignore").encode()), DOCUMENT_END])


def best_constant_share(own: NGrams, base: NGrams, tuning: TokenIds) -> float:
    """The one share of ``own`` under which the tuning text is most likely."""
    of_own, of_base = own.score_stream(tuning).probabilities, base.score_stream(tuning).probabilities
    likelihoods = [np.log(share * of_own + (1 - share) * of_base).sum() for share in CONSTANT_SHARES]
    return float(CONSTANT_SHARES[np.argmax(likelihoods)])


def backing_off_share(own: StreamScores) -> FloatArray:
    """Witten and Bell's: the share of ``own`` falls with the number of different followers of a context."""
    totals = np.maximum(np.asarray(own.evidence.totals, float), 1)
    shares: FloatArray = totals / (totals + np.asarray(own.evidence.num_followers, float))
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--base", type=Path, default=built_in_model(), help="default: the built-in one")
    parser.add_argument("--bytes", type=int, default=120_000, help="of the test text, from its beginning")
    options = parse_arguments(parser, smoke="{dir}/text.txt {dir}/corpus.txt --base {dir}/model --bytes 2000")
    model = load_model(options.base)
    assert model.mixture is not None, "the base has no counts"
    assert isinstance(model.mixture.ngrams, NGrams), "the base has counts of two texts"
    base, tokenizer = model.mixture.ngrams, model.tokenizer
    text, test_text = options.train.read_bytes(), options.test.read_bytes()[: options.bytes]
    cut = len(text) * 9 // 10
    training, tuning, test = (read_tokens(part, tokenizer) for part in (text[:cut], text[cut:], test_text))
    most = count_ngrams(training, vocab_size=tokenizer.vocab_size)
    own = count_ngrams(training, tuning, vocab_size=tokenizer.vocab_size)
    of_own, of_base = own.score_stream(test), base.score_stream(test)

    def joined(share: float | FloatArray) -> FloatArray:
        probabilities: FloatArray = share * of_own.probabilities + (1 - share) * of_base.probabilities
        return probabilities

    ways = {
        "own": of_own.probabilities,
        "base": of_base.probabilities,
        "one share": joined(best_constant_share(most, base, tuning)),
        "backing off": joined(backing_off_share(of_own)),
        "by evidence": pair_with_base(most, base, tuning).with_own(own).score_stream(test).probabilities,
    }
    for name, probabilities in ways.items():
        print(f"{name:12} {-np.log(probabilities).sum() / math.log(2) / len(test_text):.4f} bits per byte")


if __name__ == "__main__":
    main()
