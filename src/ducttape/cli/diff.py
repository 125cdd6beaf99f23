"""`diff`: what differs between two results, or between two runs, back to the first cause.

    diff TASK REALIZATION REALIZATION     two realizations of a task
    diff TASK REALIZATION                 a result and the one before it, which is in the attic
    diff RUN RUN [TASK [REALIZATION ...]] what two runs (their numbers, see `versions`) had: files and results

Params, commands, packages with their files, inputs, outputs, and the values in JSON outputs. `--json` too. Changes
nothing; equal results are no error.
"""

from __future__ import annotations

import difflib
import json

from ducttape.cli.session import Session
from ducttape.cli.terminal import say
from ducttape.plan.select import glob_matches, select_tasks
from ducttape.plan.tasks import TaskKey
from ducttape.run.packages import changed_files
from ducttape.run.progress import duration
from ducttape.store import values
from ducttape.store.compare import Comparer, Comparison, InputChange, OutputChange
from ducttape.store.history import Made, at_run, files_of, planned, results
from ducttape.store.sizes import size_text
from ducttape.store.versions import Version, list_versions
from ducttape.syntax.diagnostics import Diagnostic, TapeError, did_you_mean

_MOST_VALUES = 12
_MOST_FILES = 5
_MOST_LINES = 40


def run(options) -> int:
    session = Session(options)
    words = options.globs
    comparer = Comparer(
        session.layout,
        lambda name, old, new: changed_files(session.layout, name, old, new),
        session.cache.path,
    )
    if len(words) >= 2 and words[0].isdigit() and words[1].isdigit():
        return _runs(session, comparer, words)
    if len(words) not in (2, 3):
        raise TapeError(Diagnostic("diff needs two results or two runs", hint=f"ducttape {options.tape} help diff"))
    pair = _pair(session, words)
    comparison = comparer.compare(*pair)
    if options.json:
        print(json.dumps(_as_json(comparison, {}), indent=1, ensure_ascii=False))
        return 0
    _print_pair(comparison)
    return 0


# --- two results ------------------------------------------------------------------------------------------------


def _pair(session: Session, words: list[str]) -> tuple[Made, Made]:
    keys = [_key(session, words[0], realization) for realization in words[1:]]
    if len(keys) == 2:
        return _result(session, keys[0]), _result(session, keys[1])
    found = results(session.layout, keys[0])
    new = next((made for made in found if made.present), None) or _result(session, keys[0])
    old = next((made for made in found if made.directory != new.directory), None)
    if old is None:
        raise TapeError(
            Diagnostic(f"there is no earlier result of {keys[0]}", hint="name two realizations, or two runs")
        )
    return old, new


def _key(session: Session, task: str, realization: str) -> TaskKey:
    """The one planned task of that name; a name that is not planned any more is taken as it is written."""
    key = TaskKey(task, realization)
    if key in session.plan.tasks or results(session.layout, key):
        return key
    found = select_tasks(session.plan, task, [realization])
    if len(found) > 1:
        names = ", ".join(str(t.key) for t in found[:3])
        problem = f"'{task} {realization}' means {len(found)} results: {names}{', ...' if len(found) > 3 else ''}"
        raise TapeError(Diagnostic(problem, hint="diff takes two single realizations"))
    return found[0].key


def _result(session: Session, key: TaskKey) -> Made:
    found = results(session.layout, key)
    if not found:
        hint = f"ducttape {session.options.tape} exec {key.task} {key.realization}"
        raise TapeError(Diagnostic(f"{key} has no result to compare", hint=hint))
    chosen = session.layout.directory(key)
    return next((made for made in found if made.directory == chosen), found[0])


def _print_pair(comparison: Comparison) -> None:
    print(f"{comparison.old} -> {comparison.new}")
    seen: set[int] = set()
    for line in _lines(comparison, seen, with_outputs=True):
        print(f"  {line}")
    costs = [made.record.cpu_seconds for made in (comparison.old, comparison.new)]
    if None not in costs:
        print(f"  cost {duration(costs[0])} -> {duration(costs[1])} of CPU time")
    if comparison.is_empty:
        say("no differences")


def _lines(comparison: Comparison, seen: set[int], with_outputs: bool) -> list[str]:
    if id(comparison) in seen:
        return ["(shown above)"]
    seen.add(id(comparison))
    lines = list(comparison.own)
    for change in comparison.inputs:
        lines += _input_lines(change, seen)
    if with_outputs:
        for output in comparison.outputs:
            lines += _output_lines(output)
        if comparison.equal_outputs:
            count = comparison.equal_outputs
            lines.append(f"{count} output{'s are' if count > 1 else ' is'} equal")
    elif len(lines) == 0:
        lines.append("by itself, from equal inputs: the step does not give the same bytes twice")
    return lines


def _input_lines(change: InputChange, seen: set[int]) -> list[str]:
    if change.old != change.new:
        lines = [f"input {change.name}: {change.old} -> {change.new}"]
    else:
        lines = [f"input {change.name} has another content: {change.old}"]
    if change.gone:
        lines.append("  the record of what made it is gone")
    elif change.cause is not None:
        lines += [f"  {line}" for line in _lines(change.cause, seen, with_outputs=False)]
    return lines


