"""What is shown for events that a quick training does not have."""

import errno
import random
from pathlib import Path

import pytest

from gru_complete.cli.console import Console
from gru_complete.cli.display import TrainingDisplay, describe_corpus, describe_result, expected_quality, sample_of
from gru_complete.text.corpus import CorpusReport
from gru_complete.training import events


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


def test_the_result_is_what_completions_cost_and_the_other_figure_where_that_differs():
    rng = random.Random(0)
    for _ in range(300):
        static, adapted = rng.uniform(0.5, 5), rng.choice([None, rng.uniform(0.5, 5), 1.0001, 1.0002])
        metrics = {"tuning_bits_per_byte": 9.0, "held_out_bits_per_byte": static, "held_out_bytes": 1234}
        metrics |= {"xz_bits_per_byte": 3.0, "ngrams_bits_per_byte": 4.0}
        if adapted is not None:
            metrics["held_out_adapted_bits_per_byte"] = adapted
        line = next(iter(describe_result(events.Finished(Path("m"), 3, False, metrics, 1000, 0.1, "The "))))
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


def test_more_text_is_promised_more():
    assert len({expected_quality(size) for size in (10_000, 100_000, 1_000_000, 10_000_000)}) == 4
