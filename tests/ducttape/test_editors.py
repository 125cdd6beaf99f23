"""Editor support: the grammars are well formed, and everything in the project's own tapes gets its colour."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from doc_examples import sections
from textmate import Grammar

from ducttape.syntax.blocks import KEYWORDS
from ducttape.syntax.parser import parse
from ducttape.syntax.source import Source
from ducttape.syntax.tree import (
    BranchPoint,
    Call,
    Grafted,
    Group,
    Import,
    ListOf,
    Plan,
    SequencePoint,
    TaskLike,
    Variables,
)

ROOT = Path(__file__).resolve().parents[2]
VSCODE = ROOT / "editors/vscode"
VIM = ROOT / "editors/vim"
GRAMMAR = Grammar(json.loads((VSCODE / "syntaxes/ducttape.tmLanguage.json").read_text()))
TAPES = sorted(
    [ROOT / "main.tape", *ROOT.glob("tasks/*.tape"), *ROOT.glob("tapes/*.tape"), *ROOT.glob("configs/*.tconf")]
)
EXAMPLES = {
    f"{section.line}-{fence.words['name']}": fence.text
    for section in sections((ROOT / "docs/language.md").read_text())
    for fence in section.fences
    if fence.language == "tape"
}
MARKS = {"input": "<", "output": ">", "param": "::", "package": ":"}


class Colours:
    """The scopes of one text, with questions about places in it."""

    def __init__(self, text: str):
        self.source = Source("t", text)
        self.scopes = GRAMMAR.scopes(text)
        assert len(self.scopes) == len(text)

    def expect(self, start: int, length: int, scope: str) -> None:
        for at in range(start, start + length):
            assert any(s.startswith(scope) for s in self.scopes[at]), (
                f"line {self.source.position(at)}: {self.source.text[start : start + length]!r} has {self.scopes[at]}"
            )

    def outside_of_bash(self, at: int) -> None:
        assert not any("shell" in s for s in self.scopes[at]), f"line {self.source.position(at)} is taken for bash"

    def check(self) -> None:
        for block in parse(self.source).blocks:
            self._block(block)

    def _block(self, block) -> None:
        start = block.span.start
        self.outside_of_bash(start)
        match block:
            case Import():
                self.expect(start, len("import"), "keyword.control.import")
                self.expect(block.path.span.start, 1, "string")
            case Plan():
                self.expect(start, len("plan"), "storage.type.block")
                for reach in block.reaches:
                    self.expect(reach.span.start, len("reach"), "keyword.control")
                    for goal in reach.goals:
                        self.expect(goal.span.start, len(goal.task), "entity.name.function")
                    for part in reach.cross:
                        self.expect(self.source.text.index(part.point, part.span.start), len(part.point), "entity.name")
            case Variables():
                self.expect(start, len(block.kind), "storage.type.block")
                for item in block.assignments:
                    scope = "support.variable" if item.name.startswith("ducttape_") else "variable.other.assigned"
                    self._item(item, scope)
            case TaskLike() | Call() | Group():
                kind = "task" if isinstance(block, Call) else block.kind
                self.expect(start, len(kind), "storage.type.block")
                self.expect(block.name_span.start, len(block.name), "entity.name")
                for clause in block.clauses:
                    self.expect(clause.span.start, len(MARKS[clause.kind]), "keyword.operator.clause")
                    for item in clause.items:
                        scope = "entity.name.type.package" if clause.kind == "package" else "variable"
                        self._item(item, scope)
                if isinstance(block, TaskLike):
                    self.expect(block.body.span.start, len(block.body.text), "meta.embedded.block.shellscript")
                    self.expect(block.body.span.end, 1, "punctuation.section.body")
                if isinstance(block, Call):
                    self.expect(block.function_span.start, len(block.function), "entity.name.function")
                for member in getattr(block, "members", ()):
                    self._block(member)

    def _item(self, item, scope: str) -> None:
        self.outside_of_bash(item.span.start)
        self.expect(item.name_span.start, len(item.name), scope)
        self._value(item.value)

    def _value(self, value) -> None:
        match value:
            case BranchPoint():
                self.expect(value.name_span.start, len(value.name), "entity.name.type.branch-point")
                for branch in value.branches:
                    if not branch.implied:
                        self.expect(branch.span.start, len(branch.name), "variable.other.enummember")
                    self._value(branch.value)
            case SequencePoint():
                self.expect(value.name_span.start, len(value.name), "entity.name.type.branch-point")
            case Grafted():
                self._value(value.variable)
                for graft in value.grafts:
                    self.expect(graft.span.start, len(graft.point), "entity.name.type.branch-point")
            case ListOf():
                for bracket in (value.span.start, value.span.end - 1):
                    self.expect(bracket, 1, "punctuation.section.list")
                for item in value.items:
                    self._value(item)
            case None:
                pass
            case _:
                # Every value has a colour of its own at its first character.
                assert len(self.scopes[value.span.start]) > 2, value


@pytest.mark.parametrize("tape", TAPES, ids=lambda path: path.name)
def test_everything_in_our_tapes_has_its_scope(tape):
    Colours(tape.read_text(encoding="utf-8")).check()


@pytest.mark.parametrize("name", EXAMPLES)
def test_everything_in_the_documentation_has_its_scope(name):
    Colours(EXAMPLES[name]).check()


TRICKY = """\
#!/usr/bin/env ducttape
/* a /* nested */ comment */
task one < in="a b" :: x='it\\'s' y=\"\"\"raw \\n\"\"\" z={a} .cpus=2 > out { echo ${in} > $out; }
task two
  # a comment
  < in=(Lang: en=$out@one[Side:x,Seed:*]
              de=@one )
  < more=[a.txt 1 $in@one[Side:x] @one 2
          (Lang: en="]" de='[')
         ]
  > out
{
  f() {
    echo "}" '}' ${x:-y}
  }
  cat <<'EOF' | sort
}
EOF
  case $x in a) echo ;; esac # }
}
task three calls f < a=@one > b
func f < a > b {
  :
}
submitter s :: x COMMANDS {
  action run {
    eval "$COMMANDS"
  }
}
summary s {
  of one > score {
    :
  }
}
plan p {
  reach one, two via {
    (Lang: *) * (Seed: 1..3)
  }
}
"""


def test_tricky_places_have_their_scope():
    Colours(TRICKY).check()


def test_the_textmate_grammar_is_well_formed():
    names = set()
    for rule in GRAMMAR.rules():
        for key in ("match", "begin", "end"):
            if key in rule:
                re.compile(re.sub(r"\\[1-9]", "x", rule[key]) if key == "end" else rule[key])
        assert ("begin" in rule) == ("end" in rule), rule
        names.add(rule.get("include", "").removeprefix("#"))
    assert set(GRAMMAR.repository) <= names, "every rule is used"
    assert names <= {*GRAMMAR.repository, "source.shell", ""}, "every rule that is used is there"


def test_the_extension_finds_its_files():
    package = json.loads((VSCODE / "package.json").read_text())
    (grammar,), (language,) = package["contributes"]["grammars"], package["contributes"]["languages"]
    assert (VSCODE / grammar["path"]).is_file()
    assert grammar["scopeName"] == json.loads((VSCODE / grammar["path"]).read_text())["scopeName"]
    json.loads((VSCODE / language["configuration"]).read_text())


def test_vim_knows_every_keyword():
    text = (VIM / "syntax/ducttape.vim").read_text()
    for word in (*KEYWORDS, "calls", "reach", "via"):
        assert re.search(rf"\b{word}\b", text), word
    assert "*.tape,*.tconf" in (VIM / "ftdetect/ducttape.vim").read_text()


# For each line of the file, the syntax groups of its characters, outermost first.
DUMP = """
syntax on
set ft=ducttape
call writefile(map(range(1, line('$')), {_, l -> join(map(range(1, strlen(getline(l))), {_, c ->
  \\ join(map(synstack(l, c), 'synIDattr(v:val, "name")'), '/')}), ' ')}), 'dump.txt')
