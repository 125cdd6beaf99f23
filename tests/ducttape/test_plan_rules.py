"""What runs: branch points, grafts, plans and the one-off default, one table row a rule."""

from __future__ import annotations

import pytest

from ducttape.plan.planner import make_plan, plan_all
from ducttape.plan.tasks import FromTask
from ducttape.syntax.diagnostics import TapeError
from ducttape.workflow.loader import load


def planned(tmp_path, text, *names, warn=None):
    tape = tmp_path / "x.tape"
    tape.write_text(text)
    return make_plan(load(tape, user_file=False), names, warn)


def block(name: str, header: str) -> str:
    return f"task {name} {header} {{\n  :\n}}\n"


def plan_block(*reaches: str, name: str = "") -> str:
    return f"plan {name} {{\n" + "".join(f"  reach {r}\n" for r in reaches) + "}\n"


def keys(plan) -> list[str]:
    return [str(k) for k in plan.tasks]


def wires(plan, key: str) -> list[str]:
    """`variable=task/realization` for each source of each input of one task."""
    task = next(t for k, t in plan.tasks.items() if str(k) == key)
    return [f"{i.name}={s.key if isinstance(s, FromTask) else s.path.name}" for i in task.inputs for s in i.sources]


T = block("t", "> out :: p=(P: one two) q=(Q: a b c)")
BASE = "Baseline.baseline"

