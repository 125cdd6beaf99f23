"""Sends groups of tasks with sbatch, one call at a time, and knows what to make of its answers.

Guarantees: the intent is on disk before sbatch is called; an answer that leaves open whether Slurm has the job never
leads to a second call before Slurm was asked; what Slurm refuses is told, with what waits for it; when Slurm takes no
more jobs for now, smaller groups are sent later.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ducttape.plan.tasks import TaskKey
from ducttape.run.slurm_commands import Answer, Commands, job_number
from ducttape.run.slurm_groups import Group, Place, dependency, group
from ducttape.run.slurm_journal import Journal, Submission
from ducttape.run.slurm_specs import Request, point_to_parents

_PATIENCE = 120.0
# Seconds between tries while one has as many jobs as one may, and how many tries a job gets with nothing else there.
_FULL_PAUSE = 30.0
_FULL_TRIES = 3


@dataclass(slots=True)
class Listener:
    """What the sender tells: a submission is written down, one is taken back, tasks will never be sent."""

    sent: Callable[[Submission], None]
    recalled: Callable[[Submission], None]
    refused: Callable[[Iterable[TaskKey], str], None]


class Sender:
    """`place` tells where a task is that was sent before."""

    def __init__(
        self,
        commands: Commands,
        journal: Journal,
        place: Callable[[TaskKey], tuple[Submission, int] | None],
        listener: Listener,
    ):
        self._commands, self._journal, self._place, self._listener = commands, journal, place, listener
        self._largest = 0
        self._queue: deque[Group] = deque()
        self._again: list[Request] = []
        self._once_more: deque[Submission] = deque()
        self._keys: dict[TaskKey, Group | None] = {}
        # Where the tasks of a group went, by the group as it was formed; a refused one is nowhere.
        self._went: dict[Place, Submission] = {}
        self._sending: Submission | None = None
        self._not_before = 0.0

    @property
    def waiting(self) -> bool:
        """Whether there is something to send now."""
        return bool(self._queue or self._again or self._once_more) and time.monotonic() >= self._not_before

    @property
    def done(self) -> bool:
        return not (self._queue or self._again or self._once_more or self._sending)

    def has(self, key: TaskKey) -> bool:
        return key in self._keys

    def waiting_keys(self) -> Iterator[TaskKey]:
        return iter(self._keys)

    def is_sending(self, submission: Submission) -> bool:
        return submission is self._sending or submission in self._once_more

    def add(self, requests: list[Request], largest: int) -> None:
        """Take tasks, parents first; `largest` is the greatest index of an array."""
        self._largest = largest
        for one in group(requests, self._place, largest):
            self._enqueue(one)

    def add_again(self, request: Request) -> None:
        """Take a task whose job ended before its time."""
        self._again.append(request)
        self._keys[request.key] = None

    def send_once_more(self, submission: Submission) -> None:
        """Slurm does not seem to have this submission."""
        submission.note_repetition()
        self._once_more.append(submission)

    def forget(self) -> None:
        """Nothing more is sent. What was written down stays in the journal."""
        for waiting in (self._queue, self._again, self._once_more, self._keys):
            waiting.clear()

    def _enqueue(self, one: Group, front: bool = False) -> None:
        (self._queue.appendleft if front else self._queue.append)(one)
        self._keys |= dict.fromkeys((r.key for r in one.requests.values()), one)

    def send(self) -> None:
        """Make the next call of sbatch. One may be made, and something is waiting."""
        if self._again:
            for one in group(self._again, lambda key: None, self._largest):
                self._enqueue(one)
            self._again = []
        if self._once_more:
            submission = self._once_more.popleft()
            self._call(submission, submission.data["arguments"], None)
            return
        for _ in range(len(self._queue)):
            one = self._queue.popleft()
            places = [*one.after, *((where, index) for where in one.alongside for index in one.requests)]
            found = [self._submission(place) for place in places]
            if None in found:
                self._give_up(one, "a task that it needs could not be sent")
            elif any(submission.job is None for submission in found):
                self._queue.append(one)
            else:
                self._send(one)
                return

    def _submission(self, place: Place) -> Submission | None:
        return place[0] if isinstance(place[0], Submission) else self._went.get(place)

    def _send(self, one: Group) -> None:
        requests = one.requests
        for request in requests.values():
            point_to_parents(request.spec, dict(self._results(request)))
        array = self._largest > 0
        arguments = one.options.arguments() + self._dependencies(one)
        if array:
            limit = f"%{one.options.array_limit}" if one.options.array_limit else ""
            arguments.append(f"--array={_ranges(requests)}{limit}")
        specs = {index: request.spec for index, request in requests.items()}
        submission = self._journal.create(one.name, specs, array, arguments)
        for index, request in requests.items():
            self._went[one.origin, index] = submission
            self._keys.pop(request.key, None)
        self._listener.sent(submission)
        before: dict[Submission, list[int]] = {}
        for request in requests.values():
            if request.before is not None:
                before.setdefault(request.before[0], []).append(request.before[1])
        for old, indices in before.items():
            old.collect(indices)
        self._call(submission, arguments, one)

    def _results(self, request: Request) -> Iterator[tuple[TaskKey, Path]]:
        for key in request.waits:
            if (found := self._place(key)) is not None:
                yield key, found[0].folder / "results" / f"{found[1]}.json"

    def _dependencies(self, one: Group) -> list[str]:
        after = [(self._submission(place), place[1]) for place in one.after]
        alongside = []
        for where in one.alongside:
            submissions = {self._submission((where, index)) for index in one.requests}
            if len(submissions) == 1:
                alongside.append(submissions.pop().job)
            else:
                # Those arrays were sent in parts; to wait for all of them is stricter, and right.
                after += [(self._submission((where, index)), index) for index in one.requests]
        return dependency(((s.job, s.array, index, len(s.tasks)) for s, index in after), alongside)

    def _call(self, submission: Submission, arguments: list[str], one: Group | None) -> None:
        log = "logs/%a.txt" if submission.array else "logs/0.txt"
        command = [
            "sbatch", "--parsable", f"--job-name={submission.name}", f"--comment={submission.token}", "--export=ALL",
            f"--chdir={submission.folder}", f"--output={log}", "--open-mode=append", *arguments,
            str(submission.folder / "job.sh"),
        ]  # fmt: skip
        self._sending = submission
        self._commands.start(command, lambda answer: self._hear(submission, one, answer), _PATIENCE)

    def _hear(self, submission: Submission, one: Group | None, answer: Answer) -> None:
        self._sending = None
        number = job_number(answer)
        if number is not None:
            submission.note_job(number)
        elif answer.is_full and one is not None:
            self._send_later(submission, one, answer)
        elif not (answer.ok or answer.is_busy):
            reason = f"Slurm refused it: {answer.complaint}"
            self._journal.forget(submission)
            if one is not None:
                self._went = {place: s for place, s in self._went.items() if s is not submission}
            self._listener.refused(list(submission.tasks.values()), reason)
        # Else Slurm may have it. Whoever watches the queue finds out by its name.

    def _send_later(self, submission: Submission, one: Group, answer: Answer) -> None:
        """One may not have so many jobs: try halves, and wait for some to end."""
        self._listener.recalled(submission)
        self._journal.forget(submission)
        one.tries += 1
        if len(one.requests) == 1 and one.tries > _FULL_TRIES and not self._journal.submissions():
            self._give_up(one, f"Slurm refused it: {answer.complaint}")
            return
        indices = list(one.requests)
        if len(indices) == 1:
            self._enqueue(one, front=True)
            self._not_before = time.monotonic() + _FULL_PAUSE
            return
        middle = len(indices) // 2
        for part in (indices[middle:], indices[:middle]):
            chosen = {index: one.requests[index] for index in part}
            half = Group(one.options, chosen, one.after, one.alongside, one.tries, one.origin)
            self._enqueue(half, front=True)

    def _give_up(self, one: Group, reason: str) -> None:
        keys = [request.key for request in one.requests.values()]
        for key in keys:
            self._keys.pop(key, None)
        self._listener.refused(keys, reason)


def _ranges(indices: Mapping[int, Request]) -> str:
    """`0-4,7` of sorted indices."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
