import math

import numpy as np
import pytest
import torch

from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.mixture import NUM_OUTPUTS, NUM_SLOPES, MixingWeights, NGramMixture
from gru_complete.ngrams.overlay import Overlay
from gru_complete.nn.cells import CELL_CLASSES
from gru_complete.nn.language_model import LanguageModel
from gru_complete.training import scoring
from gru_complete.training.scoring import MixtureScorer, document_nats, read_documents, score_tokens
from tests.costs import token_nats

VOCAB_SIZE = 11


def document(num_tokens, seed=0):
    """A document of that many tokens between its two ends."""
    inner = np.random.default_rng(seed).integers(1, VOCAB_SIZE, num_tokens)
    return np.concatenate([[0], inner, [0]]).astype(np.uint16)


DOCUMENTS = [document(length, seed) for seed, length in enumerate([5, 0, 40, 1, 17, 40, 3])]


def reference_nats(model, tokens):
    """The nats of one document, read at once in float64."""
    precise = LanguageModel(VOCAB_SIZE, cell=model.architecture.cell, embedding_size=5, hidden_size=7, num_layers=2)
    precise.load_state_dict(model.state_dict())
    ids = torch.tensor(tokens.astype(np.int64))[None]
    logits, _ = precise.double().eval()(ids[:, :-1])
    return -logits.log_softmax(-1)[0].gather(-1, ids[0, 1:, None])[:, 0].detach().numpy()


