"""The front door: what docs/python.md says, on tiny models."""

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import gru_complete as gru
from gru_complete.model.directory import load_model
from gru_complete.training.events import Evaluated, Finished, Planned, Stepped

ROOT = Path(gru.__file__).parents[1]
SETTINGS = {
    "tokenizer.vocab_size": 120,
    "model.embedding_size": 16,
    "model.hidden_size": 24,
    "training.batch_size": 4,
    "training.seq_len": 16,
    "training.evaluations": 4,
    "training.threads": 1,
}


@pytest.fixture(scope="module")
def model(trained_model):
    return gru.load(trained_model)


def test_a_model_is_trained_and_loaded_by_name(corpus_path):
    trained = gru.train(corpus_path, model="letters", steps=8, settings=SETTINGS)
    assert trained.name == "letters"
    assert gru.load("letters").path == gru.load().path == trained.path
    assert gru.load("letters").complete("The") == trained.complete("The")


def test_training_is_that_of_the_command_line(run, corpus_path, tmp_path):
    gru.train(corpus_path, model=tmp_path / "api", steps=8, seed=3, settings=SETTINGS)
    settings = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    run("train", corpus_path, "-m", tmp_path / "cli", "--steps", 8, "--seed", 3, "-q", *settings)
    one, other = (load_model(tmp_path / name) for name in ("api", "cli"))
    assert all((one.weights[name] == other.weights[name]).all() for name in other.weights)
    assert one.manifest.metrics == other.manifest.metrics


def test_progress_gets_every_event(corpus_path):
    events = []
    trained = gru.train(corpus_path, steps=8, settings=SETTINGS, progress=events.append)
    assert [event.step for event in events if isinstance(event, Stepped)] == list(range(1, 9))
    assert any(isinstance(event, Planned) for event in events)
    assert isinstance(events[-1], Finished)
    assert events[-1].metrics["held_out_bits_per_byte"] == trained.metrics["held_out_bits_per_byte"]


def test_a_config_file_is_overridden_by_settings_and_these_by_arguments(corpus_path, tmp_path):
    (tmp_path / "config.yaml").write_text("model: {hidden_size: 20}\ntraining: {steps: 9, batch_size: 2}\n")
    settings = SETTINGS | {"training.steps": 7}
    planned = []

    def note(event):
        if isinstance(event, Planned):
            planned.append(event.plan)

    gru.train(corpus_path, steps=3, config=tmp_path / "config.yaml", settings=settings, progress=note)
    (plan,) = planned
    assert (plan.max_steps, plan.config.model.hidden_size, plan.config.training.batch_size) == (3, 24, 4)


def test_a_model_is_named_after_its_corpus_and_replaced_only_on_request(corpus_path):
    assert gru.train([corpus_path], steps=2, settings=SETTINGS).name == "corpus"
    with pytest.raises(gru.UsageError, match="exists"):
        gru.train(corpus_path, steps=2, settings=SETTINGS)
    gru.train(corpus_path, steps=2, settings=SETTINGS, replace=True)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"minutes": 1, "steps": 2}, gru.UsageError),
        ({"settings": {"model.hiden_size": 20}}, gru.ConfigError),
        ({"settings": {"model.hidden_size": "wide"}}, gru.ConfigError),
        ({"seed": -1}, gru.ConfigError),
        ({"model": "a?b"}, gru.UsageError),
        ({"config": "nowhere.yaml"}, gru.ConfigError),
    ],
)
def test_a_training_that_cannot_be_is_refused(corpus_path, arguments, error):
    with pytest.raises(error):
        gru.train(corpus_path, **arguments)


def test_a_missing_corpus_is_a_corpus_error(tmp_path):
    with pytest.raises(gru.CorpusError):
        gru.train(tmp_path / "nothing.txt", steps=2, settings=SETTINGS)


def test_ctrl_c_saves_and_the_same_call_continues(corpus_path):
    def interrupt(event):
        if isinstance(event, Stepped) and event.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    steps = []
    with pytest.raises(KeyboardInterrupt, match="interrupted at step 3 of 12; saved") as caught:
        gru.train(corpus_path, steps=12, settings=SETTINGS, progress=interrupt)
    assert isinstance(caught.value.__cause__, gru.InterruptedRun)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    gru.train(
        corpus_path,
        steps=12,
        settings=SETTINGS,
        progress=lambda event: steps.append(event.step) if isinstance(event, Stepped) else None,
    )
    assert steps == list(range(4, 13))


def test_ctrl_c_before_the_first_step_interrupts_at_once(corpus_path):
    def interrupt(event):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        gru.train(corpus_path, steps=12, settings=SETTINGS, progress=interrupt)


def test_an_error_of_progress_ends_the_training_and_frees_the_model(corpus_path):
    def fail(event):
        if isinstance(event, Evaluated):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        gru.train(corpus_path, steps=4, settings=SETTINGS, progress=fail)
    gru.train(corpus_path, steps=4, settings=SETTINGS)  # must not raise BusyError
    assert caught.value.__traceback__ is not None


def test_a_completion_is_text_and_bytes(model):
    done = model.complete("The cat", max_tokens=12, until="none")
    assert str(done).encode() == done.data
    assert done == model.complete(b"The cat", max_tokens=12, until="none")
    assert done.tokens == 12
    assert done.stop_reason == "max_tokens"
    assert done.logprob < 0


