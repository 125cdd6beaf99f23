"""The graph that `viz` draws: planned tasks and what they read from one another, independent of the format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ducttape.plan.tasks import FromTask, RealizedTask, TaskKey


@dataclass(frozen=True, slots=True)
class Node:
    """A box with one or two lines: the task, and what tells its realizations apart."""

    task: str
    detail: str = ""

    @property
    def name(self) -> str:
        return f"{self.task}/{self.detail}" if self.detail else self.task


@dataclass(frozen=True, slots=True)
class Edge:
    """`source` and `target` are places in `Graph.nodes`."""

    source: int
    target: int
    label: str


@dataclass(frozen=True, slots=True)
class Graph:
    """`nodes` in plan order, so every edge points from an earlier node to a later one; nothing occurs twice."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph_of(tasks: Iterable[RealizedTask], everything: Mapping[TaskKey, RealizedTask], packed: bool) -> Graph:
    """The chosen tasks as nodes called `TASK/FULL_NAME`, or, `packed`, as one node for all realizations of a task.

    Edges are labelled `input=$output@task`; what is read from tasks that are not chosen is left out.
    """
    chosen = list(tasks)
    keys = {task.key for task in chosen}

    def node(key: TaskKey) -> Node:
        return Node(key.task) if packed else Node(key.task, everything[key].realization.full_name)

    places: dict[Node, int] = {}
    for task in chosen:
        places.setdefault(node(task.key), len(places))
    edges = dict.fromkeys(
        Edge(places[node(source.key)], places[node(task.key)], f"{item.name}=${source.output}@{source.key.task}")
        for task in chosen
        for item in task.inputs
        for source in item.sources
        if isinstance(source, FromTask) and source.key in keys
    )
    return Graph(tuple(places), tuple(edges))