@pytest.mark.parametrize("cell", CELL_CLASSES)
def test_the_nats_are_those_of_each_document_read_alone(cell):
    model = LanguageModel(VOCAB_SIZE, cell=cell, embedding_size=5, hidden_size=7, num_layers=2)
    expected = [reference_nats(model, tokens) for tokens in DOCUMENTS]
    scores = score_tokens(model, DOCUMENTS, chunk_len=8, batch_size=3)
    assert scores.num_tokens == sum(map(len, expected)) == sum(len(tokens) - 1 for tokens in DOCUMENTS)
    assert scores.total_nats == pytest.approx(sum(nats.sum() for nats in expected), rel=1e-6)
    for tokens, nats in zip(DOCUMENTS, expected, strict=True):
        np.testing.assert_allclose(token_nats(model, tokens, chunk_len=8), nats, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk_len", [1, 7, 64])
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_the_way_of_reading_does_not_change_the_result(tiny_model, chunk_len, batch_size):
    expected = score_tokens(tiny_model, DOCUMENTS)
    scores = score_tokens(tiny_model, DOCUMENTS, chunk_len=chunk_len, batch_size=batch_size)
    assert scores.total_nats == pytest.approx(expected.total_nats, rel=1e-6)
    assert (scores.num_tokens, scores.top1, scores.top3, scores.top5) == (
        expected.num_tokens,
        expected.top1,
        expected.top3,
        expected.top5,
    )


def test_the_order_of_the_documents_does_not_change_the_result(tiny_model):
    expected = score_tokens(tiny_model, DOCUMENTS)
    assert score_tokens(tiny_model, DOCUMENTS[::-1]).total_nats == pytest.approx(expected.total_nats, rel=1e-6)


def test_hits_count_the_targets_among_the_highest_scores(tiny_model):
    hits = np.zeros(3, dtype=int)
    for tokens in DOCUMENTS:
        ids = torch.tensor(tokens.astype(np.int64))[None]
        best = tiny_model(ids[:, :-1])[0][0].argsort(-1, descending=True)
        for place, limit in enumerate((1, 3, 5)):
            hits[place] += sum(ids[0, t + 1] in best[t, :limit] for t in range(len(tokens) - 1))
    scores = score_tokens(tiny_model, DOCUMENTS)
    assert [scores.top1, scores.top3, scores.top5] == hits.tolist()


def test_a_model_that_knows_nothing_pays_the_logarithm_of_its_vocabulary(tiny_model):
    with torch.no_grad():
        tiny_model.embedding.zero_()
    scores = score_tokens(tiny_model, [np.array([0, 1, 2, 3, 4, 5, 0])])
    assert scores.total_nats == pytest.approx(6 * math.log(VOCAB_SIZE))
    # All scores are equal, so the tokens stand in the order of their ids: only 0 is first, only 0, 1, 2 among three.
    assert (scores.top1, scores.top3, scores.top5) == (1, 3, 5)


def test_no_documents_cost_nothing(tiny_model):
    assert score_tokens(tiny_model, []) == scoring.TokenScores(0.0, 0, 0, 0, 0)


def test_dropout_is_off_and_the_mode_is_left_as_it_was():
    model = LanguageModel(VOCAB_SIZE, embedding_size=5, hidden_size=7, dropout=0.9).train()
    assert score_tokens(model, DOCUMENTS) == score_tokens(model, DOCUMENTS)
    assert model.training
    score_tokens(model.eval(), DOCUMENTS)
    assert not model.training


class ReadOnlyInChunks(np.ndarray):
    """An array that objects to being converted in one piece, as a long memory-mapped document would."""

    def __getitem__(self, index):
        assert isinstance(index, slice)
        part = np.asarray(self.view(np.ndarray)[index])
        assert len(part) <= 9
        return part

    def __array__(self, *_arguments, **_options):
        raise AssertionError("the whole document was converted")


def test_a_long_document_is_never_converted_whole(tiny_model):
    tokens = document(1000)
    expected = score_tokens(tiny_model, [tokens])
    scores = score_tokens(tiny_model, [tokens.view(ReadOnlyInChunks)], chunk_len=8)
    assert scores.total_nats == pytest.approx(expected.total_nats, rel=1e-6)


def test_a_memory_mapped_document_can_be_read(tiny_model, tmp_path):
    tokens = document(100)
    tokens.tofile(tmp_path / "tokens")
    mapped = np.memmap(tmp_path / "tokens", dtype=np.uint16, mode="r")
    assert score_tokens(tiny_model, [mapped]) == score_tokens(tiny_model, [tokens])


def test_the_nats_of_each_document_are_those_it_has_alone(tiny_model):
    streams = [np.array([0, 3, 4, 5, 0]), np.array([0, 7, 0]), np.array([0, 1, 2, 3, 4, 5, 6, 7, 8])]
    alone = [token_nats(tiny_model, stream).sum() for stream in streams]
    np.testing.assert_allclose(document_nats(tiny_model, streams, batch_size=2), alone, atol=1e-5)


# With counts


@pytest.fixture(params=[1, 4])
def mixture(request):
    """Counts of some other documents, and a gate that differs from context to context."""
    order = request.param
    ngrams = count_ngrams(*(document(200, seed) for seed in (50, 51)), vocab_size=VOCAB_SIZE, order=order)
    weights = np.random.default_rng(0).standard_normal((order + NUM_SLOPES, NUM_OUTPUTS)).astype(np.float32) / 2
    return NGramMixture(ngrams, MixingWeights(weights), adapts=True)


def nats_one_by_one(model, mixture, tokens, *, adapted):
    """The nats of a document, its tokens read and predicted one by one as in generation."""
    overlay, state, nodes, nats = Overlay(), None, mixture.ngrams.empty_context(), []
    for token, target in zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True):
        logits, state = model(torch.tensor([[token]]), state)
        nodes = mixture.ngrams.advance(nodes, token)
        probabilities = mixture.predict(logits[0, 0].detach().numpy(), nodes)[0]
        if adapted:
            overlay.learn(token)
            length, total, _ = mixture.ngrams.evidence(nodes)
            overlay.adjust(probabilities, overlay.recent_tokens(), length, total)
        nats.append(-math.log(probabilities[target]))
    return nats


@pytest.mark.parametrize("adapted", [False, True])
def test_with_counts_a_token_costs_what_it_costs_in_generation(tiny_model, mixture, adapted):
    for tokens in DOCUMENTS:
        nats = token_nats(tiny_model, tokens, mixture=mixture, adapted=adapted, chunk_len=7)
        np.testing.assert_allclose(nats, nats_one_by_one(tiny_model, mixture, tokens, adapted=adapted), atol=1e-4)


@pytest.mark.parametrize("adapted", [False, True])
def test_with_counts_the_way_of_reading_does_not_change_the_result(tiny_model, mixture, adapted):
    expected = score_tokens(tiny_model, DOCUMENTS, mixture=mixture, adapted=adapted)
    for chunk_len in (1, 7, 256):
        for batch_size in (1, 2, 100):
            ways = {"chunk_len": chunk_len, "batch_size": batch_size}
            scores = score_tokens(tiny_model, DOCUMENTS, mixture=mixture, adapted=adapted, **ways)
            assert scores.total_nats == pytest.approx(expected.total_nats, rel=1e-6)
            assert scores.num_tokens == expected.num_tokens


