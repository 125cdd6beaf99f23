"""Which tasks go to Slurm together: as few calls of sbatch as there are kinds of jobs.

Tasks with equal options make one array. A task that waits for others goes with those that wait alike: for the same
jobs, or each for the task with its own index in the same arrays (Slurm's `aftercorr`), so that a thousand chains of
three tasks are three arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ducttape.plan.tasks import TaskKey
from ducttape.run.slurm_options import Options
from ducttape.run.slurm_specs import Request

# Where a task is that was sent or is to be sent: a group (or a submission) and the index in its array.
Place = tuple[object, int]


@dataclass(eq=False, slots=True)
class Group:
    """Tasks for one call of sbatch, by index. `after` are places whose tasks must all be complete; with `alongside`
    each task waits for the task of its own index there. `origin` is the group as it was formed, of a part of one.
    """

    options: Options
    requests: dict[int, Request] = field(default_factory=dict)
    after: tuple[Place, ...] = ()
    alongside: tuple[object, ...] = ()
    tries: int = 0
    origin: Group | None = None

    def __post_init__(self):
        self.origin = self.origin or self

    @property
    def name(self) -> str:
        """The names of its tasks, shortened."""
        names = list(dict.fromkeys(r.key.task for r in self.requests.values()))
        return names[0] if len(names) == 1 else f"{names[0]}+{len(names) - 1}"


def group(requests: Iterable[Request], place: Callable[[TaskKey], Place | None], largest: int) -> list[Group]:
    """The groups in an order in which parents come first. `place` tells where a task is that was sent before;
    `largest` is the greatest index of an array, 0 where there are no arrays.
    """
    groups: list[Group] = []
    placed: dict[TaskKey, Place] = {}
    for layer in _layers(requests):
        for batch in _alike(layer):
            places = [_places(r, placed, place) for r in batch]
            for made in _arrays(batch, places, largest):
                groups.append(made)
                placed |= {r.key: (made, index) for index, r in made.requests.items()}
    return groups


def _layers(requests: Iterable[Request]) -> list[list[Request]]:
    """Requests by how many of the others must come before them. They are in an order with parents first."""
    depth: dict[TaskKey, int] = {}
    layers: list[list[Request]] = []
    for request in requests:
        level = depth[request.key] = 1 + max((depth[w] for w in request.waits if w in depth), default=-1)
        layers.extend([] for _ in range(level + 1 - len(layers)))
        layers[level].append(request)
    return layers


def _alike(requests: list[Request]) -> list[list[Request]]:
    """Those with equal options; of tasks that wait, only realizations of one task, which wait for alike things."""
    found: dict[object, list[Request]] = {}
    for request in requests:
        found.setdefault((request.options, request.key.task if request.waits else ""), []).append(request)
    return list(found.values())


def _places(request: Request, placed: dict, place: Callable[[TaskKey], Place | None]) -> frozenset[Place]:
    """Where the tasks are that a request waits for; one that is nowhere in flight is not waited for."""
    found = (placed.get(key) or place(key) for key in request.waits)
    return frozenset(p for p in found if p is not None)


def _arrays(batch: list[Request], places: list[frozenset[Place]], largest: int) -> list[Group]:
    common = frozenset.intersection(*places)
    made: dict[object, list[Group]] = {}
    for request, waits in zip(batch, places, strict=True):
        own = waits - common
        indices = {index for _, index in own}
        if largest and own and len(indices) == 1 and len({id(where) for where, _ in own}) == len(own):
            # Alongside: the index is the parents'. A second task of that index needs another array.
            index = indices.pop()
            alongside = tuple(sorted({where for where, _ in own}, key=id))
            kind = made.setdefault(("alongside", alongside), [])
            target = next((g for g in kind if index not in g.requests), None)
            if target is None:
                kind.append(target := Group(request.options, after=_sorted(common), alongside=alongside))
            target.requests[index] = request
            continue
        kind = made.setdefault(("after", waits), [])
        if not kind or len(kind[-1].requests) > largest:
            kind.append(Group(request.options, after=_sorted(waits)))
        kind[-1].requests[len(kind[-1].requests)] = request
    groups = [g for kind in made.values() for g in kind]
    for one in groups:
        one.requests = dict(sorted(one.requests.items()))
    return groups


def _sorted(places: frozenset[Place]) -> tuple[Place, ...]:
    return tuple(sorted(places, key=lambda p: (id(p[0]), p[1])))


def dependency(after: Iterable[tuple[str, bool, int, int]], alongside: Iterable[str]) -> list[str]:
    """The option of sbatch: `after` has (job number, is an array, index, tasks in the array), `alongside` the numbers
    of arrays. A dependency that can no longer be met ends the job.
    """
    indices: dict[str, list[int]] = {}
    sizes: dict[str, int] = {}
    for job, array, index, size in after:
        indices.setdefault(job, []).append(index)
        sizes[job] = size if array else 1
    words = []
    for job, found in indices.items():
        whole = len(set(found)) == sizes[job]
        words += [f"afterok:{job}"] if whole else [f"afterok:{job}_{index}" for index in sorted(set(found))]
    words += [f"aftercorr:{job}" for job in alongside]
    return [f"--dependency={','.join(words)}", "--kill-on-invalid-dep=yes"] if words else []
