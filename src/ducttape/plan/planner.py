"""From a workflow to a plan: the goals, and everything that they need, made concrete.

    plan = make_plan(load(Path("main.tape")), ["asr"])

Goals are enumerated first; then tasks are visited children first, and each realized task names the realizations of its
parents: its own branches, restricted to what the parent sees, with grafted points overridden. No step looks at a
realization that is not in the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter

from ducttape.plan.defaults import with_defaults
from ducttape.plan.enumerate import Goal, Warn, choose_plans, one_off, planned
from ducttape.plan.packages import package_definitions
from ducttape.plan.realization import Namer
from ducttape.plan.tasks import (
    FromFile,
    FromTask,
    Input,
    Output,
    Param,
    Plan,
    Realization,
    RealizedTask,
    TaskKey,
)
from ducttape.syntax import tree
from ducttape.syntax.diagnostics import Diagnostic, TapeError
from ducttape.workflow.graph import PackedTask, Variable
from ducttape.workflow.packed import Choose, Grafts, Packed, Several, Text
from ducttape.workflow.shapes import visible
from ducttape.workflow.values import input_path
from ducttape.workflow.workflow import Workflow


def make_plan(workflow: Workflow, plan_names: Sequence[str] = (), warn: Warn | None = None) -> Plan:
    """The union of the named plans, else of those of `ducttape_default_plan`, else of all plans, or of the one-off
    realizations of everything when there is no plan.

    `warn` receives warnings about plan lines that ask for what does not exist. Raises TapeError, among others for a
    plan that includes no task.
    """
    return _united(workflow, choose_plans(workflow, plan_names), warn)


def plan_all(workflow: Workflow, warn: Warn | None = None) -> Plan:
    """The union of all plans, whichever is the default one; otherwise as `make_plan`."""
    choose_plans(workflow, ())
    return _united(workflow, workflow.plans, warn)


def _united(workflow: Workflow, plans: Sequence[tree.Plan], warn: Warn | None) -> Plan:
    warn = warn or (lambda diagnostic: None)
    plan = plan_goals(workflow, planned(workflow, plans, warn) if plans else one_off(workflow))
    if not plan.tasks:
        raise TapeError(
            Diagnostic(f"the plan of {workflow.tape} includes zero tasks", hint="the workflow has no tasks")
        )
    return plan


def plan_goals(workflow: Workflow, goals: Iterable[Goal]) -> Plan:
    """The plan that makes `goals`: them and everything that they need."""
    planner = _Planner(workflow)
    for task, choice in goals:
        planner.need(task, choice)
    tasks = planner.realize()
    names = dict.fromkeys(p.name for t in planner.visited for p in t.task.packages)
    return with_defaults(Plan(tasks, package_definitions(workflow, names)), workflow)


class _Node:
    """The realizations of one task: `keys` of those in the plan by branch numbers, and how to name and find them."""

    __slots__ = ("packed", "namer", "keys", "realizations", "canonical")

    def __init__(self, packed: PackedTask, namer: Namer):
        self.packed = packed
        self.namer = namer
        self.keys: dict[tuple[int, ...], TaskKey] = {}
        self.realizations: dict[tuple[int, ...], Realization] = {}
        self.canonical: dict[tuple[int, ...], tuple[int, ...]] = {}

    def key(self, choice: tuple[int, ...]) -> TaskKey:
        """The identity of a realization, which joins the plan if it is new."""
        found = self.keys.get(choice)
        if found is None:
            realization = self.namer.realization(choice)
            found = self.keys[choice] = TaskKey(self.packed.task.name, realization.name)
            self.realizations[choice] = realization
        return found

    def restrict(self, branches: dict[int, int]) -> tuple[int, ...]:
        """The choice of this task under the branches of a child, grafts applied."""
        raw = tuple([branches.get(p, -1) for p in self.packed.points])
        if not self.packed.shape.conditions:
            return raw
        found = self.canonical.get(raw)
        if found is None:
            seen = visible(self.packed.shape, branches)
            found = tuple([b if p in seen else -1 for p, b in zip(self.packed.points, raw, strict=True)])
            self.canonical[raw] = found
        return found


class _Planner:
    def __init__(self, workflow: Workflow):
        self._workflow = workflow
        delimiter = workflow.directives.delimiter
        self._flat = workflow.directives.structure == "flat"
        self._nodes = {
            name: _Node(task, Namer(workflow.points, task.points, delimiter))
            for name, task in workflow.graph.tasks.items()
        }
        self.visited: list[PackedTask] = []

    def need(self, task: PackedTask, choice: tuple[int, ...]) -> None:
        self._nodes[task.task.name].key(choice)

    def realize(self) -> dict[TaskKey, RealizedTask]:
        """All needed tasks and, recursively, their parents."""
        groups: list[list[RealizedTask]] = []
        for name in reversed(self._workflow.graph.tasks):
            node = self._nodes[name]
            if node.keys:
                self.visited.append(node.packed)
                groups.append(self._realize(node))
        self.visited.reverse()
        return {task.key: task for group in reversed(groups) for task in group}

    def _realize(self, node: _Node) -> list[RealizedTask]:
        packed, task = node.packed, node.packed.task
        if self._flat and packed.points:
            point = self._workflow.points.points[packed.points[0]]
            raise TapeError(
                Diagnostic(
                    f"task '{task.name}' has branch points, which ducttape_structure=flat forbids",
                    task.name_span,
                    hint="remove the directive, or graft the branch points away",
                    other=point.span,
                )
            )
        inputs = _Group([self._maker(packed, v, self._input) for v in packed.inputs])
        params = _Group([self._maker(packed, v, self._param) for v in packed.params])
        valued = {v.name: v for v in packed.outputs}
        outputs = _Group(
            [
                self._maker(packed, valued[o.name], self._output) if o.name in valued else _constant(_default_output(o))
                for o in task.outputs
            ]
        )
        packages = tuple(p.name for p in task.packages)
        body, span = task.body.text, task.span
        # Branch numbers follow declarations. A point that is not visible (-1) sorts as its baseline.
        order = _as_baseline if packed.shape.conditions else None
        return [
            RealizedTask(
                node.keys[choice],
                node.realizations[choice],
                inputs(choice),
                outputs(choice),
                params(choice),
                packages,
                body,
                span,
            )
            for choice in sorted(node.keys, key=order)
        ]

    def _maker(self, packed: PackedTask, variable: Variable, make):
        """A function from the task's choice to the variable's realized form, remembering by the points that matter."""
        if not variable.points:
            return _constant(make(variable, {}))
        points = variable.points
        at = [packed.points.index(p) for p in points]
        pick = itemgetter(*at)
        single = len(at) == 1
        known: dict = {}

        def realized(choice):
            key = pick(choice)
            found = known.get(key)
            if found is None:
                branches = {points[0]: key} if single else dict(zip(points, key, strict=True))
                found = known[key] = make(variable, branches)
            return found

        return realized

    def _input(self, variable: Variable, branches: dict[int, int]) -> Input:
        sources: list[FromTask | FromFile] = []
        for leaf, seen in _chosen(variable.value, branches):
            if isinstance(leaf, Text):
                sources.append(FromFile(input_path(leaf.value, leaf.span), leaf.span))
            else:
                parent = self._nodes[leaf.task]
                sources.append(FromTask(parent.key(parent.restrict(seen)), leaf.output))
        return Input(variable.name, tuple(sources), variable.item.span)

    def _param(self, variable: Variable, branches: dict[int, int]) -> Param:
        found = [leaf for leaf, _ in _chosen(variable.value, branches)]
        return Param(variable.name, " ".join(leaf.value for leaf in found), found[0].span, variable.item.dot)

    def _output(self, variable: Variable, branches: dict[int, int]) -> Output:
        text = " ".join(leaf.value for leaf, _ in _chosen(variable.value, branches))
        if not text:
            raise TapeError(Diagnostic(f"output '{variable.name}' has an empty name", variable.item.span))
        return Output(variable.name, text, variable.item.span)


def _as_baseline(choice: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([b if b > 0 else 0 for b in choice])


class _Group:
    """The variables of one clause kind; those that never vary cost nothing per realization."""

    __slots__ = ("_makers", "_fixed")

    def __init__(self, makers: list):
        self._makers = makers
        fixed = all(isinstance(m, _Constant) for m in makers)
        self._fixed = tuple(m.value for m in makers) if fixed else None

    def __call__(self, choice) -> tuple:
        if self._fixed is not None:
            return self._fixed
        return tuple([make(choice) for make in self._makers])


class _Constant:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def __call__(self, choice):
        return self.value


def _constant(value) -> _Constant:
    return _Constant(value)


def _default_output(item) -> Output:
    return Output(item.name, item.name, item.span)


def _chosen(value: Packed, branches: dict[int, int]):
    """The leaves that a value stands for under `branches`, each with the branches that hold there."""
    while isinstance(value, Choose):
        value = value.options[branches[value.point.id]]
    if isinstance(value, Several):
        for item in value.items:
            yield from _chosen(item, branches)
        return
    if not isinstance(value, Grafts):
        yield value, branches
        return
    for combination in value.combinations:
        inside = dict(branches)
        for fixed, branch in zip(value.fixed, combination, strict=True):
            inside[fixed.point.id] = branch
        yield from _chosen(value.inner, inside)
