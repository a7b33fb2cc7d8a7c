import random

import numpy as np
import pytest

from gru_complete.errors import CorpusError
from gru_complete.runtime.batch import complete_each, draw_each
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions, SamplingOptions
from gru_complete.runtime.sampling import candidates, draw

PROMPTS = [b"The ca", b"", b"A dog saw the ol", b"the", "Naïve 🧑".encode(), b"the caf" + b"\xc3", b"A bird. "]


def some_prompts(number, seed=0):
    rng = random.Random(seed)
    words = ["The", "cat", "dog", "bird", "house", "river", "ate", "saw", "liked", "old", "red", "green", "Zorbaxel"]
    texts = [" ".join(rng.choices(words, k=rng.randint(0, 12))).encode() for _ in range(number)]
    return PROMPTS + [text[: rng.randint(0, len(text))] for text in texts]


def taken(prompts, *, pauses=()):
    """What gives the prompts; at the times in ``pauses`` there is none yet, unless it is waited for."""
    rest, calls = iter(prompts), iter(range(10**9))

    def take(waits):
        if next(calls) in pauses and not waits:
            return None
        for prompt in rest:
            return prompt
        raise EOFError

    return take


@pytest.fixture(scope="module", params=[True, False], ids=["adapting", "static"])
def completer(request, trained_model):
    return Completer.load(trained_model, adapts=request.param)


def assert_as_alone(completions, prompts, completer, options, before=None):
    alone = [completer.complete_from(completer.read(prompt, before), options) for prompt in prompts]
    assert [one.prompt for one in completions] == prompts
    assert len([1 for one, other in zip(completions, alone, strict=True) if one.data == other.data]) >= len(prompts) - 1
    for one, other in zip(completions, alone, strict=True):
        if one.data == other.data:
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4 * (1 + one.tokens))
            assert (one.tokens, one.stop_reason, one.seed) == (other.tokens, other.stop_reason, other.seed)


@pytest.mark.parametrize(
    "options",
    [
        CompletionOptions(seed=3),
        CompletionOptions(sampling=SamplingOptions(temperature=0), max_tokens=12, no_repeat=0),
        CompletionOptions(sampling=SamplingOptions(temperature=0), max_tokens=30),
        CompletionOptions(sampling=SamplingOptions(temperature=1, min_p=0), until="none", max_tokens=9),
        CompletionOptions(sampling=SamplingOptions(top_k=3, top_p=0.9, repetition_penalty=1.2), until="word"),
        CompletionOptions(max_tokens=1),
    ],
)
def test_each_prompt_is_completed_as_it_would_be_alone(completer, options):
    prompts = some_prompts(60)
    assert_as_alone(list(complete_each(completer, taken(prompts), options, width=8)), prompts, completer, options)


def test_all_prompts_continue_the_same_text_and_learn_nothing_from_each_other(completer):
    before = completer.read(b"Zorbaxel Quintonim keeps a fenlark. Zorbaxel Quintonim sings. Zor")
    prompts = some_prompts(20)
    options = CompletionOptions(sampling=SamplingOptions(temperature=0), max_tokens=10)
    completions = list(complete_each(completer, taken(prompts), options, before, width=5))
    assert_as_alone(completions, prompts, completer, options, before)
    swapped = list(complete_each(completer, taken(prompts[::-1]), options, before, width=5))
    assert [one.data for one in swapped[::-1]] == [one.data for one in completions]


def test_the_width_changes_nothing(completer):
    prompts = some_prompts(20)
    texts = [
        [one.data for one in complete_each(completer, taken(prompts), CompletionOptions(), width=width)]
        for width in (1, 3, 64)
    ]
    assert texts[0] == texts[1] == texts[2]


def test_available_prompts_are_completed_before_waiting_for_more(completer):
    prompts = some_prompts(5)
    given = []

    def take(waits):
        if len(given) == len(prompts):
            raise EOFError
        if not waits and len(given) % 3 == 2:
            return None
        given.append(prompts[len(given)])
        return given[-1]

    seen = 0
    for completion in complete_each(completer, take, CompletionOptions(max_tokens=3)):
        assert completion.prompt == prompts[seen]
        seen += 1
        if seen == 2:
            assert len(given) < len(prompts)
    assert seen == len(prompts)


def test_an_endless_stream_is_read_only_a_little_ahead(completer):
    number = 0

    def take(waits):
        nonlocal number
        number += 1
        return b"The cat"

    completions = complete_each(completer, take, CompletionOptions(), width=4)
    for _ in range(100):
        next(completions)
    assert number <= 100 + 5 * 64


def test_an_error_of_the_source_is_raised_after_the_earlier_completions(completer):
    prompts = iter([b"The cat", b"A dog"])

    def take(waits):
        for prompt in prompts:
            return prompt
        raise CorpusError("line 3 is too long")

    completions = complete_each(completer, take, CompletionOptions())
    assert [next(completions).prompt, next(completions).prompt] == [b"The cat", b"A dog"]
    with pytest.raises(CorpusError):
        next(completions)


def test_no_prompts_give_no_completions(completer):
    assert list(complete_each(completer, taken([]), CompletionOptions())) == []


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingOptions(),
        SamplingOptions(min_p=0),
        SamplingOptions(temperature=0),
        SamplingOptions(temperature=0.001, min_p=0),
        SamplingOptions(temperature=5, min_p=0.5),
    ],
)
def test_drawing_from_many_rows_is_drawing_from_each(sampling):
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(200, 50)).astype(np.float32) * 4
    scores[generator.random(scores.shape) < 0.3] = -np.inf
    scores[7, 1:] = -np.inf  # one possibility
    scores[7, 0] = -3
    uniforms = [0.0, np.nextafter(1.0, 0.0), *generator.random(198)]
    drawn = draw_each(scores, sampling, uniforms)
    for row, uniform, token in zip(scores, uniforms, drawn, strict=True):
        tokens, weights = candidates(row, sampling)
        assert token == tokens[draw(weights, uniform)]
