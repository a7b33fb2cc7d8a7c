import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from gru_complete.errors import EnvironmentFailure, ModelError
from gru_complete.ngrams.overlay import MAX_TOKENS
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.state import from_bytes, load_prompt_state, save_prompt_state, to_bytes
from gru_complete.storage import untrusted

TEXT = "The cat saw Zorbaxel — “the old bird”. Naïve Zorbaxel,  the\n\ndog 🧑🏽‍🚀 ate near the riv".encode()


@pytest.fixture(scope="module", params=[True, False], ids=["adapting", "static"])
def completer(request, trained_model):
    return Completer.load(trained_model, adapts=request.param)


@pytest.fixture(scope="module")
def static(trained_model):
    return Completer.load(trained_model, adapts=False)


def again(completer, prompt_state):
    return from_bytes(to_bytes(prompt_state, completer), completer, name="s.gru")


def plain(prompt_state):
    """All of a context as plain values, to be compared."""
    decoder_state = prompt_state.decoder_state
    overlay = None if prompt_state.overlay is None else prompt_state.overlay.tokens.tolist()
    arrays = decoder_state.hidden.tolist(), decoder_state.state.tolist()
    return *arrays, decoder_state.nodes, decoder_state.last, overlay, prompt_state[1:2], prompt_state[3:]


def test_a_text_may_be_saved_and_read_on_wherever_it_is_cut(completer):
    whole = completer.read(TEXT)
    for cut in range(len(TEXT) + 1):
        prompt_state = again(completer, completer.read(TEXT[:cut]))
        assert plain(prompt_state) == plain(completer.read(TEXT[:cut]))
        assert plain(completer.read(TEXT[cut:], prompt_state)) == plain(whole)


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=100), more=st.binary(max_size=20))
def test_any_bytes_can_be_saved_and_read_on(static, data, more):
    prompt_state = static.read(more, again(static, static.read(data)))
    assert plain(prompt_state) == plain(static.read(data + more))


def test_a_saved_state_gives_the_completions_of_its_text(completer):
    options = CompletionOptions(seed=3)
    saved = completer.complete_from(again(completer, completer.read(TEXT)), options)
    read = completer.complete(TEXT, options)
    assert (saved.data, saved.logprob) == (read.data, read.logprob)


def test_the_size_of_a_file_does_not_depend_on_the_length_of_the_text(static):
    short, long = (len(to_bytes(static.read(TEXT * times), static)) for times in (5, 500))
    assert abs(short - long) < 100  # the tail may have a few more bytes
    assert long < 4000


def test_an_overlay_takes_two_bytes_per_token_up_to_a_limit(trained_model, monkeypatch):
    completer = Completer.load(trained_model, adapts=True)
    sizes = [len(to_bytes(completer.read(b" the" * number), completer)) for number in (100, 200)]
    assert sizes[1] - sizes[0] == pytest.approx(200, abs=8)
    prompt_state = completer.read(b" the" * (MAX_TOKENS + 10))
    assert len(to_bytes(prompt_state, completer)) < 2 * MAX_TOKENS
    assert plain(again(completer, prompt_state)) == plain(prompt_state)


def test_the_file_decides_whether_a_text_is_learnt_from(trained_model, static, tmp_path):
    adapting = Completer.load(trained_model, adapts=True)
    learnt, read = adapting.read(TEXT), static.read(TEXT)
    assert plain(from_bytes(to_bytes(learnt, adapting), static, name="x")) == plain(learnt)
    assert from_bytes(to_bytes(read, static), adapting, name="x").overlay is None
    save_prompt_state(tmp_path / "s.gru", learnt, adapting)
    assert plain(load_prompt_state(tmp_path / "s.gru", static, forgets=True)) == plain(read)


def test_an_overlay_is_refused_if_the_model_has_no_counts(trained_model, static):
    data = to_bytes(Completer.load(trained_model, adapts=True).read(TEXT), static)
    without = Completer(Predictor(static.predictor.stepper), static.tokenizer, fingerprint=static.fingerprint)
    with pytest.raises(ModelError, match="no n-gram counts"):
        from_bytes(data, without, name="s.gru")


def test_a_file_is_written_and_read(static, tmp_path):
    path = tmp_path / "s.gru"
    prompt_state = static.read(TEXT)
    assert save_prompt_state(path, prompt_state, static) == path.stat().st_size
    assert plain(load_prompt_state(path, static)) == plain(prompt_state)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(EnvironmentFailure, match="cannot write"):
        save_prompt_state(tmp_path / "none" / "s.gru", prompt_state, static)


