"""The help page of each mode: `ducttape help MODE` or `ducttape TAPE MODE --help`."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

from ducttape.cli.arguments import MODES, OPTIONS, WIDTH


class Page(NamedTuple):
    """What follows the mode on the command line, what it does, the options that matter to it, and examples."""

    words: str
    text: str
    options: tuple[str, ...]
    examples: tuple[str, ...]


_TASKS = "[TASK [REALIZATION ...]]"
_SOME = "TASK [REALIZATION ...]"
_LOAD = ("-C", "-D")
_PLAN = ("-C", "-D", "-p", "-O")
_ASK = (*_PLAN, "-y")

PAGES = {
    "exec": Page(
        _TASKS,
        "Shows what would run and why, asks, and runs every planned task that is not complete, parents first. With "
        "TASK only that task and what it needs. The same command carries on after a failure or an interruption.",
        (
            *_PLAN,
            *("-j", "-y", "--dry-run", "--stale", "--keep-going", "--fail-fast", "--retries", "--detach"),
            *("--no-live", "--json", "--log-json"),
        ),
        ("ducttape main.tape -j 2", "ducttape main.tape -p asr --dry-run", "ducttape main.tape -y exec 'table_*'"),
    ),
    "check": Page(
        "",
        "Reads the tape with its imports and configs, checks it, plans all plans, and prints every error and warning: "
        "undeclared and unused variables of bodies, globals, packages and functions that nothing uses, tasks that no "
        "plan reaches, branches that do not exist, inputs that are not there. Exits with 1 on errors, not on warnings.",
        (*_LOAD, "--json"),
        ("ducttape main.tape check", "ducttape main.tape -C configs/smoke.tconf check --json"),
    ),
    "fmt": Page(
        "[FILE ...]",
        "Prints the tape in the usual layout, with all comments and with bodies untouched. --write rewrites the tape "
        "and the other FILEs in place, --check only says which would change and exits with 1 if any would. Imports "
        "are not followed. `ducttape - fmt` reads the standard input.",
        ("--write", "--check"),
        ("ducttape main.tape fmt", "ducttape main.tape fmt --write tasks/*.tape", "ducttape main.tape fmt --check"),
    ),
    "list": Page(
        _TASKS,
        "Prints the planned tasks, parents first. --json adds full names and directories.",
        (*_PLAN, "--json"),
        ("ducttape main.tape list", "ducttape main.tape list score 'Model.*'"),
    ),
    "status": Page(
        _TASKS,
        "Prints where every planned task stands: complete with its time, stale and why, running where and since when, "
        "queued on a cluster, failed with its exit code and last words, blocked behind a failed one, waiting for one "
        "before it, incomplete or absent.",
        (*_PLAN, "--json"),
        ("ducttape main.tape status", "ducttape main.tape status 'train_*' --json"),
    ),
    "explain": Page(
        _TASKS,
        "Prints for every plan its tasks with their realizations, what needs them, and what is left out and why.",
        (*_PLAN, "--json"),
        ("ducttape main.tape explain -p asr",),
    ),
    "env": Page(
        _SOME,
        "Prints the variables that the body of a task sees, as name=value lines.",
        (*_PLAN, "--json"),
        ("ducttape main.tape env train_it IT.no_blocks",),
    ),
    "commands": Page(
        _SOME,
        "Prints what a task does as a script: its variables as exports, the shell's settings and the body.",
        _PLAN,
        ("ducttape main.tape commands score Baseline.baseline | bash",),
    ),
    "viz": Page(
        _TASKS,
        "Prints the graph of the planned tasks: as dot for graphviz, as a Mermaid flowchart for Markdown pages, or "
        "drawn as SVG. With TASK only the part that matches.",
        (*_PLAN, "--format", "-T"),
        ("ducttape main.tape viz --format svg > graph.svg", "ducttape main.tape viz -T packed --format mermaid"),
    ),
    "why": Page(
        "PATH",
        "Prints how a file or a task directory was made: commands, values, versions and inputs with their digests, "
        "back to the sources. Results that were replaced since are followed into the attic.",
        ("--json",),
        ("ducttape main.tape why out/mini/collect/Baseline.baseline/scores.csv",),
    ),
    "diff": Page(
        "TASK REALIZATION [REALIZATION] | RUN RUN [TASK [REALIZATION ...]]",
        "Prints what differs between two results of a task (with one REALIZATION: the present one and the one before "
        "it, in the attic), or between two past runs, by their numbers: params, commands, packages with their files, "
        "inputs back to the first cause, outputs, and the values in those that are JSON or one number.",
        (*_PLAN, "--json"),
        (
            "ducttape main.tape diff train Size.big Size.small",
            "ducttape main.tape diff score Baseline.baseline",
            "ducttape main.tape diff 3 5 'score*'",
        ),
    ),
    "verify": Page(
        _TASKS,
        "Reads all outputs again, whatever their size and time say, and compares them with the records; without TASK "
        "the copies of packages too. Names what is missing or was changed and exits with 1. Damaged results are made "
        "again by the next run.",
        (*_PLAN, "--json"),
        ("ducttape main.tape verify", "ducttape main.tape verify 'train*'"),
    ),
    "report": Page(
        _TASKS,
        "Prints what every complete task cost: time, processor time, memory, bytes of its outputs; then the sums by "
        "task, and the time that failed attempts took.",
        (*_PLAN, "--json"),
        ("ducttape main.tape report",),
    ),
    "summary": Page(
        "[NAME]",
        "Runs the summaries of the tape, or the one called NAME, over all complete tasks and prints a table with one "
        "row for each realization.",
        (*_PLAN, "--json"),
        ("ducttape main.tape summary", "ducttape main.tape summary scores > scores.tsv"),
    ),
    "versions": Page(
        "",
        "Prints past runs with what they found and made, and the built packages.",
        (*_PLAN, "--json"),
        ("ducttape main.tape versions",),
    ),
    "export": Page(
        _TASKS,
        "Writes a Workflow Run RO-Crate (profile Provenance Run Crate 0.5): the tape, every run with its commands, "
        "values, times and host, inputs, outputs, logs and records. With TASK only those and what they were made from. "
        "Every copy is compared with its record. Outputs above --max-size are described, not copied; stale results are "
        "left out, unless --stale=keep is given.",
        (*_PLAN, "--crate", "--max-size", "--author", "--license", "--stale"),
        (
            "ducttape main.tape export --crate study.zip --license https://spdx.org/licenses/CC-BY-4.0",
            "ducttape main.tape export --crate table --author 'Ada Lovelace https://orcid.org/0000-0000-0000-0000' "
            "'table_*'",
        ),
    ),
    "update": Page(
        "[PACKAGE ...]",
        "Asks the versioners of all packages, or of those named, for the newest versions and builds what is new.",
        _ASK,
        ("ducttape main.tape update -y",),
    ),
    "invalidate": Page(
        _SOME,
        "Marks results, and all planned results that follow from them, to be made again by the next run. Asks first.",
        _ASK,
        ("ducttape main.tape invalidate train_cpt '*'",),
    ),
    "purge": Page(
        _SOME,
        "Deletes results, and all planned results that follow from them. Asks first.",
        _ASK,
        ("ducttape main.tape purge decode 'Model.spire_base'",),
    ),
    "gc": Page(
        "[KIND ...]",
        "Prints what nothing needs any more, with its size and the processor time that making it again would take. "
        "KIND is attic (results that were replaced), attempts (at tasks that are complete), packages (versions that "
        "no result refers to) or results (that no plan of the tape reaches, and no other tape or config that is still "
        "there); without KIND all four. With --delete it deletes them, after a question.",
        ("-C", "-D", "-O", "--delete", "-y", "--json"),
        ("ducttape main.tape gc", "ducttape main.tape gc attic attempts --delete"),
    ),
    "mark_done": Page(
        _SOME,
        "Takes tasks whose outputs were put there by hand for complete. All outputs must exist.",
        _PLAN,
        ("ducttape main.tape mark_done train_base Baseline.baseline",),
    ),
    "cancel": Page(
        _TASKS,
        "Ends the jobs that were sent to a cluster for this output folder, waiting ones and running ones, whether a "
        "program watches them or not. Without TASK also those of tasks that the tape no longer has. Results that are "
        "complete stay. Asks first.",
        _ASK,
        ("ducttape main.tape cancel", "ducttape main.tape cancel 'train*' 'Size.big+*'"),
    ),
    "unlock": Page(
        _TASKS,
        "Deletes the locks of tasks that are not complete. Locks of processes that are gone are taken over anyway; "
        "this is for those of other machines. Asks first.",
        _ASK,
        ("ducttape main.tape unlock",),
    ),
}


def page(mode: str) -> str:
    """The text of one page."""
    shown = PAGES[mode]
    lines = [f"usage: ducttape TAPE [options] {mode} {shown.words}".rstrip(), "", f"{mode}: {MODES[mode]}", ""]
    lines += [*textwrap.wrap(shown.text, WIDTH), "", "options:"]
    for option in OPTIONS:
        if set(option.names) & set(shown.options):
            value = f"{{{','.join(option.choices)}}}" if option.choices else option.value
            left = ", ".join(f"{name} {value}".rstrip() for name in option.names)
            text = option.text.removeprefix(f"{mode}: ")
            lines += [f"  {left:<28}{text}"] if len(left) < 28 else [f"  {left}", f"{'':30}{text}"]
    lines += ["", "examples:", *(f"  {example}" for example in shown.examples)]
    if "TASK" in shown.words:
        lines += ["", "TASK and REALIZATION may be globs (`train*`, `Size.big+*`)."]
    return "\n".join([*lines, "", "ducttape --help has all modes and options.", ""])
