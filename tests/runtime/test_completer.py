import math
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.errors import ModelError, UsageError
from gru_complete.model.directory import ModelContents, save_model
from gru_complete.model.manifest import TextFacts
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.mixture import NUM_OUTPUTS, NUM_SLOPES, MixingWeights, NGramMixture
from gru_complete.runtime import prompt_state as prompt_state_module
from gru_complete.runtime.boundaries import CONTEXT_CHARACTERS, UNTIL
from gru_complete.runtime.characters import unfinished
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions, SamplingOptions
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.prompt_state import PromptReader
from gru_complete.runtime.stepper import Stepper
from gru_complete.text.tokenizer import segments


def ask(completer, prompt=b"", **options):
    return completer.complete(prompt, CompletionOptions(**options))


def test_a_completion_says_what_was_written_and_why_it_ended(says):
    done = ask(says("He", " goes", ".", " She"), seed=7)
    assert (done.prompt, done.data, done.tokens, done.stop_reason, done.seed) == (b"", b"He goes.", 4, "until", 7)


def test_the_document_end_ends_the_completion(says):
    done = ask(says("He", " goes"))
    assert (done.data, done.tokens, done.stop_reason) == (b"He goes", 3, "document_end")


def test_max_tokens_ends_the_completion(says):
    done = ask(says("He", " goes", " on"), max_tokens=2)
    assert (done.data, done.tokens, done.stop_reason) == (b"He goes", 2, "max_tokens")


def test_max_tokens_reached_together_with_the_end_counts_as_the_end(says):
    assert ask(says("He", ".", " She"), max_tokens=3).stop_reason == "until"


def test_the_first_token_read_is_the_document_end(scored_model, byte_pieces):
    read = []

    def scores(tokens):
        read.append(list(tokens))
        return np.zeros(257)

    ask(Completer(Predictor(scored_model(scores)), byte_pieces()), b"", max_tokens=1)
    ask(Completer(Predictor(scored_model(scores)), byte_pieces()), b"ab", max_tokens=1)
    assert read[0] == read[1] == [0]
    assert read[-1] == [0, 1 + ord("a"), 1 + ord("b")]


def test_each_token_drawn_is_read_before_the_next(scored_model, byte_pieces):
    count = 1 + ord("0")  # after n tokens the most likely piece is the digit n
    model = scored_model(lambda tokens: 50 * (np.arange(257) == count + len(tokens)))
    assert ask(Completer(Predictor(model), byte_pieces()), until="none", max_tokens=5).data == b"12345"


def test_logprob_is_at_temperature_one_with_nothing_filtered(scored_model, byte_pieces):
    scores = np.full(257, -math.inf)
    scores[[1 + ord("a"), 1 + ord("b")]] = np.log([0.75, 0.25])
    completer = Completer(Predictor(scored_model(lambda tokens: scores)), byte_pieces())
    done = ask(completer, max_tokens=3, until="none", sampling=SamplingOptions(temperature=0))
    assert (done.data, done.logprob) == (b"aaa", pytest.approx(3 * math.log(0.75)))


def test_masked_tokens_still_count_in_logprob(scored_model, byte_pieces):
    scores = np.full(257, -math.inf)
    scores[[1 + ord("a"), 1 + 0x1B]] = np.log([0.25, 0.75])
    completer = Completer(Predictor(scored_model(lambda tokens: scores)), byte_pieces())
    done = ask(completer, max_tokens=1)
    assert (done.data, done.logprob) == (b"a", pytest.approx(math.log(0.25)))


def test_greedy_takes_the_most_likely_token_each_time(scored_model, byte_pieces):
    # after "a" comes "b", after all else "a"; other letters are nearly as likely
    def scores(tokens):
        logits = np.ones(257)
        logits[1 + ord("b" if tokens[-1] == 1 + ord("a") else "a")] = 1.01
        return logits

    completer = Completer(Predictor(scored_model(scores)), byte_pieces())
    done = ask(completer, max_tokens=4, until="none", sampling=SamplingOptions(temperature=0))
    assert done.data == b"abab"


def letters(tokens):
    logits = np.full(257, -50.0)
    logits[1 + ord("a") : 1 + ord("z") + 1] = 0
    return logits


