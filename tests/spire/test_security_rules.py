"""The sources contain no call that runs data: pickles, unsafe torch.load, eval, shells, YAML, plain extractall."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("scripts/*.py")])
MODULES = {"pickle", "cPickle", "_pickle", "joblib", "marshal", "shelve", "dill", "cloudpickle"}
CALLS = {"eval", "exec", "os.system", "os.popen", "torch.hub.load", "yaml.load", "yaml.unsafe_load"}
KEYWORDS = {"shell", "trust_remote_code", "allow_pickle"}


def violations(source):
    """What of the above an AST contains, as (line, text)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, item.name) for item in node.names if item.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append((node.lineno, node.module))
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            unsafe = called == "torch.load" and not _is(given.get("weights_only"), True)
            unsafe |= called.endswith(".extractall") and not _is(given.get("filter"), "data")
            if called in CALLS or unsafe:
                found.append((node.lineno, called))
            for key in KEYWORDS & set(given):
                if not _is(given[key], False):
                    found.append((node.lineno, f"{called}({key}={ast.unparse(given[key])})"))
    return found


def _is(node, value):
    return isinstance(node, ast.Constant) and node.value == value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_data(path):
    assert violations(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "eval('1')",
        "torch.load(path)",
        "subprocess.run(line, shell=True)",
        "np.load(path, allow_pickle=flag)",
        "archive.extractall(out)",
        "archive.extractall(out, filter='fully_trusted')",
        "yaml.load(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_rules_find_what_they_look_for(source):
    assert len(violations(source)) == 1


def test_safe_forms_pass():
    assert violations("np.load(p, allow_pickle=False); yaml.safe_load(t); a.extractall(o, filter='data')") == []