def test_the_state_of_another_model_is_refused(static, trained_model):
    other = Completer.load(trained_model, adapts=False)
    other.fingerprint = "0" * 64
    with pytest.raises(ModelError, match=r"s\.gru: it was made by another model") as caught:
        from_bytes(to_bytes(static.read(TEXT), static), other, name="s.gru")
    assert "prime" in caught.value.hint


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"{}\n", b"{\n" * 600, b"The cat\nsaw", b'{"format": "x"}\n', b"[]\n", b"\xff"]
)
def test_a_file_that_is_not_a_state_is_refused(static, data):
    with pytest.raises(ModelError, match="s.gru"):
        from_bytes(data, static, name="s.gru")


def test_a_missing_file_and_a_directory_are_refused(static, tmp_path):
    for path in (tmp_path / "none.gru", tmp_path):
        with pytest.raises(ModelError):
            load_prompt_state(path, static)


def test_every_damaged_bit_and_every_cut_is_noticed(static):
    data = to_bytes(static.read(b"The cat"), static)
    generator = np.random.default_rng(0)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(generator.integers(8))
        with pytest.raises(ModelError):
            from_bytes(bytes(damaged), static, name="s.gru")
        if place % 7 == 0:
            with pytest.raises(ModelError):
                from_bytes(data[:place], static, name="s.gru")
    with pytest.raises(ModelError):
        from_bytes(data + b"\0", static, name="s.gru")


def changed(array, place, value):
    array = array.copy()
    array.reshape(-1)[place] = value
    return array


BAD = {
    "NaN": lambda it: {"state": changed(it["state"], 3, np.nan)},
    "infinity": lambda it: {"hidden": changed(it["hidden"], 0, np.inf)},
    **{
        f"{key} of {value:g}": lambda it, key=key, value=value: {key: changed(it[key], 0, value)}
        for key in ("hidden", "state")
        for value in (2e6, -1e20, 3.4e38)  # finite, and what follows from them would not be
    },
    "too wide": lambda it: {"state": np.zeros((1, 1, 999), np.float32)},
    "flat": lambda it: {"state": it["state"].reshape(-1)},
    "no array": lambda it: {"recent": np.zeros((), np.uint16)},
    "two rows": lambda it: {"recent": it["recent"].reshape(1, -1)},
    "float64": lambda it: {"hidden": it["hidden"].astype(np.float64)},
    "wide tokens": lambda it: {"recent": it["recent"].astype(np.uint32)},
    "more": lambda it: {"more": np.zeros(1, np.uint8)},
    "a token too high": lambda it: {"recent": changed(it["recent"], 0, 60_000)},
    "a document end": lambda it: {"recent": changed(it["recent"], 1, 0)},
    "too many tokens": lambda it: {"recent": np.ones(65, np.uint16)},
    "learnt a token too high": lambda it: {"overlay": np.array([0, 60_000], np.uint16)},
    "learnt a document end": lambda it: {"overlay": np.array([1, 0], np.uint16)},
    "learnt too much": lambda it: {"overlay": np.ones(MAX_TOKENS + 1, np.uint16)},
    "two segments": lambda it: {"segment": np.frombuffer(b"the cat", np.uint8)},
    "a long segment": lambda it: {"segment": np.frombuffer(b"a" * 65, np.uint8)},
    "a tail of no UTF-8": lambda it: {"tail": np.array([0xFF], np.uint8)},
    "a long tail": lambda it: {"tail": np.full(33, 65, np.uint8)},
}


@pytest.mark.parametrize("kind", BAD)
def test_tensors_that_no_completer_writes_are_refused(static, kind):
    header, tensors = to_bytes(static.read(TEXT), static).split(b"\n", 1)
    arrays = load(tensors)
    tensors = save({**arrays, **BAD[kind](arrays)})
    header = json.dumps({**json.loads(header), "sha256": untrusted.sha256_hex(tensors)}).encode()
    with pytest.raises(ModelError, match="s.gru"):
        from_bytes(header + b"\n" + tensors, static, name="s.gru")


def test_a_missing_tensor_is_refused(static):
    header, tensors = to_bytes(static.read(TEXT), static).split(b"\n", 1)
    for key in load(tensors):
        less = save({other: array for other, array in load(tensors).items() if other != key})
        line = json.dumps({**json.loads(header), "sha256": untrusted.sha256_hex(less)}).encode()
        with pytest.raises(ModelError, match="its tensors are"):
            from_bytes(line + b"\n" + less, static, name="s.gru")


def test_a_newer_version_is_refused_by_name(static):
    header, tensors = to_bytes(static.read(TEXT), static).split(b"\n", 1)
    header = json.dumps({**json.loads(header), "version": 2}).encode()
    with pytest.raises(ModelError, match="version 2 was made by a newer gru-complete"):
        from_bytes(header + b"\n" + tensors, static, name="s.gru")