@pytest.fixture
def random_letters(scored_model, byte_pieces):
    return Completer(Predictor(scored_model(letters)), byte_pieces())


def test_the_same_seed_gives_the_same_text_and_another_seed_another(random_letters):
    texts = [ask(random_letters, seed=seed).data for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_one_random_number_is_used_per_token(random_letters):
    long, short = (ask(random_letters, seed=3, max_tokens=n).data for n in (20, 5))
    assert long.startswith(short)


def test_many_completions_are_those_of_consecutive_seeds(random_letters):
    many = list(random_letters.complete_many(random_letters.read(b"x"), CompletionOptions(seed=5), 3))
    assert [done.seed for done in many] == [5, 6, 7]
    assert many == [ask(random_letters, b"x", seed=seed)._replace(prompt=b"") for seed in (5, 6, 7)]


def test_many_completions_read_the_prompt_once(scored_model, byte_pieces):
    model = scored_model(letters)
    completer = Completer(Predictor(model), byte_pieces())
    num_read = []
    for _ in completer.complete_many(completer.read(b"x" * 20), CompletionOptions(max_tokens=1), 5):
        num_read.append(len(model.texts))
    assert num_read == num_read[:1] * 5


def test_a_stream_can_be_drawn_again(random_letters):
    stream = random_letters.stream(random_letters.read(b"x"), CompletionOptions())
    assert list(stream) == list(stream)
    assert stream.result is not None


def test_repetition_penalty_sees_the_prompt_and_the_last_tokens(scored_model, byte_pieces):
    def scores(tokens):  # a 2, b 1.5, c 1.2: halved when recent
        logits = np.full(257, -50.0)
        logits[[1 + ord("a"), 1 + ord("b"), 1 + ord("c")]] = 2, 1.5, 1.2
        return logits

    completer = Completer(Predictor(scored_model(scores)), byte_pieces())
    sampling = SamplingOptions(temperature=0, repetition_penalty=2)
    assert ask(completer, b"a", max_tokens=3, until="none", sampling=sampling).data == b"bca"
    assert ask(completer, b"a" + 64 * b"c", max_tokens=1, until="none", sampling=sampling).data == b"a"


def test_a_stop_string_is_found_across_tokens_and_not_printed(says):
    completer = says("on", "e E", "N", "D two")
    assert ask(completer, stop=[b"END"]).data == b"one "
    assert ask(completer, stop=[b"END"]).stop_reason == "stop"


def test_no_piece_contains_the_beginning_of_a_stop_string(says):
    completer = says("a", "E", "N", "E", "N", "D")
    stream = completer.stream(completer.read(b""), CompletionOptions(stop=[b"END"]))
    assert list(stream) == [b"a", b"EN"]


def test_the_beginning_of_a_stop_string_is_yielded_at_the_end(says):
    done = ask(says("a", "E", "N"), stop=[b"END"])
    assert (done.data, done.stop_reason) == (b"aEN", "document_end")


def test_sentences_end_with_the_model_s_abbreviations(says):
    pieces = ["Dr", ".", " Watson", ".", " He"]
    assert ask(says(*pieces)).data == b"Dr."
    assert ask(says(*pieces, text=TextFacts(["Dr"]))).data == b"Dr. Watson."
    assert ask(says(".", " Watson", ".", " He", prompt=b"I saw Dr", text=TextFacts(["Dr"])), b"I saw Dr").data == (
        b". Watson."
    )


def test_without_an_end_of_its_own_a_completion_ends_where_the_model_s_text_does(says):
    pieces = ["One", ".", " Two", "\n", "Six", "."]
    assert ask(says(*pieces)).data == b"One."
    assert ask(says(*pieces, text=TextFacts(until="line"))).data == b"One. Two"
    assert ask(says(*pieces, text=TextFacts(until="line")), until="sentence").data == b"One."


def test_a_prompt_may_be_any_bytes(says):
    prompt = b"\xff\xe2\x82 \x00<s></s>"
    done = ask(says("ok", prompt=prompt), prompt)
    assert (done.prompt, done.data) == (prompt, b"ok")


def test_a_character_in_byte_pieces_is_one_piece_of_the_stream(scored_model, byte_pieces):
    tokenizer = byte_pieces()
    script = [1 + byte for byte in "é走😀".encode()]
    model = scored_model(lambda tokens: 50 * (np.arange(257) == [*script, 0][len(tokens) - 1]))
    completer = Completer(Predictor(model), tokenizer)
    stream = completer.stream(completer.read(b""), CompletionOptions(until="none"))
    assert list(stream) == ["é".encode(), "走".encode(), "😀".encode()]


def test_a_character_that_max_tokens_cuts_is_dropped(scored_model, byte_pieces):
    script = [1 + byte for byte in "a走".encode()]
    model = scored_model(lambda tokens: 50 * (np.arange(257) == script[len(tokens) - 1]))
    done = ask(Completer(Predictor(model), byte_pieces()), until="none", max_tokens=3)
    assert (done.data, done.tokens, done.stop_reason) == (b"a", 3, "max_tokens")


PIECES = ("né".encode(), b". ", "。".encode(), b"\n\n", b"\x1b[31m", b"Mr", b"EN", b"D ", "\x9b".encode())


def check_stream(completer, options):
    """Every piece is text by itself, free of control characters; together they are the text."""
    stream = completer.stream(completer.read(b""), options)
    pieces = list(stream)
    for piece in pieces:
        assert piece
        text = piece.decode()
        assert not any(ord(c) < 0x20 and c not in "\t\n" or 0x7F <= ord(c) < 0xA0 for c in text)
    assert b"".join(pieces) == stream.result.data
    assert not any(stop in stream.result.data for stop in options.stop)
    return stream.result


@given(
    seed=st.integers(0, 2**32),
    until=st.sampled_from(UNTIL),
    stop=st.lists(st.sampled_from(["END", "é.", "\n", "x"]), max_size=2),
    max_tokens=st.integers(1, 40),
    sharpness=st.sampled_from([0, 1, 30]),
)
def test_an_adversarial_model_cannot_break_the_text(
    scored_model, byte_pieces, seed, until, stop, max_tokens, sharpness
):
    scores = np.random.default_rng(seed).normal(size=(7, 257 + len(PIECES))) * sharpness
    scores[:, 0] -= 5  # few document ends
    model = scored_model(lambda tokens: scores[sum(tokens) % 7])
    options = CompletionOptions(
        max_tokens, until, [s.encode() for s in stop], SamplingOptions(temperature=1, min_p=0), seed
    )
    check_stream(Completer(Predictor(model), byte_pieces(*PIECES)), options)


def test_ten_thousand_completions_of_random_bytes_are_text(scored_model, byte_pieces):
    tokenizer = byte_pieces(*PIECES)
    logits = np.zeros(tokenizer.vocab_size, dtype=np.float32)
    logits[1 + 0x80 :] = 2  # mostly bytes of characters

    class Forgetful(scored_model):
        def step(self, token, state):
            return state, state

    completer = Completer(Predictor(Forgetful(lambda tokens: logits)), tokenizer)
    options = CompletionOptions(max_tokens=8, until="none", sampling=SamplingOptions(temperature=1, min_p=0))
    kinds = set()
    for done in completer.complete_many(completer.read(b""), options, 10_000):
        kinds.update(len(character.encode()) for character in done.data.decode())
    assert kinds == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_tokens": 0}, "between 1 and 1000000"),
        ({"max_tokens": -1}, "between 1 and 1000000"),
        ({"max_tokens": 10**9}, "between 1 and 1000000"),
        ({"seed": -1}, "between 0 and 18446744073709551615"),
        ({"seed": 2**70}, "between 0 and 18446744073709551615"),
        ({"until": "chapter"}, "word, line, sentence, paragraph, none"),
        ({"stop": [b""]}, "not be empty"),
        ({"stop": [b"\xff"]}, "not valid UTF-8"),
    ],
)
def test_an_option_out_of_range_is_refused(options, said):
    with pytest.raises(UsageError, match=said):
        CompletionOptions(**options)


