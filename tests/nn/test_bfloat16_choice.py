"""Which instructions training in bfloat16 is compiled for: see ``bfloat16.INSTRUCTIONS``. They run in test_bfloat16."""

import random
import shutil

import pytest

from gru_complete.nn import bfloat16, kernel

KINDS = list(bfloat16.INSTRUCTIONS)
NEEDED = sorted({flag for kind in KINDS for flag in kind})


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    monkeypatch.setattr(bfloat16, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(bfloat16.platform, "machine", lambda: "x86_64")
    return tmp_path / "cpuinfo"


@pytest.mark.parametrize("seed", range(20))
def test_instructions_are_used_only_with_all_the_flags_they_need(seed, cpuinfo):
    rng = random.Random(seed)
    there = [flag for flag in NEEDED if rng.random() < 0.8]
    others = ["fpu", "avx512f", *(flag + "_like" for flag in NEEDED)]
    flags = rng.sample(there + others, len(there + others))
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: {NEEDED[0]}\nflags\t\t: {' '.join(flags)}\nbugs\t\t:\n" * 2)
    usable = [kind for kind in KINDS if all(flag in there for flag in kind)]
    assert bfloat16.available_instructions() == [bfloat16.INSTRUCTIONS[kind] for kind in usable]


def test_a_processor_of_another_kind_has_none(cpuinfo, monkeypatch):
    assert bfloat16.available_instructions() == []  # no such file, as on macOS
    cpuinfo.write_text(f"flags\t: {' '.join(NEEDED)}\n")
    assert len(bfloat16.available_instructions()) == len(KINDS)
    monkeypatch.setattr(bfloat16.platform, "machine", lambda: "aarch64")
    assert bfloat16.available_instructions() == []


@pytest.mark.skipif(
    shutil.which("cc") is None or not bfloat16.available_instructions(), reason="needs a compiler and instructions"
)
@pytest.mark.parametrize("wrong", ["-march=no-such-processor", "-mno-avx512f", "-Dgru_forward=renamed"])
def test_what_does_not_compile_or_load_is_left_for_the_next(wrong, monkeypatch):
    right = bfloat16.available_instructions()
    monkeypatch.delenv(kernel.SWITCH, raising=False)
    try:
        for flags, is_there in (([[*right[0], wrong], *right], True), ([[*right[0], wrong]], False)):
            monkeypatch.setattr(bfloat16, "available_instructions", lambda flags=flags: flags)
            bfloat16.library.cache_clear()
            assert (bfloat16.library() is not None) == is_there
    finally:
        bfloat16.library.cache_clear()
