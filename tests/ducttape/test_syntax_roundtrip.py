"""Printing a tree and reading it again gives the tree."""

from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ducttape.syntax.parser import parse
from ducttape.syntax.printer import print_file
from ducttape.syntax.source import Source
from ducttape.syntax.tree import (
    Assignment,
    Bash,
    Branch,
    BranchPoint,
    Call,
    Clause,
    File,
    GlobalVariable,
    Goal,
    Graft,
    Grafted,
    Group,
    Import,
    ListOf,
    Literal,
    Plan,
    PlanBranches,
    Reach,
    SameGlobal,
    SameTaskVariable,
    SequencePoint,
    TaskLike,
    TaskVariable,
    Variables,
)

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True)
BRANCH_NAMES = st.from_regex(r"[A-Za-z0-9_.\-]{1,6}", fullmatch=True).filter(lambda name: ".." not in name)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.text("ab \n\"'\\$(){}#/=@:*+.", max_size=8)
FORMS = st.sampled_from(["bare", "double", "single", "triple"])
LITERALS = st.builds(lambda text, form: Literal(text, None, form), TEXTS, FORMS)
GLOBALS = st.builds(lambda name: GlobalVariable(name, None), NAMES)
TASK_VARIABLES = st.builds(lambda name, task: TaskVariable(name, task, None), NAMES, NAMES)
SAME = st.builds(lambda task: SameTaskVariable(task, None), NAMES)
GRAFTS = st.lists(
    st.builds(lambda point, branch: Graft(point, branch, None), NAMES, st.none() | BRANCH_NAMES),
    min_size=1,
    max_size=3,
    unique_by=lambda graft: graft.point,
)
GRAFTED = st.builds(
    lambda variable, grafts: Grafted(variable, tuple(grafts), None), GLOBALS | TASK_VARIABLES | SAME, GRAFTS
)


@st.composite
def sequence_points(draw):
    exponent = draw(st.integers(-3, 3))
    first, step, count = draw(st.integers(-9, 9)), draw(st.integers(-9, 9).filter(bool)), draw(st.integers(0, 5))
    first, last, step = (Decimal(number).scaleb(exponent) for number in (first, first + count * step, step))
    return SequencePoint(draw(NAMES), first, last, step, None, None)


def branch_points(values):
    branches = st.lists(
        st.builds(lambda name, value: Branch(name, value, None), BRANCH_NAMES, values),
        min_size=1,
        max_size=4,
        unique_by=lambda branch: branch.name,
    )
    return st.builds(lambda name, branches: BranchPoint(name, tuple(branches), None, None), NAMES, branches)


def lists_of(values):
    return st.builds(lambda items: ListOf(tuple(items), None), st.lists(values, min_size=1, max_size=4))


SIMPLE = LITERALS | GLOBALS | TASK_VARIABLES | SAME | GRAFTED | sequence_points() | st.just(SameGlobal(None))
POINTS = st.recursive(SIMPLE, branch_points, max_leaves=6)
VALUES = st.recursive(SIMPLE | lists_of(POINTS), branch_points, max_leaves=6)


def assignments(values, dots=False):
    dot = st.booleans() if dots else st.just(False)
    return st.builds(lambda name, value, dot: Assignment(name, value, None, None, dot), NAMES, values, dot)


def clause(kind, values, dots=False):
    items = st.lists(assignments(values, dots), min_size=1, max_size=3)
    return st.builds(lambda items: Clause(kind, tuple(items), None), items)


NONE = st.none()
CLAUSES = (
    clause("input", VALUES) | clause("output", VALUES | NONE) | clause("param", VALUES, True) | clause("package", NONE)
)
FORMAL = clause("input", NONE) | clause("output", NONE) | clause("param", NONE) | clause("package", NONE)
HEADERS = st.lists(CLAUSES, max_size=3).map(tuple)
FORMAL_HEADERS = st.lists(FORMAL, max_size=3).map(tuple)
LINES = [
    "echo $x",
    "f() {\n  :\n}",
    "cat <<X\n}\nX",
    "case a in b) ;; esac",
    "echo '}' \"{\"",
    "# it's }",
    "((i << 1))",
    "",
]
BODIES = st.lists(st.sampled_from(LINES), max_size=4).map(
    lambda lines: Bash("\n" + "".join(f"{line}\n" for line in lines), None)
)


def task_like(kinds, headers=HEADERS):
    return st.builds(
        lambda kind, name, header, body: TaskLike(kind, name, header, body, None, None),
        st.sampled_from(kinds),
        NAMES,
        headers,
        BODIES,
    )


TASKS = task_like(["task", "package", "of", "baseline", "branch"]) | task_like(["func", "action"], FORMAL_HEADERS)
CALLS = st.builds(lambda name, function, header: Call(name, function, header, None, None, None), NAMES, NAMES, HEADERS)


def groups(kind, members, headers):
    return st.builds(
        lambda name, header, members: Group(kind, name, header, tuple(members), None, None),
        NAMES,
        headers,
        st.lists(members, max_size=3),
    )


ACTIONS = task_like(["action"], FORMAL_HEADERS)
GROUPS = (
    groups("submitter", ACTIONS, FORMAL_HEADERS)
    | groups("versioner", ACTIONS, FORMAL_HEADERS)
    | groups("summary", task_like(["of"]), HEADERS)
    | groups("group", task_like(["task"]) | CALLS | groups("branchpoint", task_like(["branch"]), HEADERS), HEADERS)
)
VARIABLES = st.builds(
    lambda kind, name, items: Variables(kind, name, tuple(items), None),
    st.sampled_from(["global", "config"]),
    NONE | NAMES,
    st.lists(assignments(VALUES), max_size=3),
)
CROSS = st.lists(
    st.builds(
        lambda point, branches: PlanBranches(point, branches and tuple(branches), None),
        NAMES,
        NONE | st.lists(BRANCH_NAMES | st.just("1E+2"), min_size=1, max_size=3, unique=True),
    ),
    max_size=3,
    unique_by=lambda branches: branches.point,
)
GOALS = st.lists(NAMES.map(lambda name: Goal(name, None)), min_size=1, max_size=3)
REACHES = st.builds(lambda goals, cross: Reach(tuple(goals), tuple(cross), None), GOALS, CROSS)
PLANS = st.builds(lambda name, reaches: Plan(name, tuple(reaches), None), NONE | NAMES, st.lists(REACHES, max_size=3))
IMPORTS = LITERALS.filter(lambda path: path.value).map(lambda path: Import(path, None))
FILES = st.lists(TASKS | CALLS | GROUPS | VARIABLES | PLANS | IMPORTS, max_size=4)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(FILES.map(lambda blocks: File(tuple(blocks), None)))
def test_print_then_parse_gives_the_same_tree(tree):
    assert parse(Source("printed", print_file(tree))) == tree