def test_the_number_of_completions_has_a_range(random_letters):
    with pytest.raises(UsageError, match="between 1 and 10000, not 0"):
        list(random_letters.complete_many(random_letters.read(b""), CompletionOptions(), 0))


def test_several_completions_at_temperature_zero_are_those_of_a_beam(random_letters):
    greedy = {"sampling": SamplingOptions(temperature=0), "max_tokens": 4, "until": "none"}
    prompt = random_letters.read(b"x")
    searched = list(random_letters.complete_many(prompt, CompletionOptions(**greedy), 3))
    assert len({done.data for done in searched}) == 3
    assert searched == list(random_letters.complete_many(prompt, CompletionOptions(beam=3, **greedy), 3))
    assert searched == list(random_letters.complete_many(prompt, CompletionOptions(beam=2, **greedy), 3))


@pytest.mark.parametrize(
    ("n", "options", "said"),
    [
        (101, {}, "at temperature 0,? .* between 1 and 100, not 101"),
        (101, {"beam": 5}, "with a beam, .* between 1 and 100, not 101"),
        (2, {"logprobs": 1}, "logprobs does not go"),
        (2, {"min_confidence": 0.1}, "min-confidence suggests one text"),
    ],
)
def test_what_does_not_go_with_a_beam_is_refused_before_anything_is_predicted(random_letters, n, options, said):
    asked = CompletionOptions(sampling=SamplingOptions(temperature=0), **options)
    with pytest.raises(UsageError, match=said):
        random_letters.complete_many(random_letters.read(b"x"), asked, n)


