"""Graphs as text for other programs: dot for graphviz, Mermaid for Markdown pages."""

from __future__ import annotations

import json

from ducttape.cli.graph import Graph

# Characters that mean something inside a quoted label of Mermaid, as its own character codes.
_MERMAID = str.maketrans({c: f"#{ord(c)};" for c in '"#<>&`\\\n\r\t|'})


def dot(graph: Graph) -> str:
    """`digraph` text; boxes from left to right."""
    lines = ["digraph workflow {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f"  {_quote(node.name)};" for node in graph.nodes]
    for edge in graph.edges:
        source, target = graph.nodes[edge.source].name, graph.nodes[edge.target].name
        lines.append(f"  {_quote(source)} -> {_quote(target)} [label={_quote(edge.label)}];")
    return "\n".join([*lines, "}", ""])


def mermaid(graph: Graph) -> str:
    """A `flowchart`; put it into a ```mermaid fence."""
    lines = ["flowchart LR"]
    for number, node in enumerate(graph.nodes):
        label = "<br/>".join(part.translate(_MERMAID) for part in (node.task, node.detail) if part)
        lines.append(f'  n{number}["{label}"]')
    lines += [f'  n{edge.source} -->|"{edge.label.translate(_MERMAID)}"| n{edge.target}' for edge in graph.edges]
    return "\n".join([*lines, ""])


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
