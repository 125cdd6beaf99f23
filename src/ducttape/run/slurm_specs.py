"""What a job on a compute node is told of its task: the spec that `job.py` reads, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ducttape.plan.tasks import FromTask, Plan, TaskKey
from ducttape.run.cluster import Launch
from ducttape.run.local import script
from ducttape.run.resources import needs
from ducttape.run.slurm_journal import Submission
from ducttape.run.slurm_options import Options, options
from ducttape.store import layout as names
from ducttape.store.record import FORMAT
from ducttape.store.state import Store

NAMES = {
    "start": names.START,
    "script": names.SCRIPT,
    "stdout": names.STDOUT,
    "stderr": names.STDERR,
    "exit_code": names.EXIT_CODE,
    "version": names.VERSION,
    "record": names.RECORD,
    "invalidated": names.INVALIDATED,
}


@dataclass(slots=True)
class Request:
    """A task to be sent: its spec, its options, the parents whose jobs it waits for, and, when it is sent again, the
    submission and the index that it had before.
    """

    key: TaskKey
    spec: dict
    options: Options
    waits: tuple[TaskKey, ...] = ()
    before: tuple[Submission, int] | None = None

    @classmethod
    def again(cls, submission: Submission, index: int) -> Request:
        """The request that was made of a task of a submission. OSError or ValueError when its spec is gone."""
        spec = submission.spec(index)
        given = spec["options"] | {"flags": tuple(spec["options"]["flags"])}
        point_to_parents(spec, {})
        return cls(TaskKey(*spec["key"]), spec, Options(**given), before=(submission, index))


def request(launch: Launch, layout: names.Layout, retries: int = 0) -> Request:
    """The request for a launch; `retries` is how often the job itself tries a failed body again. TapeError for
    dot-params that mean nothing.
    """
    from ducttape.run.launch import archival_script

    task, asked = launch.task, options(launch.task)
    wanted, final = needs(task), layout.directory(task.key)
    record = Store(layout, Plan({}, {})).make_record(task, launch.identity, {})
    data = asdict(record)
    data["identity"]["commands"] = list(launch.identity.commands)
    outputs = {o.name: o.path for o in task.outputs}
    values = launch.values | {name: str(final / path) for name, path in outputs.items()}
    spec = {
        "key": [task.key.task, task.key.realization],
        "base": str(layout.base),
        "flat": layout.flat,
        "versioned": layout.versioned,
        "final": str(final),
        "link": _link(launch, layout),
        "attempts": str(layout.attempts(task.key)),
        "names": NAMES,
        "version": launch.version,
        "keep_old": launch.keep_old,
        "script": script(task.body),
        "archive": archival_script(task, values),
        "values": launch.values,
        "outputs": outputs,
        "special": launch.special,
        "parents": _parents(launch, layout),
        "files": _files(launch),
        "record": {"format": FORMAT, **data},
        "options": asdict(asked),
        "requeue": asked.requeue,
        "requeued": 0,
        "retries": retries,
        "retry_delay": wanted.retry_delay,
        "resume": wanted.resume,
        "seconds": wanted.seconds,
        "warning": asked.warning,
    }
    return Request(task.key, spec, asked, launch.waits)


def _parents(launch: Launch, layout: names.Layout) -> list[dict]:
    """For every parent its directory, the digests of its outputs as far as they are known (else ""), and where the
    identity has them: [input, place among its sources, output].
    """
    found: dict[TaskKey, dict] = {}
    for item in launch.task.inputs:
        for place, source in enumerate(item.sources):
            if not isinstance(source, FromTask):
                continue
            parent = found.setdefault(
                source.key,
                {
                    "task": str(source.key),
                    "key": [source.key.task, source.key.realization],
                    "directory": str(layout.directory(source.key)),
                    "result": "",
                    "digests": {},
                    "inputs": [],
                },
            )
            parent["digests"][source.output] = launch.identity.inputs[item.name][place]
            parent["inputs"].append([item.name, place, source.output])
    return list(found.values())


def _link(launch: Launch, layout: names.Layout) -> list[str] | None:
    """The link for people, [where, to what], that comes with the result."""
    link = layout.full_name_link(launch.task)
    return [str(link), layout.place(launch.task.key).name] if link else None


def _files(launch: Launch) -> list[list[str]]:
    sources = [(item.name, s) for item in launch.task.inputs for s in item.sources if not isinstance(s, FromTask)]
    return [[name, str(source.path)] for name, source in sources]


def point_to_parents(spec: dict, results: dict[TaskKey, Path]) -> None:
    """Let the job know where the last words of those parents will be whose jobs were sent too."""
    for parent in spec["parents"]:
        result = results.get(TaskKey(*parent["key"]))
        parent["result"] = str(result) if result else ""