def test_the_largest_seed_is_followed_by_the_smallest(random_letters):
    many = random_letters.complete_many(random_letters.read(b""), CompletionOptions(seed=2**64 - 1), 2)
    assert [done.seed for done in many] == [2**64 - 1, 0]


# ------------------------------------------------------------------ with a real tokenizer and weights


@pytest.fixture(scope="module")
def real(tokenizer, random_model):
    return Completer(Predictor(Stepper(*random_model)), tokenizer)


def test_a_model_loaded_from_its_directory_completes_as_it_did(real, tokenizer, random_model, tmp_path):
    arch, weights = random_model
    save_model(
        tmp_path,
        ModelContents(
            arch=arch,
            weights=weights,
            tokenizer=tokenizer,
            metrics={},
            training={},
            text=TextFacts(["Mr", "Mrs"]),
        ),
    )
    options = CompletionOptions(until="none", max_tokens=30, seed=1)
    loaded = Completer.load(tmp_path)
    assert loaded.complete(b"Mr Watson", options) == real.complete(b"Mr Watson", options)
    assert loaded._cutter(loaded.read(b""), CompletionOptions()).feed("Mrs. ") == "Mrs. "


def test_how_the_prompt_is_cut_into_blocks_changes_nothing(real, monkeypatch):
    prompt = "Mr Watson goes to Köln. 走 They like cats. ".encode() * 9
    whole = real.read(prompt)
    for size in (1, 7, 64):
        monkeypatch.setattr(prompt_state_module, "READ_BYTES", size)
        cut = real.read(prompt)
        assert cut.decoder_state.hidden.tolist() == whole.decoder_state.hidden.tolist()
        assert (cut.recent, cut.tail) == (whole.recent, whole.tail)


def test_the_prompt_state_describes_the_end_of_the_prompt(real):
    prompt_state = real.read(b"They like cats. " * 100 + b"Mr Watson goes")
    assert real.tokenizer.decode(prompt_state.recent).endswith(b"They like cats. Mr Watson")
    assert prompt_state.segment == b" goes"
    assert prompt_state.tail.endswith("Mr Watson goes")
    assert (len(prompt_state.recent), len(prompt_state.tail)) == (64, 32)


@pytest.mark.parametrize("prompt", [b"", b"On", b"On ", b"\xff\xfe", "😀\u200d▁".encode(), b"<s></s><unk>\x00\x1b"])
def test_every_prompt_is_continued_with_text(real, prompt):
    done = real.complete(prompt, CompletionOptions(until="none", max_tokens=50))
    assert done.prompt == prompt
    done.data.decode()


def test_a_trailing_space_of_the_prompt_counts(real):
    assert real.read(b"On").decoder_state.hidden.tolist() != real.read(b"On ").decoder_state.hidden.tolist()


def test_an_empty_prompt_starts_from_the_document_end(real):
    hidden, _ = real.predictor.stepper.step(0, real.predictor.stepper.initial_state())
    assert real.read(b"").decoder_state.hidden.tolist() == hidden.tolist()


