"""Variables of bash bodies: those used without being declared, and those declared without being used.

Both are governed by directives (`ducttape_undeclared_vars`, `ducttape_unused_vars`: ignore, warn or error). A variable
that the body sets itself, that the shell sets, or that is in the caller's environment counts as declared.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ducttape.syntax.diagnostics import Diagnostic, did_you_mean
from ducttape.syntax.source import Span
from ducttape.workflow.directives import Directives
from ducttape.workflow.task import Task

# What bash sets, what a login sets, and what the engine sets.
_GIVEN_TEXT = """
BASH BASHOPTS BASHPID BASH_ARGC BASH_ARGV BASH_COMMAND BASH_LINENO BASH_REMATCH BASH_SOURCE BASH_SUBSHELL
BASH_VERSINFO BASH_VERSION COLUMNS COMMANDS COMP_WORDS CONFIGURATION CUDA_VISIBLE_DEVICES DIRSTACK DUCTTAPE_ATTEMPT
DUCTTAPE_PREVIOUS EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS HISTFILE HOME HOSTNAME HOSTTYPE IFS LANG LC_ALL
LD_LIBRARY_PATH LINENO LINES LOGNAME MACHTYPE MAPFILE OLDPWD OPTARG OPTERR OPTIND OSTYPE PATH PIPESTATUS PPID PS1 PS2
PS3 PS4 PWD PYTHONPATH RANDOM REALIZATION REPLY SECONDS SHELL SHELLOPTS SHLVL SRANDOM TASK TASK_VARIABLES TERM
THREAD_ID TMPDIR UID USER
"""
_GIVEN = frozenset(_GIVEN_TEXT.split())


def is_given(name: str) -> bool:
    """Whether bash, a login, the engine or a Slurm job sets a variable of this name."""
    return name in _GIVEN or name.startswith("SLURM_")


def check_body(task: Task, directives: Directives) -> Iterator[Diagnostic]:
    """The findings of one task, with the severity that the directives ask for."""
    undeclared, unused = directives.undeclared_vars, directives.unused_vars
    body = task.body
    if undeclared != "ignore":
        known = {v.name for v in task.variables} | {p.name for p in task.packages} | set(body.assigned)
        for name in body.names:
            if name not in known and not is_given(name) and name not in os.environ:
                yield Diagnostic(
                    f"task '{task.name}' uses the undeclared variable '{name}'",
                    _place(body.span, name),
                    hint=did_you_mean(name, sorted(known)) if known else f"declare it, for example with :: {name}=@",
                    other=task.name_span,
                    other_label=f"task '{task.name}' is declared here",
                    severity="error" if undeclared == "error" else "warning",
                )
    if unused != "ignore":
        used = set(body.names)
        for item in (*task.inputs, *(p for p in task.params if not p.dot)):
            if item.name not in used:
                yield Diagnostic(
                    f"task '{task.name}' never uses its variable '{item.name}'",
                    item.name_span,
                    severity="error" if unused == "error" else "warning",
                )


def _place(body: Span, name: str) -> Span:
    """Where a body first reads a variable."""
    found = re.search(rf"\$\{{?[!#]?{re.escape(name)}\b", body.text)
    if found is None:
        return body
    start = body.start + found.start()
    return Span(body.source, start, body.start + found.end())