def test_hits_with_counts_are_those_of_the_mixed_distribution(tiny_model, mixture):
    """Each token in turn as the only target: its place in the mixture tells what it counts for."""
    nodes = mixture.ngrams.advance(mixture.ngrams.empty_context(), 0)
    logits = tiny_model(torch.tensor([[0]]))[0][0, 0].detach().numpy()
    order = mixture.predict(logits, nodes)[0].argsort()[::-1]
    for place in range(VOCAB_SIZE):
        scores = score_tokens(tiny_model, [np.array([0, order[place]])], mixture=mixture)
        assert (scores.top1, scores.top3, scores.top5) == (place < 1, place < 3, place < 5)


@pytest.mark.parametrize("adapted", [False, True])
def test_the_future_never_changes_what_the_past_costs(tiny_model, mixture, adapted):
    tokens = document(40, seed=5)
    expected = token_nats(tiny_model, tokens, mixture=mixture, adapted=adapted, chunk_len=8)
    for place in range(1, len(tokens) - 1):
        changed = tokens.copy()
        changed[place:-1] = VOCAB_SIZE - tokens[place:-1]
        nats = token_nats(tiny_model, changed, mixture=mixture, adapted=adapted, chunk_len=8)
        np.testing.assert_array_equal(nats[: place - 1], expected[: place - 1])


def test_documents_do_not_teach_each_other(tiny_model, mixture):
    first, second = document(30, seed=7), document(20, seed=8)
    alone = [score_tokens(tiny_model, [tokens], mixture=mixture, adapted=True).total_nats for tokens in (first, second)]
    for streams in ([first, second], [second, first], [first, first, second]):
        for batch_size in (1, 32):
            scores = score_tokens(tiny_model, streams, mixture=mixture, adapted=True, batch_size=batch_size)
            expected = sum(alone) + (len(streams) - 2) * alone[0]
            assert scores.total_nats == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(
        document_nats(tiny_model, [first, second], mixture=mixture),
        [token_nats(tiny_model, tokens, mixture=mixture).sum() for tokens in (first, second)],
        rtol=1e-6,
    )


def test_a_document_that_repeats_itself_is_cheaper_adapted(tiny_model, mixture):
    phrase = document(10, seed=9)[1:-1]
    tokens = np.concatenate([[0], *[phrase] * 6, [0]])
    static, adapted = (token_nats(tiny_model, tokens, mixture=mixture, adapted=adapted) for adapted in (False, True))
    np.testing.assert_allclose(adapted[0], static[0], rtol=1e-6)  # nothing has been learnt yet
    assert adapted[20:-1].sum() < 0.5 * static[20:-1].sum()


def test_nothing_is_kept_of_documents_that_were_read(tiny_model, mixture):
    mixed = MixtureScorer(mixture, adapted=True)
    for chunk in read_documents(tiny_model, DOCUMENTS, chunk_len=8, batch_size=3):
        mixed.predict(chunk)
        assert len(mixed.overlays) <= 3
    assert not mixed.overlays
    assert not mixed.contexts


def test_a_token_that_is_held_for_impossible_costs_a_finite_number(tiny_model):
    ngrams = count_ngrams(document(200), vocab_size=VOCAB_SIZE, order=3)
    weights = np.zeros((3 + NUM_SLOPES, NUM_OUTPUTS), np.float32)
    weights[:3] = [1000, 1000, 1000, -1000, -1000]
    nats = token_nats(
        tiny_model, document(50, seed=3), mixture=NGramMixture(ngrams, MixingWeights(weights), adapts=False)
    )
    assert np.isfinite(nats).all()


def test_an_overlay_needs_counts(tiny_model):
    for score in (score_tokens, token_nats):
        with pytest.raises(ValueError, match="an overlay needs a mixture"):
            score(tiny_model, DOCUMENTS if score is score_tokens else DOCUMENTS[0], adapted=True)


@pytest.mark.parametrize("with_memory", [False, True])
def test_the_confidence_is_the_probability_of_the_likeliest_token(tiny_model, mixture, with_memory):
    outcomes = []
    scores = score_tokens(tiny_model, DOCUMENTS, mixture=mixture if with_memory else None, observe=outcomes.append)
    confidences = np.concatenate([outcome.confidences for outcome in outcomes])
    ranks = np.concatenate([outcome.ranks for outcome in outcomes])
    nats = np.concatenate([outcome.nats for outcome in outcomes])
    assert len(confidences) == scores.num_tokens
    assert 0 < (ranks == 0).sum() < len(ranks)
    np.testing.assert_allclose(np.exp(-nats[ranks == 0]), confidences[ranks == 0], rtol=1e-5)
    assert (np.exp(-nats[ranks > 0]) <= confidences[ranks > 0]).all()
