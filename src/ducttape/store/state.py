"""Is a task done, and if not, exactly why.

    complete     the record's identity is the one asked for, and the outputs are those that it digested
    absent       no directory
    incomplete   a directory without a valid result: interrupted, failed, invalidated, or an output is missing
    stale        a valid result of something else: commands, a param, an input, a package or an output changed
    waiting      nothing of its own changed, but a parent is to be made; equal parent outputs leave it complete

A directory of the original program has no record; when it is complete by that program's rules it is adopted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ducttape.plan.tasks import FromFile, FromTask, Plan, RealizedTask, TaskKey
from ducttape.store.digest import DigestCache
from ducttape.store.layout import EXIT_CODE, INVALIDATED, RECORD, START, STDERR, STDOUT, Layout
from ducttape.store.record import Identity, Record

Digests = Mapping[TaskKey, Mapping[str, str]]


class Status(StrEnum):
    COMPLETE = "complete"
    ABSENT = "absent"
    INCOMPLETE = "incomplete"
    STALE = "stale"
    WAITING = "waiting"


# Why a body that has ended well does not count: only its record is at fault.
NO_RECORD, BAD_RECORD = "interrupted before its record was written", "its record cannot be read"
_NEARNESS = (Status.COMPLETE, Status.WAITING, Status.STALE, Status.INCOMPLETE, Status.ABSENT)


@dataclass(slots=True)
class State:
    """`reasons` is empty for a complete task; `outputs` has the digests of a complete task's outputs, by name;
    `seconds` is how long making the result took, None when not known.
    """

    status: Status
    reasons: list[str] = field(default_factory=list)
    record: Record | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    identity: Identity | None = None
    adopted: bool = False
    seconds: float | None = None

    @property
    def done(self) -> bool:
        return self.status is Status.COMPLETE

    def shorten(self) -> None:
        """Let go of what the record on the disk says, which is most of a state."""
        if self.record is not None:
            self.seconds = self.record.wall_seconds
            self.record = self.identity = None


class Store:
    """The results under one base directory, seen by one plan.

    `package_versions` maps every package that the plan mentions to its version.
    """

    def __init__(
        self,
        layout: Layout,
        plan: Plan,
        package_versions: Mapping[str, str] | None = None,
        cache: DigestCache | None = None,
        package_change: Callable[[str, str, str], str] | None = None,
    ):
        self.layout = layout
        self.plan = plan
        self.package_versions = dict(package_versions or {})
        self.cache = cache or DigestCache(layout.base, layout.digests)
        self._package_change = package_change

    # --- identities ---------------------------------------------------------------------------------------------

    def identity(self, task: RealizedTask, made: Digests) -> tuple[Identity, list[str], list[FromFile]]:
        """The identity asked for, the inputs that wait for a parent not in `made`, and the files that are missing."""
        inputs: dict[str, list[str]] = {}
        waiting: list[str] = []
        missing: list[FromFile] = []
        for item in task.inputs:
            digests: list[str] = []
            for source in item.sources:
                if isinstance(source, FromTask):
                    digest = made.get(source.key, {}).get(source.output)
                    if digest is None:
                        waiting.append(item.name)
                else:
                    digest = self.cache.pattern(source.path)
                    if digest is None:
                        missing.append(source)
                digests.append(digest or "")
            inputs[item.name] = digests
        identity = Identity(
            body=task.body,
            params={p.name: p.value for p in task.params if not p.dot},
            packages={name: self.package_versions.get(name, "") for name in task.packages},
            inputs=inputs,
            outputs={o.name: "absolute" if os.path.isabs(o.path) else o.path for o in task.outputs},
        )
        return identity, list(dict.fromkeys(waiting)), missing

    def origins(self, task: RealizedTask) -> dict[str, str]:
        """Where each input comes from, in words."""
        return {
            i.name: ", ".join(
                f"{s.output} of {s.key}" if isinstance(s, FromTask) else str(s.path) for s in i.sources[:3]
            )
            for i in task.inputs
        }

    def missing_files(self, keys) -> list[tuple[RealizedTask, str, FromFile]]:
        """(task, input, source) for every outside file that the tasks need and that is not there."""
        found = []
        for key in keys:
            task = self.plan.tasks[key]
            for item in task.inputs:
                for source in item.sources:
                    if isinstance(source, FromFile) and self.cache_missing(source):
                        found.append((task, item.name, source))
        return found

    def cache_missing(self, source: FromFile) -> bool:
        return not os.path.exists(source.path) and self.cache.pattern(source.path) is None

    # --- states -------------------------------------------------------------------------------------------------

    def walk(self) -> Iterator[tuple[TaskKey, State]]:
        """The state of every planned task, parents first. One that is complete when the caller comes back for the
        next, if only since then, is so for its children.
        """
        made: dict[TaskKey, dict[str, str]] = {}
        for key in self.plan.tasks:
            state = self.state(key, made)
            yield key, state
            if state.done:
                made[key] = state.outputs
        self.cache.flush()

    def survey(self) -> dict[TaskKey, State]:
        """The states of all planned tasks at once, parents first; a state whose task has a record is shortened."""
        states: dict[TaskKey, State] = {}
        for key, state in self.walk():
            state.shorten()
            states[key] = state
        return states

    def state(self, key: TaskKey, made: Digests) -> State:
        """The state of one task; `made` has the output digests of those parents that are complete.

        Where tasks are versioned the layout then points at the version that comes nearest, the newest of equal ones.
        """
        if not self.layout.versioned:
            return self._state(key, made)
        found = []
        for directory in self.layout.made(key):
            self.layout.choose(key, directory)
            found.append((self._state(key, made), directory))
            if found[-1][0].done:
                return found[-1][0]
        if not found:
            return self._state(key, made)
        state, directory = min(found, key=lambda pair: _NEARNESS.index(pair[0].status))
        self.layout.choose(key, directory)
        return state

    def _state(self, key: TaskKey, made: Digests) -> State:
        task = self.plan.tasks[key]
        directory = self.layout.directory(key)
        record = Record.read(directory)
        if record is None and not directory.is_dir():
            return State(Status.ABSENT, ["not made yet"])
        if os.path.exists(f"{directory}/{INVALIDATED}"):
            return State(Status.INCOMPLETE, ["invalidated by hand"], record)
        if record is None and (problem := self._adoption_problem(task)):
            return State(Status.INCOMPLETE, [problem])
        outputs: dict[str, str] = {}
        for output in task.outputs:
            digest = self.cache.path(directory / output.path)
            if digest is None:
                return State(Status.INCOMPLETE, [f"output {output.name} is missing"], record)
            outputs[output.name] = digest
        identity, waiting, missing = self.identity(task, made)
        if record is None:
            if waiting:
                return State(Status.WAITING, self._wait_reasons(task, made), identity=identity)
            return State(Status.COMPLETE, [], None, outputs, identity, adopted=True)
        unknown = set(waiting) | {i.name for i in task.inputs if any(s in missing for s in i.sources)}
        for name in unknown & identity.inputs.keys() & record.identity.inputs.keys():
            # What cannot be known yet is compared later; what is gone cannot have made the result wrong.
            identity.inputs[name] = record.identity.inputs[name]
        reasons: list[str] = []
        if record.identity != identity:
            reasons += record.identity.differences(identity, self.origins(task), self._package_change)
        reasons += [
            f"output {name} was changed after the task finished"
            for name, digest in record.output_digests.items()
            if name in outputs and outputs[name] != digest
        ]
        if reasons:
            return State(Status.STALE, reasons, record, outputs, identity)
        if waiting:
            return State(Status.WAITING, self._wait_reasons(task, made), record, outputs, identity)
        return State(Status.COMPLETE, [], record, outputs, identity)

    def _wait_reasons(self, task: RealizedTask, made: Digests) -> list[str]:
        return [f"only if {key} comes out different" for key in task.parents if key not in made]

    def _adoption_problem(self, task: RealizedTask) -> str | None:
        """Why a directory without a readable record does not count; None when the original program completed it."""
        directory = self.layout.directory(task.key)
        if (directory / RECORD).exists():
            return BAD_RECORD
        try:
            code = (directory / EXIT_CODE).read_text(encoding="utf-8", errors="replace").split("\n")[0].strip()
        except OSError:
            return "interrupted before it finished"
        if not code:
            # A full disk, or a controller that ended while it wrote.
            return "interrupted before it finished"
        if code != "0":
            return f"failed with exit code {code}"
        for output in task.outputs:
            if not self.layout.output(task, output).exists():
                return f"output {output.name} is missing"
        if (directory / START).exists():
            return NO_RECORD
        if not ((directory / STDOUT).exists() and (directory / STDERR).exists()):
            return "its logs are missing"
        return None

    # --- records ------------------------------------------------------------------------------------------------

    def output_digests(self, task: RealizedTask) -> tuple[dict[str, str], list[str]]:
        """Digests of all outputs of a task that just ended, and the names of those that it did not make."""
        digests, missing = {}, []
        for output in task.outputs:
            digest = self.cache.path(self.layout.output(task, output))
            if digest is None:
                missing.append(output.name)
            else:
                digests[output.name] = digest
        return digests, missing

    def output_sizes(self, task: RealizedTask) -> dict[str, int]:
        """Bytes of every output of a complete task."""
        return {o.name: self.cache.size(self.layout.output(task, o)) for o in task.outputs}

    def make_record(self, task: RealizedTask, identity: Identity, outputs: dict[str, str], **measured) -> Record:
        """The record of a result with this identity; `measured` are further fields of `Record`."""
        sources = {
            item.name: [
                {"task": str(s.key), "output": s.output} if isinstance(s, FromTask) else {"file": str(s.path)}
                for s in item.sources
            ]
            for item in task.inputs
        }
        return Record(
            task=task.key.task,
            realization=task.key.realization,
            full_name=task.realization.full_name,
            identity=identity,
            sources=sources,
            output_digests=outputs,
            resources={p.name: p.value for p in task.params if p.dot},
            seed=next((p.value for p in task.params if p.name == "seed"), None),
            **measured,
        )

    def adopt(self, task: RealizedTask, state: State, note: str = "adopted: made by a run without records") -> Record:
        """Give a directory without a record one that says so."""
        sizes = self.output_sizes(task)
        record = self.make_record(task, state.identity, state.outputs, output_sizes=sizes, notes=[note])
        record.write(self.layout.directory(task.key))
        return record

    def accept(self, task: RealizedTask, state: State) -> None:
        """Let a stale result stand for what is asked now, and note in its record what was overlooked."""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record = state.record
        record.identity = state.identity
        record.output_digests = dict(state.outputs)
        record.output_sizes = self.output_sizes(task)
        record.notes.append(f"kept although stale, {when}: " + "; ".join(state.reasons))
        record.write(self.layout.directory(task.key))