def test_weights_that_overflow_give_one_clear_error(tokenizer, random_model):
    arch, weights = random_model
    huge = {name: np.full_like(array, 3e38) for name, array in weights.items()}
    with pytest.raises(ModelError, match="not finite"):
        ask(Completer(Predictor(Stepper(arch, huge)), tokenizer), b"Mr Watson")


def test_a_long_prompt_takes_no_memory_beyond_a_block(tokenizer, scored_model):
    class Unread(scored_model):
        def read(self, tokens, state):
            return state, state

    completer = Completer(Predictor(Unread(lambda tokens: np.zeros(tokenizer.vocab_size))), tokenizer)
    peaks = []
    for size in (1 << 18, 1 << 20):
        prompt = (b"They like cats. " * (size // 16))[:size]
        tracemalloc.start()
        completer.read(prompt)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_completing_imports_neither_torch_nor_pydantic_nor_rich():
    program = "import sys, gru_complete.runtime.completer; print(*{'torch', 'pydantic', 'rich'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_a_suggestion_ends_before_its_probability_falls_below_the_confidence(scored_model, byte_pieces):
    scores = np.full(257, -math.inf)
    scores[[1 + ord("a"), 1 + ord("b")]] = np.log([0.75, 0.25])
    completer = Completer(Predictor(scored_model(lambda tokens: scores)), byte_pieces())
    for confidence, text in ((0.8, b""), (0.75, b"a"), (0.5, b"aa"), (0.4, b"aaa")):
        done = ask(completer, until="none", min_confidence=confidence - 1e-6)
        assert (done.data, done.tokens, done.stop_reason) == (text, len(text), "confidence")
        assert done.logprob == pytest.approx(len(text) * math.log(0.75))
    done = ask(completer, until="none", max_tokens=2, min_confidence=0.4)
    assert (done.data, done.stop_reason) == (b"aa", "max_tokens")


def test_a_suggestion_is_likely_as_text_not_as_tokens(scored_model, byte_pieces):
    tokenizer = byte_pieces(b"once", b"only", b"one")
    scores = np.full(tokenizer.vocab_size, -math.inf)
    scores[[tokenizer.pieces.index(piece) for piece in (b"once", b"only", b"one", b"x")]] = np.log([0.2, 0.2, 0.2, 0.4])
    completer = Completer(Predictor(scored_model(lambda tokens: scores)), tokenizer)
    done = ask(completer, until="none", min_confidence=0.5)
    assert (done.data, done.tokens, done.stop_reason) == (b"on", 1, "confidence")
    assert done.logprob == pytest.approx(math.log(0.6))
    assert b"".join(completer.stream(completer.read(b""), CompletionOptions(until="none", min_confidence=0.5))) == b"on"


# ------------------------------------------------------------------ prompts that end anywhere


def same(prompt_state, other):
    """Two contexts are the same, bit for bit."""
    assert prompt_state.segment == other.segment
    assert (prompt_state.recent, prompt_state.tail) == (other.recent, other.tail)
    assert prompt_state.decoder_state.nodes == other.decoder_state.nodes
    assert prompt_state.decoder_state.last == other.decoder_state.last
    assert prompt_state.decoder_state.hidden.tolist() == other.decoder_state.hidden.tolist()
    assert prompt_state.decoder_state.state.tolist() == other.decoder_state.state.tolist()
    if prompt_state.overlay is not None:
        assert prompt_state.overlay.tokens.tolist() == other.overlay.tokens.tolist()
    return True


@pytest.fixture(scope="module")
def learning(real):
    """The same model with counts, learning from its prompt."""
    stream = np.array([0, *real.tokenizer.encode(b"Mr Watson goes to Paris. They like cats.\n" * 5), 0], np.uint16)
    ngrams = count_ngrams(stream, vocab_size=real.tokenizer.vocab_size, order=3)
    gate = np.random.default_rng(0).normal(size=(3 + NUM_SLOPES, NUM_OUTPUTS)).astype(np.float32)
    predictor = Predictor(real.predictor.stepper, NGramMixture(ngrams, MixingWeights(gate), adapts=True))
    return Completer(predictor, real.tokenizer)


PROMPTS = st.text(max_size=80).map(str.encode) | st.binary(max_size=80)
PROMPTS |= st.lists(
    st.sampled_from(["Mr Watson", " ", "  ", "\n", "\n\n", "走", "é", "goes", ".", "\t"]), max_size=9
).map(lambda parts: "".join(parts).encode())


@given(prompt=PROMPTS, data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_text_read_in_two_parts_is_the_text_read_at_once(learning, prompt, data):
    cut = data.draw(st.integers(0, len(prompt)))
    first = learning.read(prompt[:cut])
    both = learning.read(prompt[cut:], first)
    assert same(both, learning.read(prompt))
    assert same(first, learning.read(prompt[:cut]))  # reading on did not change it
    finished = sum(len(segment) for segment in list(segments(prompt))[:-1])
    assert both.segment == prompt[finished:]
    assert both.tail == prompt.decode(errors="replace")[-CONTEXT_CHARACTERS:]


@given(prompt=PROMPTS, sizes=st.lists(st.integers(0, 9), max_size=8))
@settings(max_examples=30, deadline=None)
def test_a_prompt_may_come_in_blocks(learning, prompt, sizes):
    starts = np.cumsum([0, *sizes]).tolist()
    blocks = [prompt[start:stop] for start, stop in zip(starts, [*starts[1:], None], strict=True)]
    told = []
    assert same(learning.read(iter(blocks), progress=told.append), learning.read(prompt))
    assert told == sorted(told)
    assert told[-1:] == [len(prompt)] * bool(prompt)


@given(prompt=PROMPTS, cut=st.integers(0, 3), temperature=st.sampled_from([0, 1, 3]), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_any_prompt_cut_anywhere_is_continued_with_text(learning, prompt, cut, temperature, seed):
    prompt = prompt[: len(prompt) - cut]
    sampling = SamplingOptions(temperature=temperature, min_p=0, repetition_penalty=1.2)
    done = learning.complete(prompt, CompletionOptions(max_tokens=8, until="none", sampling=sampling, seed=seed))
    assert done.prompt == prompt
    begun = unfinished(prompt)
    text = (begun + done.data).decode() if done.data else ""
    assert not any(ord(c) < 0x20 and c not in "\t\n" or 0x7F <= ord(c) < 0xA0 for c in text)


@pytest.mark.parametrize("temperature", [0, 0.7, 1])
def test_a_word_that_the_prompt_begins_is_finished(scored_model, byte_pieces, temperature):
    tokenizer = byte_pieces(b" Watson", b" W", b"at")
    watson = tokenizer.pieces.index(b" Watson")
    completer = Completer(Predictor(scored_model(lambda tokens: 50 * (np.arange(260) == watson))), tokenizer)
    for size in range(1, 7):
        done = ask(completer, b"Mr" + b" Watson"[:size], max_tokens=1, sampling=SamplingOptions(temperature))
        assert done.data == b" Watson"[size:]
        assert done.logprob == pytest.approx(0, abs=1e-6)


def test_a_character_that_the_prompt_begins_is_finished(scored_model, byte_pieces):
    tokenizer = byte_pieces(" 走る".encode())
    completer = Completer(Predictor(scored_model(lambda tokens: 50 * (np.arange(258) == 257))), tokenizer)
    for size in (2, 3):
        stream = completer.stream(completer.read(" 走".encode()[:size]), CompletionOptions(max_tokens=2, until="none"))
        assert list(stream) == [" 走る".encode()[size:], " 走る".encode()]


def test_an_unfinished_character_is_finished_even_by_unlikely_tokens(scored_model, byte_pieces):
    # after the first byte only a control character is to be expected
    tokenizer = byte_pieces("\x9b".encode())
    completer = Completer(Predictor(scored_model(lambda tokens: 80 * (np.arange(258) == 257))), tokenizer)
    done = ask(completer, b"a\xc2", max_tokens=1, until="none")
    assert ord((b"\xc2" + done.data).decode()) >= 0xA0


def test_a_stop_string_may_contain_the_character_that_the_prompt_begins(scored_model, byte_pieces):
    tokenizer = byte_pieces("走x".encode())
    completer = Completer(Predictor(scored_model(lambda tokens: 50 * (np.arange(258) == 257))), tokenizer)
    begun = "走".encode()[:1]
    assert ask(completer, begun, until="none", max_tokens=1, stop=["走x".encode()]).data == b""
    assert ask(completer, begun, until="none", max_tokens=1, stop=["走xy".encode()]).data == "走x".encode()[1:]


def draw_first(completer, prompt_state, first_tokens, options, uniform):
    """Draw the first token with given numbers in place of random ones: where it begins, the token, the text it adds."""
    draft = completer.draft(prompt_state, options)
    draft.uniform = uniform
    return draft.draw_first(first_tokens)


def test_first_tokens_are_drawn_as_often_as_they_are_likely(real):
    """Evenly spaced numbers in place of random ones, at temperature 1 with nothing filtered."""
    prompt_state = real.read(b"Mr Wat")
    first_tokens = real.first_tokens(prompt_state)
    options = CompletionOptions(sampling=SamplingOptions(temperature=1, min_p=0), until="none")
    allowed = real.vocabulary.first_masks.mask(first_tokens, b"") == 0
    expected = np.where(allowed, np.exp(first_tokens.log_probabilities), 0)
    num_drawn, drawn = 2000, dict.fromkeys(first_tokens.texts, 0)
    for number in range(num_drawn):
        uniform = iter([(number + 0.5) / num_drawn, 0.5]).__next__
        drawn[draw_first(real, prompt_state, first_tokens, options, uniform)[2]] += 1
    for text, chance in zip(first_tokens.texts, expected / expected.sum(), strict=True):
        assert abs(drawn[text] / num_drawn - chance) <= 1 / num_drawn


def test_the_segmentation_is_drawn_from_its_posterior(real):
    prompt_state = real.read(b"Mr Wat")
    first_tokens = real.first_tokens(prompt_state)
    several = [i for i in np.flatnonzero(first_tokens.log_probabilities > -9) if len(first_tokens.choices(i)) > 1]
    options = CompletionOptions(sampling=SamplingOptions(temperature=1, min_p=0), until="none")
    allowed = real.vocabulary.first_masks.mask(first_tokens, b"") == 0
    chances = np.where(allowed, np.exp(first_tokens.log_probabilities), 0)
    ends = np.cumsum(chances / chances.sum())
    for index in [index for index in several if chances[index]][:3]:
        found = {}
        for number in range(500):
            uniform = iter([ends[index] - chances[index] / 2, (number + 0.5) / 500]).__next__
            decoder_state, token, text = draw_first(real, prompt_state, first_tokens, options, uniform)
            assert text == first_tokens.texts[index]
            found[id(decoder_state), token] = found.get((id(decoder_state), token), 0) + 1
        for row, token, share in first_tokens.choices(index):
            assert abs(found.get((id(first_tokens.rows[row].decoder_state), token), 0) / 500 - share) <= 1 / 500


def test_a_prompt_state_is_continued_as_its_text_is(real):
    options = CompletionOptions(until="none", max_tokens=9, seed=4)
    prompt_state = real.read(b"Mr Watson go")
    assert real.complete_from(prompt_state, options).data == real.complete(b"Mr Watson go", options).data
    assert real.stream(prompt_state, options).result is None
    first = next(real.complete_many(prompt_state, options, 2))
    assert first.data == real.complete_from(prompt_state, options).data


@pytest.mark.parametrize("prompt", [b"", b"M", b"Mr Watson", b"\n", b"  x\n\ny", "ü".encode()[:1]])
@pytest.mark.parametrize("start", ["", "\n", "\n\n"])
def test_a_prompt_is_read_as_what_stands_before_it_and_the_prompt(learning, start, prompt):
    plain = learning.reader.read(start.encode() + prompt)
    begun = PromptReader(learning.predictor, learning.tokenizer, learns=learning.adapts, start=start.encode())
    for found in (begun.read(prompt), begun.read(bytes([byte]) for byte in prompt)):
        assert (found.segment, found.recent, found.tail) == (plain.segment, plain.recent, plain.tail)
        assert found.decoder_state.nodes == plain.decoder_state.nodes
        np.testing.assert_allclose(found.decoder_state.hidden, plain.decoder_state.hidden, rtol=1e-5)
