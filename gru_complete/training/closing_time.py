"""How long it will take from the last step of a training to the model, by a short trial before the first step."""

from collections.abc import Sequence

import numpy as np
import torch

from gru_complete.arrays import TokenIds
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.mixture import MixingWeights, NGramMixture
from gru_complete.ngrams.pair import NGramPair
from gru_complete.nn.language_model import LanguageModel
from gru_complete.text.xz import CONTEXT_BYTES
from gru_complete.training.finishing import MEASURED_BYTES, REPORT_TOKENS
from gru_complete.training.mixing import MAX_SCORES, ONLINE_TRIAL_TOKENS, START
from gru_complete.training.probe import timed
from gru_complete.training.scoring import score_tokens
from gru_complete.training.tokenized_corpus import TokenizedCorpus

CLOSING_SECONDS = 0.7  # writing the model and leaving Python
FITTING_COST = 3  # of a token on which mixing weights are fitted, in tokens scored side by side
CHECKING_COST = 20  # of a token on which the caller's figures are measured, in tokens scored alone
XZ_SECONDS = 0.6e-6  # a byte of context
LOOKS = 3
TRIED_TOKENS, TRIED_ROWS = 800, 16


def estimate_closing_seconds(
    corpus: TokenizedCorpus, counts: NGrams | NGramPair | None, hidden_size: int, device: torch.device
) -> float:
    """Seconds that the work after the last step takes, besides counting, if nothing else runs.

    Fitting and measuring are expressed in tokens to be scored, some of which are scored with a throw-away network.

    Args:
        corpus: the text.
        counts: the n-gram counts of the training split; None if the network is to work alone.
        hidden_size: of the network.
        device: where training runs.
    """
    model = LanguageModel(corpus.tokenizer.vocab_size, embedding_size=256, hidden_size=hidden_size).to(device)
    mixture = None if counts is None else NGramMixture(counts, MixingWeights.constant(START, counts.order), adapts=True)

    def seconds_a_token(streams: Sequence[TokenIds], *, adapted: bool = False) -> float:
        def look() -> None:
            score_tokens(model, streams, mixture=mixture, adapted=adapted, device=device)

        num_tokens = sum(len(stream) - 1 for stream in streams)
        return min(timed(look, device).quiet for _ in range(LOOKS)) / num_tokens

    tuning, num_bytes = corpus.streams["tuning"], corpus.headers["training"].num_bytes
    stream: TokenIds = np.asarray(tuning[:TRIED_TOKENS])
    pieces = np.array_split(stream, max(1, min(TRIED_ROWS, len(stream) // 4)))
    side_by_side, alone = seconds_a_token(pieces), seconds_a_token([stream])
    measured_tokens = MEASURED_BYTES * len(tuning) // corpus.headers["tuning"].num_bytes
    seconds = CLOSING_SECONDS + alone * CHECKING_COST * min(len(tuning), measured_tokens)
    passes = [alone]
    if counts is not None:
        passes.append(seconds_a_token([stream], adapted=True))
        seconds += side_by_side * FITTING_COST * min(len(tuning), MAX_SCORES // counts.vocab_size)
        seconds += side_by_side * sum(passes) / alone * min(len(tuning), ONLINE_TRIAL_TOKENS)
    if "held_out" in corpus.streams:
        seconds += sum(passes) * min(len(corpus.streams["held_out"]), REPORT_TOKENS)
        seconds += XZ_SECONDS * min(num_bytes, CONTEXT_BYTES)
    return seconds
