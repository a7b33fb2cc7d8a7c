import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from gru_complete.nn import kernel
from gru_complete.nn.cells import GRUCell
from gru_complete.nn.sequence import run_by_steps, run_sequence


@pytest.fixture(scope="module", autouse=True)
def allowed():
    """Undo what ``conftest.py`` says for all other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(kernel.SWITCH, raising=False)
        yield


@pytest.fixture
def off():
    kernel.disable()
    yield
    kernel.disable()


@pytest.fixture(scope="module")
def built():
    kernel.disable()
    kernel.enable()
    compiled = kernel._active
    kernel.disable()
    if compiled is None:
        pytest.skip(kernel.description())
    return compiled


@pytest.fixture
def compiled(built, monkeypatch):
    """The kernel enabled, built once for all tests."""
    monkeypatch.setattr(kernel, "_active", built)
    return built


def one_pass(run, *, hidden, batch, time=6, starts=(), threads=1):
    """Outputs, final state and all gradients of an uneven sum."""
    torch.manual_seed(2)
    cell = GRUCell(7, hidden)
    x = torch.randn(batch, time, 7, requires_grad=True)
    state = torch.randn(1, batch, hidden, requires_grad=True)
    keep = torch.ones(batch, time)
    for row, step in starts:
        keep[row, step] = 0
    factors = torch.randn(batch, time, hidden)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        outputs, end = run(cell, x, state, keep if starts else None)
        total = (outputs * factors).sum() + end.square().sum()
        return outputs, end, *torch.autograd.grad(total, [x, state, *cell.parameters()])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("hidden", "batch"), [(1, 1), (5, 3), (16, 4), (40, 8), (70, 9), (129, 17)])
@pytest.mark.parametrize("starts", [(), [(0, 0), (0, 3), (-1, 5)]])
def test_the_kernel_has_the_values_and_gradients_of_the_slow_loop(compiled, hidden, batch, starts, threads):
    if threads > 1 and not compiled.has_threads:
        pytest.skip("built without threads")
    ours = one_pass(run_sequence, hidden=hidden, batch=batch, starts=starts, threads=threads)
    for got, expected in zip(ours, one_pass(run_by_steps, hidden=hidden, batch=batch, starts=starts), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_the_kernel_is_what_runs_when_it_is_enabled(compiled, monkeypatch):
    calls = []
    monkeypatch.setattr(compiled, "_run", lambda function, *rest: calls.append(function))
    one_pass(run_sequence, hidden=8, batch=2)
    assert len(calls) == 2


def test_the_loops_give_the_same_bits_each_time_and_with_any_number_of_threads(compiled):
    if not compiled.has_threads:
        pytest.skip("built without threads")
    torch.manual_seed(3)
    size, weight, keep = 70, torch.randn(210, 70) / 8, torch.ones(5, 9)
    products, grad_hidden, start = torch.randn(5, 9, 210), torch.randn(5, 9, 70), torch.randn(1, 9, 70)

    def loops(threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        states = torch.cat([start, torch.zeros(5, 9, size)])
        gates, reset_states = products.clone(), torch.zeros(5, 9, size)
        compiled.forward(weight, keep, states, gates, reset_states)
        gradients = compiled.backward(weight, keep, states, gates, grad_hidden)
        torch.set_num_threads(before)
        return states, gates, reset_states, *gradients

    expected = loops(1)
    for threads in (1, 2, 2, 3, 7):
        assert all(torch.equal(a, b) for a, b in zip(loops(threads), expected, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_comes_out_again(compiled, bad):
    cell = GRUCell(4, 20)
    x = torch.randn(2, 3, 4)
    x[0, 1, 0] = bad
    with torch.no_grad():
        cell.weight_x[:, 1:] = 0
        cell.weight_x[:, 0] = 1
    hidden, _ = run_sequence(cell, x, torch.zeros(1, 2, 20))
    expected, _ = run_by_steps(cell, x, torch.zeros(1, 2, 20))
    torch.testing.assert_close(hidden, expected, equal_nan=True)
    hidden.square().sum().backward()
    assert cell.weight_x.grad.isnan().any()


def test_large_arguments_of_the_gates_saturate(compiled):
    cell = GRUCell(1, 3)
    with torch.no_grad():
        cell.weight_x.fill_(1.0)
    x = torch.tensor([-1e30, -200.0, -90.0, -20.0, -0.1, 0.0, 0.1, 20.0, 90.0, 200.0, 1e30]).view(-1, 1, 1)
    start = torch.full((1, len(x), 3), 0.5)
    torch.testing.assert_close(run_sequence(cell, x, start)[0], run_by_steps(cell, x, start)[0], rtol=1e-6, atol=1e-6)


def test_other_numbers_than_float32_stay_with_torch(compiled):
    assert kernel.active_for(torch.zeros(2, 3, 12)) is compiled
    assert kernel.active_for(torch.zeros(2, 3, 12, dtype=torch.float64)) is None
    assert kernel.active_for(torch.zeros(2, compiled.max_rows + 1, 12)) is None


def test_inside_a_pause_torch_runs(compiled):
    products = torch.zeros(2, 3, 12)
    with kernel.paused():
        assert kernel.active_for(products) is None
    assert kernel.active_for(products) is compiled


def test_nothing_is_compiled_unless_asked_for(off):
    assert kernel.active_for(torch.zeros(2, 3, 12)) is None


@pytest.mark.parametrize("compiler", ["/nonexistent/cc", "false"])
def test_without_a_working_compiler_torch_runs_and_the_description_says_so(off, monkeypatch, compiler):
    monkeypatch.setenv("CC", compiler)
    assert kernel.enable().startswith("torch: no compiled kernel")
    assert kernel.description() == kernel.enable()
    assert kernel.active_for(torch.zeros(2, 3, 12)) is None
    assert one_pass(run_sequence, hidden=5, batch=2)[0].isfinite().all()


def test_the_environment_can_keep_to_torch(off, monkeypatch):
    monkeypatch.setenv(kernel.SWITCH, "off")
    assert kernel.SWITCH in kernel.enable()
    assert kernel.active_for(torch.zeros(2, 3, 12)) is None


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("c[unit] * c[unit]", "c[unit]"), ("unit < own.count; unit++) {", "unit < own.count / 2; unit++) {")],
)
def test_a_kernel_that_computes_something_else_is_not_used(off, monkeypatch, tmp_path, built, right, wrong):
    source = kernel.SOURCE.read_text()
    assert right in source
    broken = tmp_path / "kernel.c"
    broken.write_text(source.replace(right, wrong))
    monkeypatch.setattr(kernel, "SOURCE", broken)
    assert kernel.enable() == "torch: no compiled kernel (its results differ from the cell's equations)"


def test_enabling_leaves_no_files_and_draws_no_random_numbers(off, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = torch.get_rng_state()
    kernel.enable()
    assert torch.equal(torch.get_rng_state(), before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of loaded libraries")
def test_no_second_openmp_runtime_is_loaded():
    code = (
        "from gru_complete.nn import kernel; kernel.enable();"
        "print(*{line.split()[-1] for line in open('/proc/self/maps') if 'omp' in line.split()[-1].rpartition('/')[2]})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert len(shown.split()) <= 1


@pytest.mark.parametrize("search_path", [".", ""])
def test_the_compiler_is_not_looked_for_in_the_current_directory(off, tmp_path, monkeypatch, search_path):
    cwd = tmp_path / "traps"
    cwd.mkdir()
    (cwd / "cc").write_text(f"#!/bin/sh\ntouch {tmp_path}/witness\nexit 1\n")
    (cwd / "cc").chmod(0o755)
    monkeypatch.chdir(cwd)
    monkeypatch.setenv("PATH", f"{search_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CC", raising=False)
    kernel.enable()
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("command", ["./cc", "../traps/cc -O1", "{}/traps/cc"])
def test_a_path_to_a_compiler_is_the_users(off, tmp_path, monkeypatch, command):
    cwd = tmp_path / "traps"
    cwd.mkdir()
    (cwd / "cc").write_text(f"#!/bin/sh\npwd > {tmp_path}/witness\nexit 1\n")
    (cwd / "cc").chmod(0o755)
    monkeypatch.chdir(cwd)
    monkeypatch.setenv("CC", command.format(tmp_path))
    assert "no compiled kernel" in kernel.enable()
    assert "gru-complete-" in (tmp_path / "witness").read_text()


@pytest.fixture
def hanging(off, tmp_path, monkeypatch):
    """A compiler that starts a process and waits for it."""
    monkeypatch.setattr(kernel, "_hanging_compiler", None)
    monkeypatch.setattr(kernel, "COMPILE_SECONDS", 0.3)
    compiler = tmp_path / "cc"
    compiler.write_text(f"#!/bin/sh\necho started >> {tmp_path}/calls\nsleep 61.5 &\necho $! > {tmp_path}/pid\nwait\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    return compiler


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_a_compiler_is_ended_by_another_thread_which_need_not_wait(hanging, monkeypatch):
    monkeypatch.setattr(kernel, "COMPILE_SECONDS", 60.0)
    with ThreadPoolExecutor(1) as other_thread:
        enabled = other_thread.submit(kernel.enable)
        until = time.monotonic() + 20
        while kernel._compiler is None and time.monotonic() < until:
            time.sleep(0.01)
        start = time.monotonic()
        kernel.stop_compiling()
        with pytest.raises(kernel.CompilingStoppedError):
            enabled.result()
        with pytest.raises(kernel.CompilingStoppedError):
            kernel.enable()  # nor does one begin later
    kernel.allow_compiling()
    assert time.monotonic() - start < 10
    assert kernel.hanging_compiler() is None


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_a_compiler_that_hangs_is_ended_with_its_children_and_not_asked_again(hanging, tmp_path):
    begin = time.monotonic()
    assert kernel.enable() == f"torch: no compiled kernel ({hanging} did not end within 0.3 s)"
    assert kernel.hanging_compiler() == str(hanging)
    kernel.enable()
    with pytest.raises(subprocess.SubprocessError):
        kernel.compile_library([str(hanging)], kernel.SOURCE, [], tmp_path / "other.so", threads=False)
    assert time.monotonic() - begin < 20
    assert (tmp_path / "calls").read_text() == "started\n"
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):  # its parent is gone, and another one has to collect it
        if not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the compiler's child is still running")
