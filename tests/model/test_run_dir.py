import json
import shutil

import numpy as np
import pytest

from gru_complete.errors import BusyError, ModelError
from gru_complete.model.directory import load_model
from gru_complete.model.run_dir import PARTS, OtherTrainingError, RunDir
from gru_complete.storage import lock
from gru_complete.storage.untrusted import sha256_hex


@pytest.fixture
def run_dir(trained_model, tmp_path):
    """A copy of a finished run directory."""
    shutil.copytree(RunDir.beside(trained_model).path, tmp_path / "copy.run")
    return RunDir.beside(tmp_path / "copy")


@pytest.fixture
def tokenizer(trained_model):
    return load_model(trained_model).tokenizer


def test_the_run_directory_is_beside_its_model(tmp_path):
    assert RunDir.beside(tmp_path / "v1.2").path == tmp_path / "v1.2.run"


def test_a_training_leaves_exactly_the_files_that_a_run_directory_knows(run_dir):
    known = [run_dir.plan_path, run_dir.metrics_path, run_dir.finished_path, run_dir.checkpoints_dir]
    known += [run_dir.tokenizer_path, run_dir.text_facts_path, run_dir.path / "lock"]
    for part in PARTS:
        known += [run_dir.part_path(part), run_dir.part_path(part).with_suffix(".json")]
    assert sorted(run_dir.path.iterdir()) == sorted(known)


def test_every_part_is_read_with_the_header_that_describes_it(run_dir, tokenizer):
    for part in PARTS:
        assert run_dir.has_part(part)
        stream, header = run_dir.read_part(part, tokenizer)
        assert len(stream) == header.num_tokens > 0
        assert len(tokenizer.decode(stream.tolist())) == header.num_bytes


def test_the_text_of_another_training_is_refused_with_the_hint_of_the_caller(run_dir, tokenizer):
    tokenizer.sha256 = "0" * 64
    with pytest.raises(OtherTrainingError, match=r"copy\.run belongs to another training") as caught:
        run_dir.read_part("tuning", tokenizer, hint="look elsewhere")
    assert caught.value.hint == "look elsewhere"
    with pytest.raises(OtherTrainingError) as caught:
        run_dir.read_part("tuning", tokenizer)
    assert "--replace" in caught.value.hint


def test_a_token_that_the_tokenizer_lacks_is_refused_although_the_checksums_agree(run_dir, tokenizer):
    path = run_dir.part_path("tuning")
    tokens = np.frombuffer(path.read_bytes(), "<u2").copy()
    tokens[3] = tokenizer.vocab_size
    path.write_bytes(tokens.tobytes())
    header = json.loads(path.with_suffix(".json").read_bytes())
    header["num_bytes"] += 100  # which says nothing against them
    path.with_suffix(".json").write_text(json.dumps(header | {"sha256": sha256_hex(tokens.tobytes())}))
    with pytest.raises(ModelError, match="tokens that the tokenizer lacks"):
        run_dir.read_part("tuning", tokenizer)


def test_damaged_text_facts_are_a_model_error(run_dir):
    assert set(run_dir.text_facts()) == {"abbreviations", "units", "normal_form", "cuts"}
    run_dir.text_facts_path.write_text("{")
    with pytest.raises(ModelError, match="text.json"):
        run_dir.text_facts()


def test_a_run_can_be_resumed_from_its_plan_until_it_is_finished(run_dir):
    assert (run_dir.is_finished(), run_dir.is_resumable()) == (True, False)
    run_dir.finished_path.unlink()
    assert (run_dir.is_finished(), run_dir.is_resumable()) == (False, True)
    run_dir.plan_path.unlink()
    assert not run_dir.is_resumable()


def test_only_a_run_directory_that_no_training_uses_is_removed(run_dir, tmp_path):
    assert run_dir.is_ours()
    with lock.DirectoryLock(run_dir.path), pytest.raises(BusyError):
        run_dir.remove()
    run_dir.remove()
    assert not run_dir.path.exists()
    foreign = RunDir(tmp_path / "photos")
    foreign.path.mkdir()
    (foreign.path / "photo").touch()
    assert not foreign.is_ours()
    with pytest.raises(ModelError, match="is not a run directory"):
        foreign.remove()
    assert foreign.path.exists()


def test_an_empty_directory_may_be_what_a_kill_before_the_first_file_left_and_is_removed(tmp_path):
    run_dir = RunDir.beside(tmp_path / "model")
    assert not run_dir.is_ours()
    run_dir.path.mkdir()
    assert run_dir.is_ours()
    run_dir.remove()
    assert list(tmp_path.iterdir()) == []
