"""The planner against the definition: random small workflows, planned by it and by listing every alternative.

The brute force follows spec 4 word for word: alternatives of a value are listed, a task joins them all, grafts filter
and hide, plans filter the goals' full lists, ancestors are those that the chosen alternatives carry.
"""

from __future__ import annotations

import os
import tempfile
from itertools import product
from pathlib import Path

from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from ducttape.plan.planner import make_plan
from ducttape.plan.tasks import FromTask
from ducttape.syntax.diagnostics import TapeError
from ducttape.workflow.loader import load

# More with: HYPOTHESIS_EXAMPLES=5000 pytest ...
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", 120))
POINTS = {"A": ["a1", "a2"], "B": ["b1", "b2", "b3"], "C": ["c1", "c2"]}


class Impossible(Exception):
    """A graft that no alternative satisfies."""


# --- random workflows: values are tuples --------------------------------------------------------------------------


def grafts(source, globals_, tasks):
    """Mostly of points that the source may have, sometimes of any."""
    seen = sorted(seen_points(source, globals_, tasks)) or list(POINTS)
    pairs = [(p, b) for p in seen for b in [*POINTS[p], "*"]]
    rare = [(p, b) for p, names in POINTS.items() for b in names]
    one = st.one_of(st.sampled_from(pairs), st.sampled_from(pairs), st.sampled_from([*pairs, *rare]))
    return st.lists(one, min_size=1, max_size=2, unique_by=lambda g: g[0]).map(tuple)


def seen_points(value, globals_, tasks) -> set[str]:
    """The points that some alternative of a value may have."""
    kind = value[0]
    if kind == "point":
        return {value[1]}.union(*(seen_points(v, globals_, tasks) for v in value[2]))
    if kind == "graft":
        return seen_points(value[1], globals_, tasks) - {p for p, _ in value[2]}
    if kind == "global":
        return seen_points(globals_[value[1]], globals_, tasks)
    if kind == "list":
        return set().union(*(seen_points(v, globals_, tasks) for v in value[1]))
    if kind in ("out", "par"):
        inputs, params = tasks[value[1]]
        read = (*inputs, *params) if kind == "out" else params[:1]
        return set().union(*(seen_points(v, globals_, tasks) for v in read))
    return set()


def values(leaf, depth=2):
    if depth == 0:
        return leaf
    inner = values(leaf, depth - 1)
    points = [st.tuples(st.just("point"), st.just(p), st.tuples(*[inner] * len(names))) for p, names in POINTS.items()]
    return st.one_of(leaf, leaf, *points)


def with_lists(plain):
    """Also lists, and lists in the branches of a point."""
    lists = st.tuples(st.just("list"), st.lists(plain, min_size=1, max_size=3).map(tuple))
    either = st.one_of(plain, lists)
    names = POINTS["A"]
    return st.one_of(
        plain, plain, plain, lists, st.tuples(st.just("point"), st.just("A"), st.tuples(*[either] * len(names)))
    )


@st.composite
def workflows(draw):
    globals_ = {}
    tasks = {}
    for g in range(draw(st.integers(0, 2))):
        globals_[f"g{g}"] = draw(with_lists(values(st.just(("text", f"/lit{g}")))))
    for k in range(draw(st.integers(2, 4))):
        leaf = [st.just(("text", "/dev/null"))]
        grafted = []
        for source in [("out", f"t{j}") for j in range(k)] + [("global", g) for g in globals_]:
            leaf.append(st.just(source))
            grafted.append(st.tuples(st.just("graft"), st.just(source), grafts(source, globals_, tasks)))
        plain, grafted = values(st.one_of(*leaf)), st.one_of(*grafted) if grafted else st.nothing()
        inputs = draw(st.lists(with_lists(st.one_of(plain, plain, plain, grafted)), max_size=2))
        if k and draw(st.integers(0, 5)) == 0:
            inputs.append(draw(values(grafted, 1)))
        leaf = [st.just(("text", "v"))]
        for source in [("par", f"t{j}") for j in range(k) if tasks[f"t{j}"][1]] + [("global", g) for g in globals_]:
            leaf += [st.just(source), st.tuples(st.just("graft"), st.just(source), grafts(source, globals_, tasks))]
        params = draw(st.lists(with_lists(values(st.one_of(*leaf), 1)), min_size=int(k == 0), max_size=1))
        tasks[f"t{k}"] = (inputs, params)
    plans = []
    for _ in range(draw(st.integers(0, 2))):
        goal = draw(st.sampled_from(sorted(tasks)))
        cross = []
        for p in draw(st.lists(st.sampled_from(sorted(POINTS)), unique=True)):
            chosen = draw(st.lists(st.sampled_from([*POINTS[p], "baseline"]), unique=True, max_size=3))
            cross.append((p, chosen or ["*"]))
        plans.append((goal, cross))
    return globals_, tasks, plans


