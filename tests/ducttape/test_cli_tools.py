"""check, fmt, viz, completion and the help pages."""

import importlib
import json
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from tapes_by_hand import Place, command, environment

from ducttape.cli.arguments import MODES, OPTIONS, SHELLS
from ducttape.cli.completion import completion
from ducttape.cli.graph import Edge, Graph, Node
from ducttape.cli.graph_svg import svg
from ducttape.cli.graph_text import mermaid
from ducttape.cli.help import PAGES

ROOT = Path(__file__).parents[2]
TAPE = """global {
  seed=1
  unused=2
}
task prep > out :: text=(Lang: en="<a&b>" de=x) {
  echo "$text" > $out
}
task train < in=$out@prep data=nowhere.txt > model /* why */ :: seed=@ {
  cat $in $typo > $model
}
func f > out {
  :
}
plan main {
  reach prep via (Lang: en)
}
"""


def run(folder, *arguments):
    done = subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, env=environment())
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.tape(TAPE)
    return place


# --- check ------------------------------------------------------------------------------------------------------


def test_check_warns_of_everything_at_once(place):
    done = place.run("check")
    said = re.findall(r"^x.tape:(\d+:\d+): warning: (.*)$", done.stdout, re.MULTILINE)
    assert said == [
        ("9:11", "task 'train' uses the undeclared variable 'typo'"),
        ("8:27", "task 'train' never uses its variable 'data'"),
        ("8:65", "task 'train' never uses its variable 'seed'"),
        ("3:3", "nothing reads the global 'unused'"),
        ("11:6", "no task calls the function 'f'"),
        ("8:6", "no plan reaches task 'train'"),
        ("5:26", "no plan uses another branch of 'Lang' than its baseline 'en'"),
    ]
    assert done.returncode == 0 and done.stderr == "no errors, 7 warnings\n"


def test_check_json_and_exit_code(place):
    place.tape(TAPE.replace("seed=@", "seed=$sede").replace("@prep", "@perp"))
    done = place.run("check", "--json")
    rows = json.loads(done.stdout)
    assert done.returncode == 1 and [row["severity"] for row in rows] == ["error", "error"]
    assert rows[0]["file"] == "x.tape" and (rows[0]["line"], rows[0]["column"]) == (8, 17)
    assert rows[0]["hint"] == "did you mean 'prep'?"


def test_check_goes_on_after_an_error_in_a_plan(place):
    place.tape(TAPE.replace("reach prep", "reach trian"))
    done = place.run("check")
    assert done.returncode == 1
    assert "unknown task 'trian'" in done.stdout and "nothing reads the global" in done.stdout


def test_check_names_shared_outputs_and_missing_inputs(place):
    place.tape('task a < in=nowhere > o="/tmp/x" :: p=(P: 1 2) {\n  echo $in $p > $o\n}\n')
    done = place.run("check")
    assert "write the same file '/tmp/x'" in done.stdout and "input 'in' of task 'a' does not exist" in done.stdout


def test_the_study_is_clean():
    from ducttape.plan.lint import lint
    from ducttape.workflow.loader import load

    assert [d.render() for d in lint(load(ROOT / "main.tape", user_file=False))] == []


# --- fmt --------------------------------------------------------------------------------------------------------


def test_fmt_prints_checks_and_writes(tmp_path):
    tape = tmp_path / "x.tape"
    tape.write_text("task a  > x {\n  y\n}\n")
    tape.chmod(0o755)
    assert run(tmp_path, "x.tape", "fmt").stdout == "task a > x {\n  y\n}\n"
    checked = run(tmp_path, "x.tape", "fmt", "--check")
    assert checked.returncode == 1 and "would change x.tape" in checked.stderr and "a  >" in tape.read_text()
    assert run(tmp_path, "x.tape", "fmt", "--write").returncode == 0
    assert tape.read_text() == "task a > x {\n  y\n}\n" and tape.stat().st_mode & 0o777 == 0o755
    assert run(tmp_path, "x.tape", "fmt", "--check").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x.tape"]


def test_fmt_of_several_files_does_those_that_parse(tmp_path):
    (tmp_path / "a.tape").write_text("task a {\n")
    (tmp_path / "b.tape").write_text("import   c\n")
    done = run(tmp_path, "a.tape", "fmt", "b.tape", "--write")
    assert done.returncode == 1 and "a.tape:1:8: error: missing closing brace" in done.stderr
    assert (tmp_path / "b.tape").read_text() == "import c\n" and (tmp_path / "a.tape").read_text() == "task a {\n"


def test_fmt_of_the_standard_input(tmp_path):
    def fmt(text, *more):
        words = command("-", "fmt", *more)
        return subprocess.run(words, input=text, cwd=tmp_path, capture_output=True, env=environment())

    assert fmt(b"import   a\n").stdout == b"import a\n"
    assert fmt(b"import   a\n", "--check").returncode == 1
    for text, more in ((b"\xff", ()), (b"import a", ("--write",)), (b"task", ())):
        done = fmt(text, *more)
        assert done.returncode == 1 and b"error: " in done.stderr and done.stdout == b""