def _output_lines(output: OutputChange) -> list[str]:
    sizes = [output.old_size, output.new_size]
    text = f"output {output.name} differs"
    if None not in sizes:
        text += f" ({' -> '.join(dict.fromkeys(map(size_text, sizes)))})"
    lines = [text]
    if not output.values and output.files:
        more = len(output.files) - _MOST_FILES
        lines.append("  files " + ", ".join(output.files[:_MOST_FILES]) + (f" and {more} more" if more > 0 else ""))
    for name, (old, new) in list(output.values.items())[:_MOST_VALUES]:
        lines.append(f"  {values.in_words(name, old, new)}")
    if len(output.values) > _MOST_VALUES:
        lines.append(f"  and {len(output.values) - _MOST_VALUES} more values (--json has all)")
    return lines


def _as_json(comparison: Comparison, seen: dict[int, str]) -> dict:
    name = f"{comparison.old} -> {comparison.new}"
    data = {"old": _made_json(comparison.old), "new": _made_json(comparison.new)}
    if id(comparison) in seen:
        return data | {"shown_above": True}
    seen[id(comparison)] = name
    inputs = []
    for change in comparison.inputs:
        row = {"input": change.name, "old": change.old, "new": change.new, "record_gone": change.gone}
        if change.cause is not None:
            row["cause"] = _as_json(change.cause, seen)
        inputs.append(row)
    outputs = [
        {
            "output": o.name,
            "old_bytes": o.old_size,
            "new_bytes": o.new_size,
            "values": {n: {"old": old, "new": new} for n, (old, new) in o.values.items()},
            "files": o.files,
        }
        for o in comparison.outputs
    ]
    return data | {"step": comparison.own, "inputs": inputs, "outputs": outputs}


def _made_json(made: Made) -> dict:
    return {
        "task": made.key.task,
        "realization": made.key.realization,
        "run": made.version,
        "directory": str(made.directory),
        "cpu_seconds": made.record.cpu_seconds,
    }


# --- two runs ---------------------------------------------------------------------------------------------------


def _runs(session: Session, comparer: Comparer, words: list[str]) -> int:
    known = {version.number: version for version in list_versions(session.layout)}
    numbers = [int(word) for word in words[:2]]
    for number in numbers:
        if number not in known:
            hint = did_you_mean(str(number), map(str, known)) or f"ducttape {session.options.tape} versions"
            raise TapeError(Diagnostic(f"there is no run {number} under {session.layout.base}", hint=hint))
    old, new = (known[number] for number in numbers)
    plans = planned(old), planned(new)
    keys = [key for key in dict.fromkeys([*plans[1], *plans[0]]) if _wanted(key, words[2:])]
    found, equal, unknown = [], 0, []
    for key in keys:
        if key not in plans[0] or key not in plans[1]:
            continue
        made = [at_run(session.layout, key, version.number) for version in (old, new)]
        if None in made:
            unknown.append(key)
        elif made[0].directory == made[1].directory or (comparison := comparer.compare(*made)).is_empty:
            equal += 1
        else:
            found.append(comparison)
    only = [[key for key in keys if key in plans[i] and key not in plans[1 - i]] for i in (0, 1)]
    if session.options.json:
        data = {
            "files": _file_changes(old, new),
            "only_old": [str(key) for key in only[0]],
            "only_new": [str(key) for key in only[1]],
            "changed": [_as_json(comparison, {}) for comparison in found],
            "unknown": [str(key) for key in unknown],
            "equal": equal,
        }
        print(json.dumps(data, indent=1, ensure_ascii=False))
        return 0
    print(f"run {old.number} -> run {new.number}")
    for name, lines in _file_changes(old, new).items():
        print(f"  {name}")
        for line in lines[:_MOST_LINES]:
            print(f"    {line}")
        if len(lines) > _MOST_LINES:
            print(f"    and {len(lines) - _MOST_LINES} more lines")
    for number, some in zip(numbers, only, strict=True):
        for key in some:
            print(f"  {key} is only in the plan of run {number}")
    seen: set[int] = set()
    for comparison in found:
        print(f"  {comparison.new.key}")
        for line in _lines(comparison, seen, with_outputs=False) if id(comparison) not in seen else ["(shown above)"]:
            print(f"    {line}")
        for output in comparison.outputs:
            for line in _output_lines(output):
                print(f"    {line}")
    for key in unknown:
        print(f"  {key}: no result of one of them is left")
    say(f"{len(found)} results differ, {equal} are equal" + (f", {len(unknown)} not known" if unknown else ""))
    return 0


def _wanted(key: TaskKey, globs: list[str]) -> bool:
    if not globs:
        return True
    return glob_matches(globs[0], key.task) and (
        len(globs) == 1 or any(glob_matches(text, key.realization) for text in globs[1:])
    )


def _file_changes(old: Version, new: Version) -> dict[str, list[str]]:
    """For each source file that differs the removed and added lines, with `-` and `+`."""
    before, after = files_of(old), files_of(new)
    found = {}
    for name in dict.fromkeys([*after, *before]):
        if before.get(name) == after.get(name):
            continue
        texts = [files.get(name, "").splitlines() for files in (before, after)]
        lines = difflib.unified_diff(*texts, lineterm="", n=0)
        found[name] = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
    return found
