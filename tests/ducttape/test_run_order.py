"""-t: which of several ready tasks starts first."""

import pytest
from hand_plans import names, plan, run, task
from tapes_by_hand import Place

from ducttape.run.order import ranks
from ducttape.syntax.diagnostics import TapeError

TASKS = (
    task("a", "echo > $out"),
    task("b", "echo > $out"),
    task("x", "echo > $out", inputs={"in": ("a", "out")}),
    task("y", "echo > $out", inputs={"in": ("b", "out")}),
    task("z", "echo > $out", inputs={"in": ("x", "out")}),
)
ORDERS = {
    None: ["a", "b", "x", "y", "z"],
    "a": ["a", "b", "x", "y", "z"],
    "breadth": ["a", "b", "x", "y", "z"],
    "depth-first": ["b", "y", "a", "x", "z"],
}


@pytest.mark.parametrize("traversal", ORDERS)
def test_orders(tmp_path, traversal):
    tasks = plan(*TASKS).tasks
    order = ranks(tasks, traversal)
    assert names(sorted(order, key=order.get)) == ORDERS[traversal]
    assert names(run(tmp_path, *TASKS, order=order).made) == ORDERS[traversal]


def test_parents_come_first_even_where_the_plan_is_deep():
    chain = [task("t0")] + [task(f"t{i}", inputs={"in": (f"t{i - 1}", "out")}) for i in range(1, 3000)]
    for traversal in "abd":
        order = ranks(plan(*chain).tasks, traversal)
        assert names(order) == [f"t{i}" for i in range(3000)]


def test_an_unknown_order_is_an_error(tmp_path):
    with pytest.raises(TapeError, match="unknown traversal 'x'"):
        ranks({}, "x")
    place = Place(tmp_path)
    place.tape("task a > out {\n  echo > $out\n}\n")
    assert "depth-first" in place.run("-y", "-t", "x").stderr and not (tmp_path / "out").exists()
    assert place.run("-y", "-t", "d").returncode == 0
