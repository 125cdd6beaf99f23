"""Where and when the committed results were made, and what they cost."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from spire.errors import UserError

PACKAGES = (
    "torch",
    "sentencepiece",
    "safetensors",
    "numpy",
    "soundfile",
    "soxr",
    "espeakng-loader",
    "sacrebleu",
    "jiwer",
    "whisper-normalizer",
    "matplotlib",
)


# Names of a measure in the engine's report and in short form.
_MEASURES = {
    "cpu_s": ("cpu_s", "cpu_seconds"),
    "wall_s": ("wall_s", "wall_seconds"),
    "peak_bytes": ("peak_bytes", "peak_memory_bytes"),
}


def describe_run(tasks: object, date: str | None = None) -> dict:
    """A JSON object about the run.

    tasks: list of {task, realization, cpu_seconds, wall_seconds, peak_memory_bytes, end, ...} (or short: cpu_s, wall_s,
    peak_bytes), one entry a realized task; a measure that is not known may be null.
    date: ISO; by default the UTC day on which the last task ended (`end`, seconds since 1970), else today.
    Totals are sums over known values: `cpu_s` is the study's, `cpu_unknown` counts tasks it misses.
    The machine described is the one this runs on, so call it where the study ran.
    `UserError` for another form, and for an empty list.
    """
    entries = [_entry(number, task) for number, task in enumerate(_list(tasks), start=1)]
    if not entries:
        raise UserError("the report lists no tasks", "run the study first; then ducttape main.tape report --json")
    return {
        "date": date or _last_day(tasks),
        "machine": machine(),
        "versions": versions(),
        "cpu_s": round(sum(entry["cpu_s"] or 0 for entry in entries), 3),
        "elapsed_s": _elapsed(tasks),
        "wall_s": round(sum(entry["wall_s"] or 0 for entry in entries), 3),
        "cpu_unknown": sum(entry["cpu_s"] is None for entry in entries),
        "peak_bytes": max((entry["peak_bytes"] or 0 for entry in entries), default=0),
        "tasks": entries,
    }


def machine() -> dict[str, str | int | float]:
    """CPU model, cores this process may use, memory in GiB, operating system."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": _cpu_model() or platform.processor() or platform.machine(),
        "cores": len(affinity(0)) if affinity else os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Python and the packages that numbers depend on; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def run_markdown(run: Mapping) -> str:
    """The same facts for a reader: machine and versions, then CPU seconds by task, the costliest first."""
    host = run["machine"]
    lines = [
        "# The run behind these results",
        "",
        f"- Date: {run['date']}",
        f"- Machine: {host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB memory, {host['system']}",
        f"- Versions: {', '.join(f'{name} {number}' for name, number in run['versions'].items())}",
        f"- CPU seconds: {run['cpu_s']:.0f} over {len(run['tasks'])} tasks{_unknown(run)}",
    ]
    if run["elapsed_s"]:
        lines.append(f"- From the first task's start to the last one's end: {run['elapsed_s'] / 60:.1f} minutes")
    lines.append("")
    rows = [("task", "runs", "CPU s", "wall s", "peak MiB")]
    for name, entries in _by_task(run["tasks"]):
        cpu, wall = (sum(entry[key] or 0 for entry in entries) for key in ("cpu_s", "wall_s"))
        peak = max(entry["peak_bytes"] or 0 for entry in entries)
        rows.append((name, str(len(entries)), f"{cpu:.1f}", f"{wall:.1f}", _mib(peak)))
    rows.append(("all", str(len(run["tasks"])), f"{run['cpu_s']:.1f}", f"{run['wall_s']:.1f}", _mib(run["peak_bytes"])))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for i, row in enumerate(rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append(f"| {' | '.join(cells)} |")
        if i == 0:
            lines.append(f"|{'-' * (widths[0] + 2)}|" + "|".join("-" * (width + 1) + ":" for width in widths[1:]) + "|")
    lines += [
        "",
        "Seconds are sums over the runs of a task; tasks run side by side, so wall seconds add up to more than the "
        "study took.",
    ]
    return "\n".join(lines) + "\n"


def _unknown(run: Mapping) -> str:
    count = run["cpu_unknown"]
    return f"; {count} of them not measured and counted as 0" if count else ""


def _by_task(entries: Iterable[Mapping]) -> list[tuple[str, list[Mapping]]]:
    groups: dict[str, list[Mapping]] = {}
    for entry in entries:
        groups.setdefault(entry["task"], []).append(entry)
    return sorted(groups.items(), key=lambda group: (-sum(entry["cpu_s"] or 0 for entry in group[1]), group[0]))


def _elapsed(tasks: list[dict]) -> float | None:
    """Seconds from the start of the first task to the end of the last, None where a time is missing.

    It is the wall time of the study only when the study was run in one go.
    """
    times = [(task.get("start"), task.get("end")) for task in tasks]
    if not times or not all(isinstance(t, int | float) for pair in times for t in pair):
        return None
    return round(max(end for _, end in times) - min(start for start, _ in times), 1)


def _last_day(tasks: list[dict]) -> str:
    ends = [task["end"] for task in tasks if isinstance(task.get("end"), int | float)]
    moment = datetime.datetime.fromtimestamp(max(ends), datetime.UTC) if ends else datetime.datetime.now(datetime.UTC)
    return moment.date().isoformat()


def _list(tasks: object) -> list:
    if not isinstance(tasks, list):
        raise UserError(
            f"the report is a {type(tasks).__name__}, expected a list of tasks", "see ducttape main.tape report --json"
        )
    return tasks


def _entry(number: int, task: object) -> dict:
    if not isinstance(task, dict) or not isinstance(task.get("task"), str):
        raise UserError(f"entry {number} of the report has no task name")
    entry: dict = {"task": task["task"], "realization": str(task.get("realization") or "")}
    for key, names in _MEASURES.items():
        value = next((task[name] for name in names if task.get(name) is not None), None)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0):
            raise UserError(f"entry {number} of the report ({entry['task']}): {key} is {value!r}, not a number")
        entry[key] = value
    return entry


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _mib(count: float) -> str:
    return f"{count / 2**20:.0f}" if count else ""
