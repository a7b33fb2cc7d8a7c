"""What is loaded when: `complete` starts light. The order of the rooms is in pyproject.toml, held by import-linter."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import gru_complete

PACKAGE = Path(gru_complete.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def module_name(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def modules_after(code):
    """The names of all modules that are loaded after a piece of code ran in a fresh interpreter."""
    code += "\nimport json, sys; print(json.dumps(list(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return set(json.loads(output.splitlines()[-1]))


HEAVY = {"torch", "pydantic", "pandas", "matplotlib", "rich", "tqdm", "yaml", "safetensors.torch", "platformdirs"}


def test_the_runtime_loads_nothing_heavy():
    assert modules_after("import gru_complete.runtime.completer") & HEAVY == set()


def test_the_package_itself_loads_nothing():
    """Not even `typing`: importing the package is to add next to nothing to the start of a program."""
    assert modules_after("import gru_complete") - modules_after("") == {"gru_complete"}


def test_loading_and_completing_need_no_torch(trained_model):
    code = f"import gru_complete as gru; model = gru.load({str(trained_model)!r}); model.complete('The')"
    assert modules_after(f"{code}; model.words('Th'); model.check('The cat.')") & HEAVY == set()


def test_the_command_line_does_not_load_the_front_door():
    assert "gru_complete.api" not in modules_after("import gru_complete.cli.complete, gru_complete.cli.answers")


def test_the_command_line_itself_loads_not_even_numpy():
    assert modules_after("import gru_complete.cli.app") & (HEAVY | {"numpy", "sentencepiece"}) == set()


FORBIDDEN = {"pickle", "dill", "joblib", "socket", "http", "urllib", "requests", "ftplib", "shelve", "marshal"}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_there_is_no_pickle_and_no_network_code(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} & FORBIDDEN == set()
        elif isinstance(node, ast.ImportFrom):
            assert node.module is None or node.module.split(".")[0] not in FORBIDDEN
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "torch.load", "torch.save", "numpy.load", "np.load"}