# Tape, and the keys of the plan in order.
RULES = {
    "no plan: at most one branch off the baseline": (T, [f"t/{BASE}", "t/Q.b", "t/Q.c", "t/P.two"]),
    "no plan: ancestors may carry more because of grafts": (
        T + block("u", "< x=$out@t[P:two,Q:c] > out"),
        [f"t/{BASE}", "t/Q.b", "t/Q.c", "t/P.two", "t/P.two+Q.c", f"u/{BASE}"],
    ),
    "a plan is exact": (
        T + block("u", "< x=$out@t[P:two] > out") + plan_block("u via (Q: b)"),
        ["t/P.two+Q.b", "u/Q.b"],
    ),
    "no via: baselines": (T + plan_block("t"), [f"t/{BASE}"]),
    "star takes all, the unlisted stay at baseline": (T + plan_block("t via (Q: *)"), [f"t/{BASE}", "t/Q.b", "t/Q.c"]),
    "cross product": (
        T + plan_block("t via (P: *) * (Q: b c)"),
        ["t/Q.b", "t/Q.c", "t/P.two+Q.b", "t/P.two+Q.c"],
    ),
    "the keyword baseline": (T + plan_block("t via (Q: baseline c)"), [f"t/{BASE}", "t/Q.c"]),
    "Baseline: baseline is always allowed": (T + plan_block("t via (Baseline: baseline)"), [f"t/{BASE}"]),
    "reach lines are united": (T + plan_block("t via (P: two)", "t via (Q: c)"), ["t/Q.c", "t/P.two"]),
    "several goals": (T + block("u", "> out") + plan_block("t, u via (P: two)"), ["t/P.two", f"u/{BASE}"]),
    "points that the goal does not see are ignored": (
        block("u", "> out") + T + plan_block("u via (P: two)"),
        [f"u/{BASE}"],
    ),
    "ranges": (
        block("s", ":: n=(N: 1..5)") + plan_block("s via (N: 2..3 5)"),
        ["s/N.2", "s/N.3", "s/N.5"],
    ),
    "sequences use the numbers' texts": (
        block("s", ":: n=(N: 5..1..-2)") + block("r", ":: n=(M: 0.1..0.3..0.1)"),
        [f"s/{BASE}", "s/N.3", "s/N.1", f"r/{BASE}", "r/M.0.2", "r/M.0.3"],
    ),
    "a point used twice is chosen once": (
        block("t", "> out :: p=(P: one two) r=(P: one=1 two=2)"),
        [f"t/{BASE}", "t/P.two"],
    ),
    "a nested point exists only under its branch": (
        T + block("u", "< x=(R: one=$out@t two=/dev/null) > out") + plan_block("u via (R: *) * (Q: b)"),
        ["t/Q.b", "u/R.two", "u/Q.b"],
    ),
    "grafts hide the point": (
        T + block("u", "< x=$out@t[P:two] > out") + block("v", "< y=$out@u > out") + plan_block("v via (P: *)"),
        ["t/P.two", f"u/{BASE}", f"v/{BASE}"],
    ),
    "a point grafted on one input stays visible by another": (
        T + block("u", "< x=$out@t[P:two] y=$out@t > out") + plan_block("u via (P: *)"),
        [f"t/{BASE}", "t/P.two", f"u/{BASE}", "u/P.two"],
    ),
    "glob": (
        T + block("u", "< x=$out@t[Q:*] > out") + plan_block("u via (P: two)"),
        ["t/P.two", "t/P.two+Q.b", "t/P.two+Q.c", "u/P.two"],
    ),
    "params bring points but no dependency": (
        T + block("u", ":: x=$p@t > out") + plan_block("u via (P: *) * (Q: *)"),
        [f"u/{BASE}", "u/P.two"],
    ),
    "a param of a task may be grafted": (
        T + block("u", ":: x=$p@t[P:two] > out") + plan_block("u"),
        [f"u/{BASE}"],
    ),
    "grafts inside branches (#87)": (
        "global {\n  g1=1\n  g2=2\n}\n" + block("t", ":: p=(P: one=$g1[P:one] two=$g2[P:two])"),
        [f"t/{BASE}", "t/P.two"],
    ),
    "anonymous and named plans together": (
        T + plan_block("t via (P: two)") + plan_block("t via (Q: b)", name="x"),
        ["t/Q.b", "t/P.two"],
    ),
    "declaration order, parents first": (
        block("c", "< x=$out@b > out") + block("a", "> out") + block("b", "> out"),
        [f"a/{BASE}", f"b/{BASE}", f"c/{BASE}"],
    ),
    "a point of one name through globals": (
        "global {\n  g=(P: one two)\n}\n" + block("t", ":: p=$g q=(P: one=1 two=2)"),
        [f"t/{BASE}", "t/P.two"],
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule(tmp_path, rule):
    text, expected = RULES[rule]
    assert keys(planned(tmp_path, text)) == expected


def test_glob_values_come_in_declaration_order(tmp_path):
    names = "one two three four five six"
    text = block("t", f"> out :: n=(N: {names})") + block("u", "< x=$out@t[N:*] > out") + plan_block("u")
    plan = planned(tmp_path, text)
    labels = [BASE, *(f"N.{n}" for n in names.split()[1:])]
    assert wires(plan, f"u/{BASE}") == [f"x=t/{label}" for label in labels]


def test_two_globs_are_all_combinations(tmp_path):
    plan = planned(tmp_path, T + block("u", "< x=$out@t[P:*,Q:*] > out") + plan_block("u"))
    labels = [BASE, "Q.b", "Q.c", "P.two", "P.two+Q.b", "P.two+Q.c"]
    assert wires(plan, f"u/{BASE}") == [f"x=t/{label}" for label in labels]


def test_a_glob_through_a_global_aggregates(tmp_path):
    text = "global {\n  all=$out@t[Q:*]\n  every=(R: a=/x b=/y)\n}\n" + T
    text += block("u", "< x=$all y=$every[R:*] > out :: z=$every[R:*]") + plan_block("u via (P: two)")
    plan = planned(tmp_path, text)
    assert wires(plan, "u/P.two") == ["x=t/P.two", "x=t/P.two+Q.b", "x=t/P.two+Q.c", "y=x", "y=y"]
    assert [p.value for t in plan.tasks.values() if t.key.task == "u" for p in t.params] == ["/x /y"]


def test_the_matrix_of_a_real_tape(tmp_path):
    text = block("base", "> model") + block("cpt", "> model :: enc=(Encoder: h m)")
    text += block("it", "< init=(IT: full=$model@cpt lite=$model@base) > model :: b=(IT: full=1 lite=2)")
    text += block("decode", "< model=(Model: tower=$model@base full=$model@it[IT:full] lite=$model@it[IT:lite]) > hyp")
    text += block("table", "< hyps=$hyp@decode[Model:*] > csv") + plan_block("table")
    plan = planned(tmp_path, text)
    assert keys(plan) == [
        f"base/{BASE}",
        f"cpt/{BASE}",
        f"it/{BASE}",
        "it/IT.lite",
        f"decode/{BASE}",
        "decode/Model.full",
        "decode/Model.lite",
        f"table/{BASE}",
    ]
    assert wires(plan, "decode/Model.full") == [f"model=it/{BASE}"]
    assert wires(plan, "it/IT.lite") == [f"init=base/{BASE}"]
    full = {str(k): t.realization.full_name for k, t in plan.tasks.items()}
    # The encoder is visible only where the model depends on it.
    assert full["decode/Model.full"] == "Encoder.h+Model.full" and full["it/IT.lite"] == "IT.lite"
    assert full[f"decode/{BASE}"] == "Model.tower" and full[f"table/{BASE}"] == "Encoder.h"


def test_params_keep_their_order_values_and_dots(tmp_path):
    text = "global {\n  seed=7\n  it_lr=1e-3\n}\n" + block("t", ":: seed=@ lr=$it_lr .cpus=2 who=(W: x='a b' y=2)")
    plan = planned(tmp_path, text)
    (first, second) = plan.tasks.values()
    assert [(p.name, p.value, p.dot) for p in first.params] == [
        ("seed", "7", False),
        ("lr", "1e-3", False),
        ("cpus", "2", True),
        ("who", "a b", False),
    ]
    assert first.params[0].span.line == 2 and second.params[3].value == "2"


def test_named_plans(tmp_path):
    text = (
        T + plan_block("t via (P: two)") + plan_block("t via (Q: b)", name="x") + plan_block("t via (Q: c)", name="x")
    )
    text += plan_block("t via (P: two) * (Q: c)", name="y")
    assert keys(planned(tmp_path, text, "x")) == ["t/Q.b", "t/Q.c"]
    assert keys(planned(tmp_path, text, "x", "y")) == ["t/Q.b", "t/Q.c", "t/P.two+Q.c"]
    with pytest.raises(TapeError, match="unknown plan 'xx'") as caught:
        planned(tmp_path, text, "xx")
    assert "did you mean 'x'" in caught.value.diagnostics[0].hint


ERRORS = [
    ("reach nope", "unknown task 'nope'", 1),
    ("reach t via (Z: a)", "unknown branch point 'Z'", 1),
    ("reach t via (Q: d)", "zero tasks", 1),
]


@pytest.mark.parametrize("line, message, number", ERRORS)
def test_wrong_plans(tmp_path, line, message, number):
    with pytest.raises(TapeError) as caught:
        planned(tmp_path, "plan {\n  " + line + "\n}\n" + T)
    (found,) = caught.value.diagnostics
    assert message in found.message and found.span.line == 2 and found.hint


def test_all_wrong_lines_of_a_plan_come_together(tmp_path):
    with pytest.raises(TapeError) as caught:
        planned(tmp_path, T + plan_block("nope", "t via (Z: a)", "t via (Q: d)"))
    assert len(caught.value.diagnostics) == 3


def test_branches_that_do_not_exist_are_left_out_with_a_warning(tmp_path):
    warnings = []
    plan = planned(tmp_path, T + plan_block("t via (Q: b d)"), warn=warnings.append)
    assert keys(plan) == ["t/Q.b"]
    assert "no branch 'd'" in warnings[0].message and warnings[0].severity == "warning"


def test_contradictory_inputs_have_no_realization(tmp_path):
    text = block("t", "> out :: p=(P: one two)")
    text += block("u", "< x=(Q: a=$out@t[P:one] b=/dev/null) > out :: y=(Q: b a)").replace("(Q: b a)", "(Q: a b)")
    assert keys(planned(tmp_path, text + plan_block("u via (Q: *)"))) == [f"t/{BASE}", f"u/{BASE}", "u/Q.b"]


def test_empty_workflow(tmp_path):
    with pytest.raises(TapeError, match="zero tasks"):
        planned(tmp_path, "global {\n  x=1\n}\n")


TWO_PLANS = (
    T + plan_block("t via (P: two)", name="a") + plan_block("t via (Q: b)", name="b") + plan_block("t", name="c")
)


@pytest.mark.parametrize(
    "value, names, expected",
    [
        ("b", (), ["t/Q.b"]),
        ('"b c"', (), [f"t/{BASE}", "t/Q.b"]),
        ('""', (), [f"t/{BASE}", "t/Q.b", "t/P.two"]),
        ("b", ("a",), ["t/P.two"]),
    ],
)
def test_default_plan(tmp_path, value, names, expected):
    text = f"config {{\n  ducttape_default_plan={value}\n}}\n" + TWO_PLANS
    assert keys(planned(tmp_path, text, *names)) == expected
    assert keys(plan_all(load(tmp_path / "x.tape", user_file=False))) == [f"t/{BASE}", "t/Q.b", "t/P.two"]
    assert not next(iter(planned(tmp_path, text).tasks.values())).params[2:], "it is no dot-param of the tasks"


def test_default_plan_that_is_none(tmp_path):
    text = "config {\n  ducttape_default_plan=bb\n}\n" + TWO_PLANS
    for plan in (make_plan, plan_all):
        tape = tmp_path / "x.tape"
        tape.write_text(text)
        with pytest.raises(TapeError) as caught:
            plan(load(tape, user_file=False))
        (found,) = caught.value.diagnostics
        assert str(found.span).endswith("x.tape:2:25") and "unknown plan 'bb'" in found.message and "'b'" in found.hint
