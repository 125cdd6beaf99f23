"""A short run of `make fuzz`: mutants of real tapes give diagnostics or a tree, from the parser to the planner."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz_syntax.py"


def load_script():
    spec = importlib.util.spec_from_file_location("fuzz_syntax", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_findings():
    result = load_script().fuzz(1000, seed=3, first=0, extra=[], save=None, talk=lambda text: None)
    assert result["list"] == []
    assert all(result.get(stage) for stage in ("errors", "tree", "loaded", "planned")), "the mutations are one-sided"


def test_the_corpus_is_valid_and_mutants_repeat(tmp_path):
    script = load_script()
    # One tape of the course is wrong on purpose.
    assert sum(script.check(text, tmp_path) == "errors" for text in set(script.corpus([]))) <= 1
    assert script.check(script.ALL_CONSTRUCTS, tmp_path) == "planned"
    one, other = (script.Mutator(script.corpus([]), 5) for _ in range(2))
    assert [one.mutant(n) for n in range(50)] == [other.mutant(n) for n in range(50)]
