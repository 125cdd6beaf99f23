"""The page of a SpiRit-LM study: tables, audio of resynthesis and continuations, losses, graph and records in one file.

The same inputs give the same bytes. The page runs no script, connects to nothing, and every text from data is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from spire.errors import UserError
from spire.report import provenance as shown
from spire.report.graph import graph_svg
from spire.report.plots import Figure
from spire.report.provenance import Provenance
from spire.report.records import Chain
from spire.report.svg import Chart, Series, swatch
from spire.report.tables import ShownTable, read_tables
from spire.tables.plots import read_series, smoothed
from spire.textfiles import read_text
from spiritlm.report.clips import Budget, Line, continued, resynthesized

_POINTS = 160
_HEADINGS = {
    "t-t": "Text continued in text",
    "t-s": "Text continued in speech",
    "s-t": "Speech continued in text",
    "s-s": "Speech continued in speech",
}


@dataclass(frozen=True)
class ReportInputs:
    """What a report is made of; everything but the tables may be missing.

    Attributes:
        tables: folders of tables, in the order of the page.
        sources: title to a folder of audio of the same utterances, original first.
        continuations: title of a model to its folder; `speech` is the folder whose utterances were continued.
        logs: title to the log of a training.
        page, shared: folders of the template, and of the style and the record's template (the page of SPIRE's report).
        root: the project; outside files are named relative to it, and commits looked for in it.
        lines: utterances a section at most; audio_bytes: how much audio the page may hold.
    """

    tables: Sequence[Path]
    sources: Mapping[str, Path] = field(default_factory=dict)
    continuations: Mapping[str, Path] = field(default_factory=dict)
    speech: Path | None = None
    logs: Mapping[str, Path] = field(default_factory=dict)
    page: Path = Path(__file__).parent / "page"
    shared: Path = Path(__file__).parents[2] / "spire" / "report" / "page"
    root: Path | None = None
    title: str = "SpiRit-LM study"
    lines: int = 6
    audio_bytes: int = 3_000_000


@dataclass(frozen=True)
class _Page:
    title: str
    tables: Sequence[ShownTable]
    resynthesis: Sequence[Line]
    continuations: Mapping[str, Sequence[Line]]
    figures: Sequence[Figure]
    provenance: Provenance
    graph: Markup | None
    problems: Sequence[str]


def build_report(inputs: ReportInputs) -> str:
    """The page as text. `UserError` for inputs that do not belong together."""
    if inputs.continuations and inputs.speech is None:
        raise UserError("continuations without the speech that was continued", "give --speech FOLDER")
    chain = Chain(inputs.root)
    for path in (*inputs.tables, *inputs.sources.values(), *inputs.continuations.values(), *inputs.logs.values()):
        chain.add(Path(path))
    provenance = Provenance(chain, inputs.root)
    budget = Budget(inputs.audio_bytes)
    continuations = continued(inputs.continuations, inputs.speech, inputs.lines, budget) if inputs.continuations else {}
    page = _Page(
        title=inputs.title,
        tables=read_tables(inputs.tables, [], {}),
        resynthesis=resynthesized(inputs.sources, inputs.lines, budget),
        continuations={_HEADINGS.get(direction, direction): lines for direction, lines in continuations.items()},
        figures=[_losses(i, title, path) for i, (title, path) in enumerate(inputs.logs.items())],
        provenance=provenance,
        graph=graph_svg(chain.tasks, provenance.anchors) if chain.tasks else None,
        problems=budget.problems,
    )
    return _render(page, inputs.page, inputs.shared)


def _losses(index: int, title: str, log: Path) -> Figure:
    """The losses of one training over its steps, as means over the last fiftieth of its lines."""
    series, rows = [], []
    for slot, (name, points) in enumerate(_loss_series(log).items()):
        values = smoothed([value for _, value in points], max(1, len(points) // 50))
        curve = [(float(step), value, "") for (step, _), value in zip(points, values, strict=True)]
        if len(curve) > _POINTS:
            curve = [curve[round(i * (len(curve) - 1) / (_POINTS - 1))] for i in range(_POINTS)]
        series.append(Series(name, curve, thin=True, slot=slot))
        rows.append([name, str(points[0][0]), f"{values[0]:.3f}", str(points[-1][0]), f"{values[-1]:.3f}"])
    chart = Chart(f"Training loss: {title}", "optimizer steps", "loss", series)
    chart.about = "; ".join(f"{row[0]}: from {row[2]} to {row[4]}" for row in rows)
    return Figure(
        name=f"loss{index}",
        title=chart.title,
        caption="Means over the last fiftieth of the log's lines.",
        svg=chart.svg(f"plot-loss{index}"),
        legend=[(swatch(s), s.name) for s in series] if len(series) > 1 else [],
        headings=["loss of", "first step", "loss", "last step", "loss "],
        rows=rows,
    )


def _loss_series(log: Path) -> dict[str, list[tuple[int, float]]]:
    found = {name: points for name, points in read_series(log, ("",)).items() if name.endswith("loss")}
    if not found:
        raise UserError(f"{log}: no loss in any line", "give the log of a training")
    return found


def _render(page: _Page, folder: Path, shared: Path) -> str:
    import jinja2

    style = read_text(Path(shared) / "style.css") + read_text(Path(folder) / "style.css")
    if "</" in style:
        raise UserError(f"{shared}, {folder}: a style holds `</`, which would end its element")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(folder), Path(shared)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": shown.duration, "size": shown.size, "moment": shown.moment}
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    try:
        template = environment.get_template("spiritlm.html.jinja")
        return template.render(page=page, policy=policy, style=Markup(style))
    except jinja2.TemplateError as e:
        where = f"{folder}/spiritlm.html.jinja" + (f":{e.lineno}" if getattr(e, "lineno", None) else "")
        raise UserError(f"{where}: {e}") from None
