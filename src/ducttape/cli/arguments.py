"""Modes and options: one table from which the parser, the help pages and the shell completions are made."""

from __future__ import annotations

import argparse
from typing import NamedTuple

USAGE = "ducttape TAPE [options] [MODE [TASK [REALIZATION ...]]]"
WIDTH = 110

MODES = {
    "exec": "run what is not complete (the default)",
    "check": "every error and warning, nothing is run",
    "fmt": "the tape in the usual layout",
    "list": "the planned tasks, one `TASK REALIZATION` a line",
    "status": "what is complete, stale, running, failed or blocked, and why",
    "explain": "which realizations each plan reaches",
    "env": "the variables of a task: env TASK REALIZATION",
    "commands": "the variables and the body, to run by hand",
    "viz": "the graph as dot, Mermaid or SVG",
    "why": "how a file was made, back to its sources: why PATH",
    "diff": "what differs between two results or two runs, and its first cause",
    "verify": "read all results again and compare them with their records",
    "report": "time, processor time and memory of every task",
    "summary": "the tape's summaries as a table",
    "versions": "past runs and built packages",
    "export": "results with how they were made: export --crate DIR or FILE.zip",
    "update": "build the newest package versions",
    "invalidate": "make tasks and all that follows from them run again",
    "purge": "delete the results of tasks and of all that follows",
    "gc": "what nothing needs any more; --delete deletes it",
    "mark_done": "accept hand-made outputs",
    "cancel": "end the jobs of tasks on a cluster",
    "unlock": "delete the locks of tasks that are not complete",
}
SHELLS = ("bash", "zsh", "fish")


class Option(NamedTuple):
    """One option. `value` names its argument ("" for a switch), `group` "" keeps it out of the general help.

    `choices` are all arguments that it takes; `fills` says what completes the argument: file, folder, plan or nothing.
    """

    group: str
    names: tuple[str, ...]
    text: str
    value: str = ""
    choices: tuple[str, ...] = ()
    default: object = None
    repeat: bool = False
    kind: type = str
    fills: str = ""


_WHAT, _HOW, _TALK = "what to run", "how to run", "how to talk"
OPTIONS = (
    Option(_WHAT, ("-C", "--config-file"), "config; repeatable", "FILE", repeat=True, fills="file"),
    Option(_WHAT, ("-D", "--define"), "set a global; repeatable", "NAME=VALUE", repeat=True),
    Option(_WHAT, ("-p", "--plans"), "only this plan; repeatable", "NAME", repeat=True, fills="plan"),
    Option(_WHAT, ("-O", "--output"), "where results go (else ducttape_output, else here)", "DIR", fills="folder"),
    Option(_HOW, ("-j", "--jobs"), "tasks at a time (default 1)", "N", default=1, kind=int),
    Option(_HOW, ("-y", "--yes"), "ask nothing"),
    Option(_HOW, ("--dry-run",), "show what would run, and why; run nothing"),
    Option(
        _HOW, ("--stale",), "results of other code or data (rerun)", choices=("rerun", "keep", "fail"), default="rerun"
    ),
    Option(_HOW, ("--keep-going",), "after a failure go on with all that does not need it (the default)"),
    Option(_HOW, ("--fail-fast",), "start nothing more after a failure"),
    Option(_HOW, ("--retries",), "new tries of a task that fails (its .retries, else 0)", "N", default=0, kind=int),
    Option(_HOW, ("--detach",), "send everything to the cluster and leave"),
    Option(_TALK, ("-n", "--no-color"), "no colours"),
    Option(_TALK, ("--no-live",), "plain lines and tasks' output instead of the live view"),
    Option(_TALK, ("--json",), "JSON from what prints data: list, status, explain, env, ... and --dry-run"),
    Option(_TALK, ("--log-json",), "append the events of the run, a JSON object a line", "FILE", fills="file"),
    Option(_TALK, ("--completion",), "print what completes this command in a shell", choices=SHELLS),
    Option(_TALK, ("--version",), "the engine's version"),
    Option(_TALK, ("-h", "--help"), "this text; after a mode, or as `ducttape help MODE`, the page of the mode"),
    Option("", ("--write",), "fmt: rewrite the files instead of printing them"),
    Option("", ("--check",), "fmt: only say which files would change; exit with 1 if there are any"),
    Option("", ("--delete",), "gc: delete what is listed, after a question"),
    Option("", ("--crate",), "export: where to, a new folder or zip file", "PATH", fills="folder"),
    Option("", ("--max-size",), "export: leave out larger files (100M)", "SIZE", default="100M"),
    Option("", ("--author",), "export: who ran it, an ORCID address last (the login name)", "NAME"),
    Option("", ("--license",), "export: of the crate, a text or an address", "TEXT"),
    Option("", ("--format",), "viz: what to print (dot)", choices=("dot", "mermaid", "svg")),
    Option("", ("-T", "--viz-type"), "viz: `packed` has one node for each task", "X", default="unpacked"),
    Option("", ("-t", "--traversal"), "exec: arbitrary (the tape's), breadth-first or depth-first", "X"),
    # For the completions: names of this workflow.
    Option("", ("--names",), "print names", choices=("plans", "tasks")),
)


def make_parser() -> argparse.ArgumentParser:
    modes = "\n".join(f"  {name:<12}{text}" for name, text in MODES.items())
    parser = argparse.ArgumentParser(
        prog="ducttape",
        usage=USAGE,
        description="Run the workflow of a tape: every task once, again only when something it depends on changed.",
        epilog=f"modes:\n{modes}\n\nTASK and REALIZATION may be globs (`train*`, `Size.big+*`); the default is all.",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=WIDTH),
        add_help=False,
        allow_abbrev=False,
    )
    groups: dict[str, argparse._ArgumentGroup | argparse.ArgumentParser] = {"": parser}
    for option in OPTIONS:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        shown = option.text if option.group else argparse.SUPPRESS
        add = groups[option.group].add_argument
        if option.choices:
            add(*option.names, choices=option.choices, default=option.default, help=shown)
        elif option.repeat:
            add(*option.names, metavar=option.value, action="append", default=[], help=shown)
        elif option.value:
            add(*option.names, metavar=option.value, type=option.kind, default=option.default, help=shown)
        else:
            add(*option.names, action="store_true", help=shown)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser


def dashed(word: str) -> str:
    """Long options of the original program have underscores; dashes mean the same."""
    name, separator, value = word.partition("=")
    return name.replace("_", "-") + separator + value if name.startswith("--") else word
