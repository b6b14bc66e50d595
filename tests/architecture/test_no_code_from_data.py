"""What is read stays data: nowhere is a file unpickled, evaluated or given to a shell."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.test_walls import modules

_NEVER = {
    *("eval", "exec", "compile", "os.system", "os.popen"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads"),
    *("yaml.load", "yaml.unsafe_load", "joblib.load", "cloudpickle.load", "cloudpickle.loads"),
    *("mlflow.pytorch.load_model", "mlflow.pyfunc.load_model"),
}


def code_from_data(source: str) -> list[str]:
    """Calls that would run what a file says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        told = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if (
            name in _NEVER
            or (name == "torch.load" and told.get("weights_only") != "True")
            or told.get("shell", "False") != "False"
            or told.get("allow_pickle", "False") != "False"
        ):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("package", ["geo", "models", "flows"])
def test_nothing_that_is_read_is_run(package: str) -> None:
    found = {str(path): code_from_data(path.read_text()) for path in modules(package)}
    assert {path: calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "call",
    [
        "pickle.loads(x)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "subprocess.run(x, shell=True)",
        "np.load(f, allow_pickle=True)",
        "eval(x)",
    ],
)
def test_a_call_that_would_is_seen(call: str) -> None:
    assert code_from_data(f"def f():\n    return {call}") == [call]
    assert code_from_data("torch.load(f, weights_only=True)\nmodel.eval()") == []