qa!
"""


@pytest.mark.skipif(shutil.which("vim") is None, reason="no vim here")
@pytest.mark.parametrize("name", ["tricky", *(t.name for t in TAPES if t.parent.name == "tasks"), "main.tape"])
def test_vim_colours_our_tapes(tmp_path, name):
    text = TRICKY if name == "tricky" else next(t for t in TAPES if t.name == name).read_text(encoding="utf-8")
    (tmp_path / "x.tape").write_text(text)
    (tmp_path / "dump.vim").write_text(f"set rtp^={VIM}\n{DUMP}")
    command = ["vim", "-u", "NONE", "-N", "-es", "x.tape", "-S", "dump.vim"]
    subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, timeout=60)
    if not (tmp_path / "dump.txt").is_file():
        pytest.skip("this vim has no syntax highlighting")
    groups = [line.split(" ") for line in (tmp_path / "dump.txt").read_text().split("\n")]
    source = Source("t", text)

    def expect(at: int, group: str) -> None:
        line, column = source.position(at)
        found = groups[line - 1][column - 1]
        assert group in found.split("/"), f"line {line}: {source.line(line)!r} has {found!r}, not {group}"

    for block in parse(source).blocks:
        expect(block.span.start, "ducttapeKeyword")
        for member in (block, *getattr(block, "members", ())):
            for clause in getattr(member, "clauses", ()):
                expect(clause.span.start, "ducttapeMark")
            if isinstance(member, TaskLike):
                expect(member.body.span.start - 1, "ducttapeBrace")
                expect(member.body.span.end, "ducttapeBrace")
