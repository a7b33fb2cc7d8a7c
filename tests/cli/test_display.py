"""What is shown for events that a quick training does not have."""

import errno
import random

import pytest

from gru_complete.cli.console import Console
from gru_complete.cli.display import TrainingDisplay, describe_corpus, describe_result, expected_quality, sample_of
from gru_complete.text.corpus import CorpusReport
from gru_complete.training import events
from tests.training.runs import finished


@pytest.fixture
def display():
    return TrainingDisplay(Console("never"), is_quiet=False)


def test_a_change_of_plan_and_a_step_back_are_said(display, capfd):
    display.show(events.Replanned(step=100, max_steps=1234))
    display.show(events.RolledBack(step=70, to_step=50, rate_scale=0.5))
    display.show(events.Note("the disk is full"))
    assert capfd.readouterr().err.splitlines() == [
        "note: the speed differs from the first measurement; now 1,234 steps in all",
        "note: the loss was not finite at step 70; resuming from step 50 with 0.5 of the learning rate",
        "note: the disk is full",
    ]


@pytest.mark.parametrize(
    ("static", "adapted", "counts", "xz", "uses_network", "expected"),
    [
        (1.5, 1.4, 1.7, 2.1, True, []),
        (1.8, 1.4, 1.7, 2.1, True, ["note: the counted phrases alone predict better: "]),
        (1.7, 1.7, 1.7, 2.1, False, ["note: the network only did harm on the validation split, "]),
        (2.4, 2.2, 2.5, 2.1, True, ["note: xz predicts better: "]),
        (2.4, 2.0, 2.5, 2.1, True, []),
        (2.4, None, 2.5, 2.1, True, ["note: xz predicts better: "]),
        (None, None, None, None, True, []),
    ],
)
def test_whatever_is_cheaper_than_the_model_is_named(static, adapted, counts, xz, uses_network, expected):
    measured = {"tuning": 1.0, "held_out": static, "held_out_adapted": adapted, "ngrams": counts, "xz": xz}
    metrics = {f"{name}_bits_per_byte": value for name, value in measured.items() if value is not None}
    lines = list(describe_result(finished(metrics | {"held_out_bytes": 9}, uses_network=uses_network)))
    notes = [line for line in lines if line.startswith("note: ")]
    assert [note.startswith(start) for note, start in zip(notes, expected, strict=True)] == [True] * len(expected)
    assert lines[-2] == "model: m, 0.0 MB, after 3 steps and 60 s (5 s before the first, 8 s after the last)"


def test_the_result_is_what_completions_cost_and_the_other_figure_where_that_differs():
    rng = random.Random(0)
    for _ in range(300):
        static, adapted = rng.uniform(0.5, 5), rng.choice([None, rng.uniform(0.5, 5), 1.0001, 1.0002])
        metrics = {"tuning_bits_per_byte": 9.0, "held_out_bits_per_byte": static, "held_out_bytes": 1234}
        metrics |= {"xz_bits_per_byte": 3.0, "ngrams_bits_per_byte": 4.0}
        if adapted is not None:
            metrics["held_out_adapted_bits_per_byte"] = adapted
        line = next(iter(describe_result(finished(metrics))))
        used = f"{static if adapted is None else adapted:.3f}"
        assert line.startswith(f"result: {used} bits per byte on 1,234 bytes of held-out text")
        assert (f"(without learning from it, {static:.3f})" in line) == (used != f"{static:.3f}")


def test_a_quiet_display_says_nothing(capfd):
    quiet = TrainingDisplay(Console("never"), is_quiet=True)
    quiet.stage("reading")
    quiet.show(events.Note("the disk is full"))
    assert capfd.readouterr().err == ""


def test_the_bar_shows_step_loss_and_a_sample_now_and_then(display, trained_model, capfd, monkeypatch):
    monkeypatch.setattr(Console, "is_animated", True)
    with display:
        display.stage("measuring the machine's speed")
        display.bar = FakeBar()
        for step in range(1, 6):
            display.show(events.Stepped(step, 100, 3.25, 1e-3, 1024))
            display.show(events.Evaluated(step, 2.5, True, trained_model, step / 10))
        assert display.bar.n == 5
        assert display.bar.postfix.startswith("loss 3.250, 2.500 bits/byte, ")
        assert display.bar.written == [f"step 5, 2.500 bits/byte: {sample_of(trained_model)}"]


def test_a_terminal_that_is_gone_does_not_end_the_training(display):
    display.bar = DeadBar()
    display.show(events.Note("the disk is full"))  # must not raise


class FakeBar:
    def __init__(self):
        self.n, self.total, self.postfix, self.written = 0, 0, "", []

    def set_postfix_str(self, text, refresh):
        self.postfix = text

    def update(self, steps):
        self.n += steps

    def write(self, text, file):
        self.written.append(text)

    def close(self):
        pass


class DeadBar(FakeBar):
    def write(self, text, file):
        raise OSError(errno.EIO, "Input/output error")


def test_a_sample_is_one_harmless_line_and_a_damaged_checkpoint_no_reason_to_stop(trained_model, tmp_path):
    assert "\n" not in sample_of(trained_model)
    assert sample_of(tmp_path / "none").startswith("(no sample: ")


def test_the_corpus_report_says_what_stands_out():
    report = CorpusReport(
        num_bytes=1_234_567, num_chars=1_234_000, num_documents=3, num_lines=20_000, num_duplicates=1,
        longest_line_bytes=80, distinct_chars=90, sha256="x", normal_form="NFC",
        notes=("one file has a byte order mark",),
    )  # fmt: skip
    assert list(describe_corpus(report)) == [
        "corpus: 1,234,567 bytes, 3 documents, 20,000 lines (longest 80 bytes), 90 distinct characters",
        "note: 1 document occurs in the corpus more than once",
        "note: one file has a byte order mark",
    ]


def test_more_text_and_more_reading_are_promised_more():
    assert len({expected_quality(size, epochs=10) for size in (31_000, 100_000, 1_000_000)}) == 3
    assert len({expected_quality(1_000_000, epochs=epochs) for epochs in (0.1, 1, 5)}) == 3
    assert len({expected_quality(size, epochs=3, has_base=True) for size in (31_000, 100_000, 1_000_000)}) == 2
    assert expected_quality(10_000, 0.01) == expected_quality(100_000_000, 0.001)