# --- viz --------------------------------------------------------------------------------------------------------


def test_viz_formats(place):
    place.tape(TAPE.replace("reach prep via (Lang: en)", "reach train via (Lang: *)"))
    root = ET.fromstring(place.run("viz", "--format", "svg").stdout)
    texts = [element.text for element in root.iter() if element.tag.endswith("}text")]
    assert texts == ["prep", "Lang.en", "prep", "Lang.de", "train", "Lang.en", "train", "Lang.de"]
    lines = place.run("viz", "-T", "packed", "--format", "mermaid").stdout.splitlines()
    assert lines == ["flowchart LR", '  n0["prep"]', '  n1["train"]', '  n0 -->|"in=$out@prep"| n1']
    assert "did you mean 'packed'?" in place.run("viz", "-T", "pakced").stderr


def test_svg_is_well_formed_for_any_text_and_boxes_do_not_overlap():
    nodes = [Node(f"<&\"'>\0\ud800 {i}", "]]>" * (i % 2)) for i in range(40)]
    edges = [Edge(i, j, "<a & b>") for i in range(40) for j in range(i + 1, min(40, i + 9), 1 + i % 3)]
    drawn = svg(Graph(tuple(nodes), tuple(edges)))
    root = ET.fromstring(drawn)
    boxes = [
        tuple(float(rect.get(k)) for k in ("x", "y", "width", "height"))
        for rect in root.iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert len(boxes) == 40
    for n, (x, y, w, h) in enumerate(boxes):
        for x2, y2, w2, h2 in boxes[:n]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 + 0.2 or y2 + h2 <= y + 0.2
    top, width, height = (float(root.get("viewBox").split()[k]) for k in (1, 2, 3))
    assert all(x >= 0 and y >= top and x + w <= width and y + h <= top + height for x, y, w, h in boxes)
    assert svg(Graph(tuple(nodes), tuple(edges))) == drawn
    ET.fromstring(svg(Graph((), ())))


def test_mermaid_escapes():
    text = mermaid(Graph((Node('a"]#<b>|'), Node("c")), (Edge(0, 1, '"|x'),)))
    assert text.splitlines()[1:] == ['  n0["a#34;]#35;#60;b#62;#124;"]', '  n1["c"]', '  n0 -->|"#34;#124;x"| n1']


# --- help and completion ----------------------------------------------------------------------------------------


def test_every_mode_has_a_page():
    assert list(PAGES) == list(MODES)
    known = {name for option in OPTIONS for name in option.names}
    for mode, page in PAGES.items():
        assert set(page.options) <= known and page.examples, mode
        module = importlib.import_module(f"ducttape.cli.{'execute' if mode == 'exec' else mode}")
        reads = "options.json" in Path(module.__file__).read_text()
        assert reads == ("--json" in page.options), f"the page of {mode} and its module differ about --json"


def test_pages_are_shown(tmp_path):
    assert run(tmp_path, "help", "viz").stdout == run(tmp_path, "x.tape", "viz", "--help").stdout
    assert run(tmp_path, "help", "viz").stdout.startswith("usage: ducttape TAPE [options] viz [TASK")
    assert run(tmp_path, "help").stdout == run(tmp_path, "--help").stdout
    wrong = run(tmp_path, "help", "vis")
    assert wrong.returncode == 2 and "did you mean 'viz'?" in wrong.stderr
    assert max(map(len, run(tmp_path, "--help").stdout.splitlines())) <= 110


@pytest.mark.parametrize("shell", SHELLS)
def test_completions_know_all_modes_and_options(shell):
    text = completion(shell)
    for option in OPTIONS:
        for name in option.names:
            spelled = {"fish": f"-s {name[1:]}" if len(name) == 2 else f"-l {name[2:]}"}.get(shell, name)
            assert spelled in text, name
    assert all(mode in text for mode in MODES)


BASH = {
    "modes": (["ducttape", "x.tape", "pu"], ["purge"]),
    "modes behind options": (["ducttape", "-C", "c.tconf", "x.tape", "-j2", "vi"], ["viz"]),
    "options": (["ducttape", "x.tape", "--st"], ["--stale"]),
    "choices": (["ducttape", "x.tape", "--stale", "k"], ["keep"]),
    "plans": (["ducttape", "x.tape", "-p", ""], ["main"]),
    "tasks": (["ducttape", "x.tape", "list", "t"], ["train"]),
    "tapes": (["ducttape", "x"], ["x.tape"]),
}


@pytest.mark.parametrize("name", BASH)
def test_bash_completes(place, name):
    words, wanted = BASH[name]
    fake = place.folder / "bin" / "ducttape"
    fake.parent.mkdir()
    fake.write_text("#!/bin/bash\nexec " + " ".join(f"'{word}'" for word in command()) + ' "$@"\n')
    fake.chmod(0o755)
    line = " ".join(f"'{word}'" for word in words)
    call = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _ducttape"
    script = f"{completion('bash')}\n{call}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    environ = environment()
    environ["PATH"] = f"{fake.parent}:{environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], cwd=place.folder, capture_output=True, text=True, env=environ)
    assert done.stderr == "" and done.stdout.split() == wanted
