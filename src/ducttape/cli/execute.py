"""`exec`: make everything in the plan complete.

    ducttape main.tape -C configs/mini.tconf -j 2 -y

Shows the work and why, asks, runs, and ends with a summary. With globs only the matching tasks and what they need are run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from ducttape.cli import workplan
from ducttape.cli.session import Session
from ducttape.cli.terminal import Paint, confirm, say
from ducttape.plan.tasks import TaskKey
from ducttape.run.progress import Lines, Live, duration, tail
from ducttape.store.layout import STDERR, STDOUT
from ducttape.store.state import State, Status
from ducttape.store.versions import new_version
from ducttape.syntax.diagnostics import Diagnostic, TapeError

_LOG_LINES = 8


def run(options) -> int:
    session = Session(options)
    if options.globs:
        session.plan = session.with_ancestors(session.selected())
    store = session.store
    states = store.survey()
    paint = Paint(sys.stderr, not options.no_color)
    stale = [key for key, state in states.items() if state.status is Status.STALE]
    if stale and options.stale == "fail":
        for key in stale:
            say(f"{key}\n    {workplan.why(states[key])}")
        what = f"{len(stale)} results are stale" if len(stale) > 1 else "1 result is stale"
        raise TapeError(Diagnostic(f"{what}, and --stale=fail was given", hint="--stale=rerun or --stale=keep"))
    if stale and options.stale == "keep":
        states = _keep(session, states, options.dry_run, paint)
    todo = [key for key, state in states.items() if not state.done]
    if not todo:
        if not options.dry_run:
            _adopt(session, states)
        if options.json:
            print("[]")
        say(f"nothing to do: {len(states)} task{'s' if len(states) != 1 else ''} complete")
        return 0
    _check_files(session, todo)
    needed = dict.fromkeys(name for key in todo for name in session.plan.tasks[key].packages)
    builds = [session.packages.all[name] for name in needed if not session.packages.all[name].built]
    if options.json and options.dry_run:
        print(json.dumps([{"task": k.task, "realization": k.realization, "status": states[k].status.value,
                           "reasons": states[k].reasons} for k in todo], indent=1))  # fmt: skip
        return 0
    for line in workplan.lines(session, states, builds, paint):
        say(line)
    if options.dry_run:
        say(f"{len(todo)} of {len(states)} tasks would run; nothing was run")
        return 0
    if not confirm(f"Run {len(todo)} task{'s' if len(todo) != 1 else ''}?", options.yes):
        say("doing nothing")
        return 0
    return _execute(session, states, todo, builds, paint)


def _execute(session: Session, states: Mapping[TaskKey, State], todo: list[TaskKey], builds: list, paint: Paint) -> int:
    from ducttape.run.scheduler import Scheduler

    options, tasks = session.options, session.plan.tasks
    _adopt(session, states)
    waiting = set(todo)
    version = new_version(
        session.layout,
        session.sources(),
        session.packages.versions,
        [t for key, t in tasks.items() if key not in waiting],
        [tasks[key] for key in todo],
    )
    for package in builds:
        say(f"{paint('BUILD:', 'BUILD:')} {package.definition.name} {package.version[:12]}")
        session.packages.build(package.definition.name)
    if sys.stderr.isatty() and not options.no_live:
        reporter = Live(len(todo), _expected(states, tasks), paint)
    else:
        reporter = Lines(len(todo), paint)
    scheduler = Scheduler(
        session.store,
        session.packages.directories,
        reporter,
        jobs=options.jobs,
        fail_fast=options.fail_fast,
        stale=options.stale,
        version=version,
        configuration=session.configuration,
    )
    with reporter:
        outcome = scheduler.run(states)
    return _summary(outcome, paint)


def _summary(outcome, paint: Paint) -> int:
    for failure in outcome.failed:
        say(f"\n{paint('failed', 'failed')} {failure.key}: {failure.reason}\n    in {failure.directory}")
        for name in (STDERR, STDOUT):
            if lines := tail(failure.directory / name, _LOG_LINES):
                say(f"    last lines of {name}:")
                for line in lines:
                    say(f"    | {line}")
                break
    if outcome.failed:
        say()
    parts = [f"{len(outcome.made)} made"]
    if outcome.reused:
        parts.append(f"{len(outcome.reused)} already complete")
    if outcome.failed:
        parts.append(f"{len(outcome.failed)} failed")
    if outcome.blocked:
        parts.append(f"{len(outcome.blocked)} not tried")
    say(f"{', '.join(parts)}; {duration(outcome.wall_seconds)}, {duration(outcome.cpu_seconds)} of CPU time")
    if outcome.interrupted is not None:
        say("interrupted")
        say("hint: the same command carries on; what was complete stays complete")
        return 130
    if any("no space left" in failure.reason for failure in outcome.failed):
        say("hint: free some space and type the same command again; what was complete stays complete")
    return 0 if outcome.ok else 1


def _keep(session: Session, states: Mapping[TaskKey, State], dry: bool, paint: Paint) -> Mapping[TaskKey, State]:
    """Accept stale results, parents first; accepting one may show that a task after it is stale too."""
    while stale := [key for key, state in states.items() if state.status is Status.STALE]:
        for key in stale:
            say(f"{paint('KEEP:', 'KEEP:')} {key}\n    {workplan.why(states[key])}")
        if dry:
            for key in stale:
                states[key].status = Status.COMPLETE
            return states
        for key in stale:
            session.store.accept(session.plan.tasks[key], states[key])
        states = session.store.survey()
    return states


def _adopt(session: Session, states: Mapping[TaskKey, State]) -> None:
    adopted = [key for key, state in states.items() if state.adopted and state.done]
    for key in adopted:
        session.store.adopt(session.plan.tasks[key], states[key])
    if adopted:
        say(f"adopted {len(adopted)} results without a record; from now on their changes are noticed")


def _check_files(session: Session, todo: list[TaskKey]) -> None:
    problems: dict[str, Diagnostic] = {}
    for task, name, source in session.store.missing_files(todo):
        text = str(source.path)
        at = source.span.source.directory if source.span else None
        hint = f"relative paths are looked up from {at}" if at else None
        problems.setdefault(text, Diagnostic(f"task {task.key.task}: input {name} does not exist: {text}", source.span, hint))
    if problems:
        raise TapeError(problems.values())


def _expected(states: Mapping[TaskKey, State], tasks) -> dict[TaskKey, float]:
    """Seconds each task may take: what it took before, else what its other realizations took on average."""
    known: dict[str, list[float]] = {}
    for key, state in states.items():
        if state.record and state.record.wall_seconds:
            known.setdefault(key.task, []).append(state.record.wall_seconds)
    expected = {}
    for key in tasks:
        record = states[key].record
        if record and record.wall_seconds:
            expected[key] = record.wall_seconds
        elif key.task in known:
            expected[key] = sum(known[key.task]) / len(known[key.task])
    return expected