def render(value) -> str:
    kind = value[0]
    if kind == "text":
        return value[1]
    if kind == "out":
        return f"$o@{value[1]}"
    if kind == "par":
        return f"$p0@{value[1]}"
    if kind == "global":
        return f"${value[1]}"
    if kind == "graft":
        return render(value[1]) + "[" + ",".join(f"{p}:{b}" for p, b in value[2]) + "]"
    if kind == "list":
        return f"[{' '.join(map(render, value[1]))}]"
    branches = " ".join(f"{b}={render(v)}" for b, v in zip(POINTS[value[1]], value[2], strict=True))
    return f"({value[1]}: {branches})"


def render_all(globals_, tasks, plans) -> str:
    every = " ".join(f"x{p}=({p}: {' '.join(b)})" for p, b in POINTS.items())
    lines = ["global {", *(f"  {n}={render(v)}" for n, v in globals_.items())]
    lines += [f"  {part}" for part in every.replace(") ", ")\n  ").split("\n  ")] + ["}"]
    for name, (inputs, params) in tasks.items():
        lines.append(f"task {name}")
        lines += [f"  < i{n}={render(v)}" for n, v in enumerate(inputs)]
        lines += [f"  :: p{n}={render(v)}" for n, v in enumerate(params)]
        lines += ["  > o {", "  :", "}"]
    for goal, cross in plans:
        via = " * ".join(f"({p}: {' '.join(b)})" for p, b in cross)
        lines += ["plan {", f"  reach {goal}" + (f" via {via}" if via else ""), "}"]
    return "\n".join(lines) + "\n"


# --- the definition -----------------------------------------------------------------------------------------------


def consistent(a: dict, b: dict) -> bool:
    return all(b.get(p, x) == x for p, x in a.items())


def join(lists):
    """Joint choices: (realization, one source tuple for each list)."""
    out = [({}, ())]
    for alternatives in lists:
        out = [({**r, **s}, (*sources, more)) for r, sources in out for s, more in alternatives if consistent(r, s)]
    return out


