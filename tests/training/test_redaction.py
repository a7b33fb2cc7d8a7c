"""A planted secret on its way: named with its place, never with its value, and gone from everything with --redact."""

import json
import subprocess
import sys

import pytest

from gru_complete.model.run_dir import RunDir
from gru_complete.text.tokenizer import Tokenizer
from gru_complete.training.tokenized_corpus import read_tokenized_corpus

SECRETS = {"email": "irene.adler@briony-lodge.org", "GitHub token": "ghp_" + "x7Zk2QpT9vLmN4wRb8sYc1dFg5hJ3kA6eUoP"}


@pytest.fixture
def settings(tiny_overrides):
    return [part for override in tiny_overrides for part in ("--set", override)]


@pytest.fixture
def planted(corpus_path):
    """A corpus with each secret in its training, tuning and held-out splits: lines 10, 20, ... are planted."""
    lines = corpus_path.read_text().splitlines(keepends=True)
    for index in range(9, len(lines), 10):
        lines[index] = f"Write to {SECRETS['email']} with {SECRETS['GitHub token']}.\n"
    corpus_path.write_text("".join(lines))
    return corpus_path


def has_secret(data):
    return any(part.encode() in data for secret in SECRETS.values() for part in (secret, secret[:12], secret[-12:]))


def all_files(*directories):
    return [path for directory in directories for path in sorted(directory.rglob("*")) if path.is_file()]


def test_train_names_kinds_and_places_of_secrets_but_never_their_values(run, planted, settings, tmp_path):
    code, out, err = run("train", planted, "-m", tmp_path / "m", "--json", *settings)
    assert code == 0
    number = len(planted.read_text().splitlines()) // 10
    places = ", ".join(f"{planted}:{line}" for line in (10, 20, 30))
    assert f"  GitHub token: {number}, at {places} and elsewhere\n  email: {number}, at {places} and elsewhere\n" in err
    assert err.count("warning: ") == 1
    assert "hint: with --redact the model learns [GitHub token]" in err
    assert json.loads(out)["secrets"] == {"GitHub token": number, "email": number}
    assert not has_secret(err.encode() + out)
    told = [path for path in all_files(tmp_path / "m", tmp_path / "m.run") if path.suffix in (".json", ".jsonl")]
    assert {"manifest.json", "metrics.jsonl", "plan.json", "text.json"} <= {path.name for path in told}
    assert not any(has_secret(path.read_bytes()) for path in told)


def test_with_redact_no_file_holds_a_secret(run, planted, settings, tmp_path):
    code, out, err = run("train", planted, "-m", tmp_path / "m", "--redact", "--json", *settings)
    assert code == 0
    assert "warning" not in err
    number = json.loads(out)["secrets"]["email"]
    assert f"note: replaced what looked secret: {number} x [GitHub token], {number} x [email]" in err
    assert not any(has_secret(path.read_bytes()) for path in all_files(tmp_path / "m", tmp_path / "m.run"))
    prepared = read_tokenized_corpus(RunDir.beside(tmp_path / "m"))
    texts = {name: prepared.tokenizer.decode(ids.tolist()) for name, ids in prepared.streams.items()}
    assert set(texts) == {"training", "tuning", "held_out"}
    assert not has_secret(b"".join(texts.values()))
    whole = b"".join(texts.values())
    assert whole.count(b"Write to [email] with [GitHub token].\n") == number
    pieces = b"\n".join(Tokenizer((tmp_path / "m" / "tokenizer.model").read_bytes()).pieces)
    assert b"adler" not in pieces
    run("train", planted, "-m", tmp_path / "same", "--set", "data.redact=true", "-q", *settings)
    for name in ("weights.safetensors", "ngrams.safetensors", "tokenizer.model"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()


def test_quiet_prints_nothing_and_a_text_without_secrets_gets_no_warning(run, planted, corpus_path, settings, tmp_path):
    code, _, err = run("train", planted, "-m", tmp_path / "m", "--quiet", *settings)
    assert (code, err) == (0, "")
    corpus_path.write_text(corpus_path.read_text().replace("@", " at ").replace("ghp_", "ghp "))
    code, out, err = run("train", corpus_path, "-m", tmp_path / "n", "--json", *settings)
    assert code == 0
    assert "warning" not in err
    assert "secrets" not in json.loads(out)


def test_a_run_cannot_be_resumed_with_another_setting_of_redact(planted, settings, tmp_path):
    from gru_complete.config import load_config
    from gru_complete.errors import InterruptedRun, UsageError
    from gru_complete.training.run import TrainingRequest, run_training

    overrides = settings[1::2]

    def steps(redact, stop_after):
        config = load_config(None, [*overrides, f"data.redact={redact}"])
        seen = []
        request = TrainingRequest([str(planted)], tmp_path / "m", config, started=0.0)
        try:
            for event in run_training(request, stop_signal=lambda: 2 if len(seen) > stop_after else None):
                seen.append(event)
        except InterruptedRun:
            pass
        return [type(event).__name__ for event in seen]

    assert "Finished" not in steps("false", 12)
    with pytest.raises(UsageError, match=r"has other settings: data.redact \(False -> True\)$"):
        steps("true", 1000)
    assert "Finished" in steps("false", 1000)


def test_a_traceback_contains_no_secret(planted, settings, tmp_path):
    """The last byte is no UTF-8, so that reading fails when the secrets were seen."""
    planted.write_bytes(planted.read_bytes() + SECRETS["email"].encode() + b"\xff")
    for redact in ([], ["--redact"]):
        command = [sys.executable, "-m", "gru_complete", "--debug", "train", planted, "-m", tmp_path / "m", *redact]
        done = subprocess.run([*map(str, command), *settings], capture_output=True)
        assert done.returncode == 3
        assert b"Traceback" in done.stderr
        assert not has_secret(done.stderr + done.stdout)
        assert not (tmp_path / "m.run").exists()


def test_names_of_files_and_standard_input_are_places(run, planted, settings, tmp_path):
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "a.txt").write_text("A line.\r\nIn CRLF: someone@example.org\r\n" * 20)
    (tmp_path / "two" / "b.md").write_bytes(planted.read_bytes())
    code, _, err = run(
        "train", tmp_path / "two", "-", "-m", tmp_path / "m", *settings, stdin=b"\n\n4111-1111-1111-1111"
    )
    assert code == 0
    assert f"GitHub token: {planted.read_text().count('ghp_')}, at {tmp_path}/two/b.md:10, " in err
    assert "  card number: 1, at standard input:3\n" in err
    assert f"at {tmp_path}/two/a.txt:2, {tmp_path}/two/a.txt:4, {tmp_path}/two/a.txt:6 and elsewhere" in err
