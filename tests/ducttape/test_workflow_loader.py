"""Imports, configs, defines, globals, calls, and the shape of the loaded workflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from ducttape.plan.planner import make_plan
from ducttape.syntax.diagnostics import TapeError
from ducttape.workflow.loader import load

T = "task t > out :: seed=@ {\n  echo $seed\n}\n"


def write(folder: Path, **files: str) -> Path:
    """Writes NAME__SUB -> NAME/SUB.tape; returns main.tape."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + (".tape" if not name.endswith("conf") else ""))
        path = path.with_name(path.name.replace("_tconf", ".tconf"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "main.tape"


def value(workflow, name="seed"):
    return workflow.globals[name].value.value


def test_imports_are_relative_recursive_and_once(tmp_path):
    tape = write(
        tmp_path,
        main='import "sub/one.tape"\nimport "sub/../sub/one.tape"\ntask z {\n}\n',
        sub__one='import "two.tape"\nglobal {\n  seed=1\n}\n',
        sub__two='import "../main.tape"\n' + T,
    )
    workflow = load(tape, user_file=False)
    assert list(workflow.tasks) == ["t", "z"]
    assert [f.source.path.name for f in workflow.files] == ["main.tape", "one.tape", "two.tape"]


def test_missing_import_points_at_the_import(tmp_path):
    tape = write(tmp_path, main='task z {\n}\nimport "no.tape"\n')
    with pytest.raises(TapeError) as caught:
        load(tape, user_file=False)
    assert caught.value.diagnostics[0].span.line == 3


def test_errors_of_several_files_come_together(tmp_path):
    tape = write(tmp_path, main='import "one.tape"\nimport "two.tape"\n', one="tusk a {\n}\n", two="tusk b {\n}\n")
    with pytest.raises(TapeError) as caught:
        load(tape, user_file=False)
    assert len(caught.value.diagnostics) == 2


def test_who_wins(tmp_path):
    tape = write(
        tmp_path,
        main="config {\n  seed=1\n}\n" + T,
        a_tconf="config {\n  seed=2\n}\n",
        b_tconf='import "more.tape"\n',
        more="config {\n  seed=3\n}\n",
    )
    a, b = tmp_path / "a.tconf", tmp_path / "b.tconf"
    assert value(load(tape, user_file=False)) == "1"
    assert value(load(tape, [a], user_file=False)) == "2"
    assert value(load(tape, [a, b], user_file=False)) == "3"
    assert value(load(tape, [b, a], user_file=False)) == "2"
    assert value(load(tape, [b, a], {"seed": "a b"}, user_file=False)) == "a b"
    assert load(tape, [a, b], user_file=False).configuration == "a+b"


def test_named_configs_are_dead(tmp_path):
    tape = write(tmp_path, main="config c {\n  seed=1\n}\nconfig {\n  seed=2\n}\n" + T)
    assert value(load(tape, user_file=False)) == "2"


@pytest.mark.parametrize("kind", ["global", "config"])
def test_a_global_is_defined_once(tmp_path, kind):
    tape = write(tmp_path, main="global {\n  seed=1\n}\n" + T, a_tconf=kind + " {\n  seed=2\n}\n")
    with pytest.raises(TapeError) as caught:
        load(tape, [tmp_path / "a.tconf"], user_file=False)
    found = caught.value.diagnostics[0]
    assert found.span.source.path.name == "a.tconf" and found.other.source.path.name == "main.tape"


def test_default_config(tmp_path):
    tape = write(
        tmp_path,
        main='global {\n  ducttape_default_config="configs/mini.tconf"\n}\n' + T,
        configs__mini_tconf="global {\n  seed=1\n}\n",
        configs__other_tconf="global {\n  seed=2\n}\n",
    )
    other = tmp_path / "configs/other.tconf"
    assert value(load(tape, user_file=False)) == "1"
    assert load(tape, user_file=False).configuration == "mini"
    assert value(load(tape, [other], user_file=False)) == "2"
    assert value(load(tape, (), {"ducttape_default_config": str(other)}, user_file=False)) == "2"


def test_user_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    tape = write(tmp_path, main=T)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.ducttape").write_text("global {\n  seed=7\n}\n")
    assert value(load(tape)) == "7"


def test_a_person_wins_over_the_tape_and_loses_to_configs(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    tape = write(tmp_path, main="config {\n  seed=1\n}\n" + T, a_tconf="config {\n  seed=2\n}\n")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.ducttape").write_text("config {\n  seed=7\n}\n")
    assert value(load(tape)) == "7"
    assert value(load(tape, [tmp_path / "a.tconf"])) == "2"


def test_configs_that_override_each_other_are_named(tmp_path):
    tape = write(
        tmp_path,
        main="config {\n  seed=1\n}\n" + T,
        a_tconf="config {\n  seed=2\n}\n",
        b_tconf="config {\n  seed=3\n}\n",
    )
    a, b = tmp_path / "a.tconf", tmp_path / "b.tconf"
    assert load(tape, [a], user_file=False).warnings == []
    (note,) = load(tape, [a, b], user_file=False).warnings
    assert note.render() == f"note: {b} overrides {a}: seed"


def test_paths_are_relative_to_the_declaring_file(tmp_path):
    tape = write(
        tmp_path,
        main='import "sub/one.tape"\ntask t < a=$g b=here c=/abs d=~/x > out {\n}\n',
        sub__one="global {\n  g=../data.txt\n}\n",
    )
    plan = make_plan(load(tape, user_file=False))
    (task,) = plan.tasks.values()
    paths = [str(i.sources[0].path) for i in task.inputs]
    assert paths == [str(tmp_path / "data.txt"), str(tmp_path / "here"), "/abs", str(Path.home() / "x")]


def test_dotdot_through_a_link_is_not_folded(tmp_path):
    (tmp_path / "far/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far/deep")
    tape = write(tmp_path, main="task t < a=link/../x > out {\n}\n")
    (task,) = make_plan(load(tape, user_file=False)).tasks.values()
    assert task.inputs[0].sources[0].path.resolve() == tmp_path / "far/x"


def test_outputs(tmp_path):
    tape = write(
        tmp_path,
        main="""global {
  name=g.txt
  who=both.txt
}
task t > a b="sub/b.txt" c=$name d=$file who=@ :: file=(F: x y) {
}
""",
    )
    plan = make_plan(load(tape, user_file=False))
    names = {k.realization: [o.path for o in t.outputs] for k, t in plan.tasks.items()}
    assert names == {
        "Baseline.baseline": ["a", "sub/b.txt", "g.txt", "x", "both.txt"],
        "F.y": ["a", "sub/b.txt", "g.txt", "y", "both.txt"],
    }


def test_calls_take_body_and_packages_of_the_function(tmp_path):
    tape = write(
        tmp_path,
        main="""global {
  ducttape_experimental_packages=true
}
package p :: .versioner=disk .path=/x opt=2 {
  make
}
package unused :: .versioner=disk .path=/y {
}
func f : p < in > out :: n {
  head -n $n $in > $out
}
task a calls f < in=/dev/null > out :: n=3
task b calls f < in=$out@a > out :: n=(N: 1 2)
""",
    )
    plan = make_plan(load(tape, user_file=False))
    assert [str(k) for k in plan.tasks] == ["a/Baseline.baseline", "b/Baseline.baseline", "b/N.2"]
    assert {t.packages for t in plan.tasks.values()} == {("p",)}
    assert all("head -n" in t.body for t in plan.tasks.values())
    (package,) = plan.packages.values()
    assert (package.versioner, [p.name for p in package.versioner_params], [p.value for p in package.params]) == (
        "disk",
        ["path"],
        ["2"],
    )


def test_directives(tmp_path):
    tape = write(
        tmp_path,
        main="""global {
  base=out
  ducttape_output=$base
  ducttape_structure=flat
  ducttape_auto_update_packages=enable
  ducttape_branchpoint_delimiter="~~"
  ducttape_some_future_thing=1
}
task t {
}
""",
    )
    found = load(tape, user_file=False).directives
    assert (found.output, found.structure, found.auto_update_packages, found.versioned_tasks, found.delimiter) == (
        "out",
        "flat",
        True,
        False,
        "~",
    )