def test_options_are_those_of_the_command_line(run, model, trained_model):
    done = model.complete("The", seed=3, temperature=0.5, top_k=20, until="none", max_tokens=9, stop="zebra")
    options = "--seed 3 --temperature 0.5 --top-k 20 --until none --max-tokens 9 --stop zebra --no-newline"
    assert run("complete", "The", "-m", trained_model, *options.split())[1] == done.data


def test_a_stop_string_is_one_string_not_its_letters(model):
    whole = str(model.complete("The", until="none", max_tokens=20))
    stop = whole[4:7]
    done = model.complete("The", until="none", max_tokens=20, stop=stop)
    assert str(done) == whole[: whole.index(stop)]
    assert done.data == model.complete("The", until="none", max_tokens=20, stop=[stop, b"zebra"]).data


def test_novel_reads_the_training_text_by_itself(model):
    assert model.complete("The", novel=3).stop_reason in ("novel", "until", "document_end", "max_tokens")


def test_beam_and_min_confidence_need_no_seed(model):
    assert model.complete("The", beam=3).data
    assert len(str(model.complete("The", min_confidence=0.9))) <= len(str(model.complete("The", min_confidence=0.1)))


@pytest.mark.parametrize("options", [{"until": "chapter"}, {"temperature": -1}, {"beam": 2, "min_confidence": 0.5}])
def test_options_that_cannot_be_are_refused(model, options):
    with pytest.raises(gru.UsageError):
        model.complete("The", **options)


def test_words_are_whole_and_the_most_likely_come_first(model):
    words = model.words("The b", k=3)
    assert all(word.text.startswith("b") and word.text.encode() == word.word for word in words)
    assert [word.probability for word in words] == sorted((word.probability for word in words), reverse=True)
    assert model.words(b"The b", k=3) == words
    with pytest.raises(gru.UsageError):
        model.words("The b", k=0)


def test_check_finds_what_the_command_finds(run, model, trained_model, tmp_path):
    text = "The cat saw near slowly. Old bird liked never dog.\r\n" * 3
    (tmp_path / "text.txt").write_bytes(text.encode())
    findings = model.check(text, threshold=0.5)
    _, output, _ = run("check", tmp_path / "text.txt", "-m", trained_model, "--threshold", 0.5)
    lines = output.decode().splitlines()
    assert [f"{one.line}:{one.column}" for one in findings] == [
        line.removeprefix(f"{tmp_path}/text.txt:").split(": ")[0] for line in lines
    ]
    assert model.check("", threshold=0.5) == []
    with pytest.raises(gru.CorpusError):
        model.check(b"\xff", threshold=0.5)


def test_evaluate_takes_files_or_a_text_or_what_was_held_out(model, corpus_path):
    file = model.evaluate(corpus_path)
    assert file.bits_per_byte == model.evaluate(text=corpus_path.read_text()).bits_per_byte
    assert file.num_bytes == corpus_path.stat().st_size
    assert model.evaluate().bits_per_byte > 0
    assert "adapted" in model.evaluate().to_json()
    with pytest.raises(gru.UsageError):
        model.evaluate(corpus_path, text="The cat.")
    with pytest.raises(gru.CorpusError):
        model.evaluate(text="")


def test_a_lone_surrogate_is_refused(model):
    with pytest.raises(gru.UsageError, match="surrogate"):
        model.complete("The \ud800")


def test_a_model_that_is_not_there_is_a_model_error(tmp_path, monkeypatch):
    with pytest.raises(gru.ModelError, match="no model named 'letters'"):
        gru.load("letters")
    with pytest.raises(gru.ModelError, match="no model has been trained yet"):
        gru.load()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(gru.ModelError, match=r"\./letters"):
        gru.load(Path("letters"))  # a path, where a name is looked for at home


def test_what_is_not_there_has_no_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'tarin'"):
        gru.tarin  # noqa: B018
    assert set(gru.__all__) <= set(dir(gru))


def blocks(name):
    """The Python examples of a document."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), flags=re.MULTILINE | re.DOTALL)


EXAMPLES = [
    pytest.param(code, id=f"{name}-{number}")
    for name in ("docs/python.md", "README.md")
    for number, code in enumerate(blocks(name))
]


def test_the_examples_are_five_and_ten_lines():
    def length(code):
        return sum(bool(line.strip()) for line in code.splitlines()) - 1  # without the import

    assert [length(code) for code in blocks("docs/python.md")] == [4, 9]


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_runs(code, corpus_path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    corpus_path.rename("letters.txt")
    Path("other.txt").write_text("Dear Ms Watson, the old cat saw a bird.\n")
    assert "minutes=5" in code
    settings = ", ".join(f"{key!r}: {value}" for key, value in SETTINGS.items())
    exec(compile(code.replace("minutes=5", f"steps=24, settings={{{settings}}}"), "example", "exec"), {})
    assert capsys.readouterr().out


def test_the_examples_are_typed(tmp_path):
    for number, example in enumerate(EXAMPLES):
        (tmp_path / f"example_{number}.py").write_text(example.values[0])
        ast.parse(example.values[0])
    files = map(str, tmp_path.glob("*.py"))
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