class Brute:
    def __init__(self, globals_, tasks):
        self.globals, self.tasks = globals_, tasks
        self.realizations = {}
        for name, (inputs, params) in tasks.items():
            lists = [self.alternatives(v, {}) for v in (*inputs, *params)]
            self.realizations[name] = join(lists)

    def alternatives(self, value, chosen):
        kind = value[0]
        if kind == "text":
            return [({}, (value[1],))]
        if kind == "out":
            return [(r, ((value[1], tuple(sorted(r.items()))),)) for r, _ in self.realizations[value[1]]]
        if kind == "par":
            return self.alternatives(self.tasks[value[1]][1][0], chosen)
        if kind == "global":
            return self.alternatives(self.globals[value[1]], chosen)
        if kind == "list":
            found = join([self.alternatives(v, chosen) for v in value[1]])
            return [(r, tuple(s for part in sources for s in part)) for r, sources in found]
        if kind == "point":
            out = []
            for branch, inner in zip(POINTS[value[1]], value[2], strict=True):
                for r, sources in self.alternatives(inner, {**chosen, value[1]: branch}):
                    if consistent({value[1]: branch}, r):
                        out.append(({**r, value[1]: branch}, sources))
            return out
        inside = {**{p: b for p, b in chosen.items() if p not in dict(value[2])}}
        inside.update({p: b for p, b in value[2] if b != "*"})
        base = self.alternatives(value[1], inside)
        parts = []
        for combination in product(*([(p, x) for x in POINTS[p]] if b == "*" else [(p, b)] for p, b in value[2])):
            kept = []
            for r, sources in base:
                free = [p for p, b in combination if chosen.get(p) == b and dict(value[2])[p] != "*"]
                if all(r.get(p, b if p in free else None) == b for p, b in combination):
                    hidden = {p: b for p, b in r.items() if p not in dict(combination)}
                    kept.append((hidden, sources))
            parts.append(kept)
        glob = any(b == "*" for _, b in value[2])
        if glob:
            parts = [kept for kept in parts if kept]
        joined = [(r, tuple(s for part in sources for s in part)) for r, sources in join(parts)]
        if not joined or not parts:
            raise Impossible
        return joined

    def plan(self, plans):
        """{(task, realization items): sources of its inputs}"""
        goals = []
        if not plans:
            for name, found in self.realizations.items():
                for r, _ in found:
                    if sum(b != POINTS[p][0] for p, b in r.items()) <= 1:
                        goals.append((name, tuple(sorted(r.items()))))
        for goal, cross in plans:
            allowed = {p: {names[0]} for p, names in POINTS.items()}
            for p, chosen in cross:
                allowed[p] = set()
                for branch in chosen:
                    allowed[p] |= (
                        set(POINTS[p]) if branch == "*" else {POINTS[p][0] if branch == "baseline" else branch}
                    )
            reached = [
                (goal, tuple(sorted(r.items())))
                for r, _ in self.realizations[goal]
                if all(b in allowed[p] for p, b in r.items())
            ]
            if not reached:
                return None
            goals += reached
        plan, pending = {}, goals
        while pending:
            key = pending.pop()
            if key not in plan:
                sources = {tuple(sorted(r.items())): s for r, s in self.realizations[key[0]]}[key[1]]
                plan[key] = sources[: len(self.tasks[key[0]][0])]
                pending += [s for group in plan[key] for s in group if isinstance(s, tuple)]
        return plan


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(workflows())
def test_planner_agrees_with_the_definition(parts):
    globals_, tasks, plans = parts
    text = render_all(*parts)
    with tempfile.TemporaryDirectory() as folder:
        tape = Path(folder) / "random.tape"
        tape.write_text(text)
        try:
            workflow = load(tape, user_file=False)
        except TapeError as error:
            messages = [d.message for d in error.diagnostics]
            # Refused by rule, also where another branch of the value would have been possible.
            assume(not any("swaps branches" in m or "is grafted to" in m for m in messages))
            assert all("impossible graft" in m for m in messages), (text, messages)
            try:
                Brute(globals_, tasks)
            except Impossible:
                event("impossible")
                return
            raise AssertionError(f"refused, but possible:\n{text}\n{error}") from None
        brute = Brute(globals_, tasks)
        for name, found in brute.realizations.items():
            assert len({tuple(sorted(r.items())) for r, _ in found}) == len(found), (name, text)
        expected = brute.plan(plans)
        try:
            plan = make_plan(workflow)
        except TapeError as error:
            assert "zero tasks" in str(error)
            assert not expected, text
            event("zero")
            return
    event("tasks: " + str(min(len(plan.tasks), 20)))
    actual = {}
    realization = {key: t.realization.branches for key, t in plan.tasks.items()}
    for key, task in plan.tasks.items():
        sources = tuple(
            tuple((s.key.task, realization[s.key]) if isinstance(s, FromTask) else str(s.path) for s in i.sources)
            for i in task.inputs
        )
        actual[key.task, task.realization.branches] = sources
    assert actual == expected, text
    done = set()
    for key, task in plan.tasks.items():
        assert set(task.parents) <= done, "parents come first"
        done.add(key)
