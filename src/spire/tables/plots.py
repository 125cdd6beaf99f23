"""Curves of continued pretraining: loss, and word error rate of the probes. The same bytes from the same logs."""

from __future__ import annotations

import io
import math
from pathlib import Path

from spire.errors import UserError
from spire.textfiles import read_jsonl, write_bytes

_STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.figsize": (6.4, 4.0),
    "font.size": 11,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": 150,
    # Ids inside an SVG are random without a fixed salt.
    "svg.hashsalt": "spire",
}


def read_series(path: Path, prefixes: tuple[str, ...]) -> dict[str, list[tuple[int, float]]]:
    """{field: [(step, value), ...]} for the fields of a JSONL log that start with one of `prefixes` and hold a number.

    A nested object {"wer": {"seen": 31.0}} counts as field "wer seen". `UserError` for a line without a step, a value
    that is not finite, or a log without any such field.
    """
    series: dict[str, list[tuple[int, float]]] = {}
    for number, record in enumerate(read_jsonl(path), start=1):
        step = record.get("step")
        if not isinstance(step, int) or isinstance(step, bool):
            raise UserError(f"{path}:{number}: step is {step!r}, expected a count of optimizer steps")
        for name, value in _flat(record):
            if not name.startswith(prefixes) or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if not math.isfinite(value):
                raise UserError(f"{path}:{number}: {name} is {value}", "training diverged: lower its learning rate")
            series.setdefault(name, []).append((step, float(value)))
    if not series:
        raise UserError(f"{path}: no number in a field {' or '.join(prefixes)}")
    return series


def _flat(record: dict) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for name, value in record.items():
        if isinstance(value, dict):
            pairs += [(f"{name} {inner}", number) for inner, number in value.items()]
        else:
            pairs.append((name, value))
    return pairs


def smoothed(values: list[float], window: int) -> list[float]:
    """Means over the last `window` values (fewer at the start)."""
    means, total = [], 0.0
    for i, value in enumerate(values):
        total += value - (values[i - window] if i >= window else 0.0)
        means.append(total / min(i + 1, window))
    return means


def write_plots(train_log: Path, probes: Path, folder: Path) -> None:
    """Write cpt_loss and cpt_wer, each as .png and .svg, into an existing folder."""
    loss, wer = read_series(train_log, ("loss", "blocks ")), read_series(probes, ("wer",))
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots()
        for name, points in loss.items():
            _loss_curve(axes, name, points)
        axes.set(xlabel="optimizer steps", ylabel="training loss (nats per token)", title="Continued pretraining: loss")
        axes.set_ylim(bottom=0)
        axes.legend()
        _save(figure, Path(folder) / "cpt_loss")

        figure, axes = plt.subplots()
        for name, points in wer.items():
            label = name.removeprefix("wer").replace("_", " ").strip() or "dev voices"
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=label)
        axes.axhline(100, color="gray", linestyle=":", linewidth=1.2, label="100 %: as bad as silence")
        axes.set(xlabel="optimizer steps", ylabel="word error rate (%)", title="Continued pretraining: word error rate")
        axes.set_ylim(bottom=0)
        axes.legend()
        _save(figure, Path(folder) / "cpt_wer")


def _loss_curve(axes, name: str, points: list[tuple[int, float]]) -> None:
    """One smoothed curve; the total is drawn strong, with its log lines behind it, the blocks of the corpus thin."""
    steps, values = [step for step, _ in points], [value for _, value in points]
    window = max(1, len(values) // 50)
    if name == "loss":
        axes.plot(steps, values, color="black", alpha=0.2, linewidth=0.8)
        axes.plot(steps, smoothed(values, window), color="black", linewidth=2.2, label="all, as optimized", zorder=3)
    else:
        label = name.removeprefix("blocks ").replace(".", ", ").replace("_", " ")
        axes.plot(steps, smoothed(values, window), linewidth=1.2, label=label)


def _save(figure, stem: Path) -> None:
    import matplotlib.pyplot as plt

    figure.tight_layout()
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=ending, metadata=metadata)
        write_bytes(stem.with_suffix(f".{ending}"), buffer.getvalue())
    plt.close(figure)
