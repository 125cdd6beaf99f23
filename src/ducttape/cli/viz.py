"""`viz`: the graph on stdout for graphviz: `ducttape main.tape viz | dot -Tsvg > graph.svg`.

Nodes are `TASK/FULL_NAME`, edges are labelled `input=$output@task`. `-T packed` has one node per task.
"""

from __future__ import annotations

import json

from ducttape.cli.session import Session
from ducttape.plan.tasks import FromTask


def run(options) -> int:
    session = Session(options)
    chosen = {t.key: t for t in session.selected()}
    packed = options.viz_type.startswith("p")

    def node(key) -> str:
        return key.task if packed else f"{key.task}/{session.plan.tasks[key].realization.full_name}"

    lines = dict.fromkeys(f"  {_quote(node(key))};" for key in chosen)
    for key, task in chosen.items():
        for item in task.inputs:
            for source in item.sources:
                if isinstance(source, FromTask) and source.key in chosen:
                    label = f"{item.name}=${source.output}@{source.key.task}"
                    lines[f"  {_quote(node(source.key))} -> {_quote(node(key))} [label={_quote(label)}];"] = None
    print("digraph workflow {\n  rankdir=LR;\n  node [shape=box];")
    print("\n".join(lines))
    print("}")
    return 0


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
