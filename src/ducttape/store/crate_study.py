"""What a crate is about, and the part of its graph that says so: the root, its profiles, its license and its author."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ducttape.plan.tasks import FromTask, RealizedTask, TaskKey
from ducttape.store.crate_graph import METADATA, Graph, ref
from ducttape.store.record import Record

_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One task that ran: with a record when it is complete, else with what went wrong and when. A result that is not
    what the tape asks for any more has a record and a problem.
    """

    task: RealizedTask
    directory: Path
    record: Record | None = None
    problem: str = ""
    start: float | None = None
    end: float | None = None

    @property
    def params(self) -> dict[str, str]:
        if self.record is not None:
            return self.record.identity.params
        return {param.name: param.value for param in self.task.params if not param.dot}

    def reads(self) -> Iterator[Read]:
        """What it read, by its record; what it was to read when it failed."""
        if self.record is None:
            for item in self.task.inputs:
                for source in item.sources:
                    if isinstance(source, FromTask):
                        yield Read(item.name, "", None, source.key, source.output)
                    else:
                        yield Read(item.name, "", source.path)
            return
        for name, sources in self.record.sources.items():
            for source, digest in zip(sources, self.record.identity.inputs.get(name, []), strict=False):
                if "file" in source:
                    yield Read(name, digest, Path(source["file"]))
                else:
                    task, _, realization = source["task"].partition("/")
                    yield Read(name, digest, None, TaskKey(task, realization), source["output"])


@dataclass(frozen=True, slots=True)
class Read:
    """One source of an input: an output of a task, or a file from outside; with the digest that was read, if known."""

    name: str
    digest: str
    path: Path | None = None
    key: TaskKey | None = None
    output: str = ""


@dataclass(slots=True)
class Study:
    """What the crate is about. `sources` are the tape (first), its imports and configs: name to text; `defines` are
    globals set by hand; `packages` maps (name, version) to the directory of a built version; `author` may end with an
    address, such as an ORCID.
    """

    name: str
    folder: Path
    sources: Mapping[str, str]
    runs: list[Run]
    author: str
    license: str
    defines: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[tuple[str, str], Path] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        complete = sum(run.record is not None for run in self.runs)
        failed = len(self.runs) - complete
        stale = sum(run.record is not None and bool(run.problem) for run in self.runs)
        text = f"{complete} tasks complete" + (f", {failed} failed" if failed else "")
        return text + (f"; {stale} results are not of the present tape" if stale else "")


def describe_root(study: Study, graph: Graph, finished: str | None) -> dict[str, str]:
    """Add the metadata descriptor, the root, its profiles, license and author; the reference to the author.

    `finished` is when the last task ended, in ISO 8601. Files link themselves to the root's `hasPart`.
    """
    base = [ref("https://w3id.org/ro/crate/1.1"), ref("https://w3id.org/workflowhub/workflow-ro-crate/1.0")]
    graph.add(METADATA, "CreativeWork", about=ref("./"), conformsTo=base)
    name, _, address = study.author.rpartition(" ")
    known = bool(name) and _is_address(address)
    author = ref(address if known else "#author")
    terms = ref(study.license if _is_address(study.license) else "#license")
    graph.add(
        "./",
        "Dataset",
        name=f"Results of {study.name}",
        description=f"{study.summary}. The tape is in workflow/, outputs, logs and records are in results/.",
        datePublished=(finished or "1970-01-01")[:10],
        license=terms,
        author=author,
        conformsTo=[ref(profile) for profile in _PROFILES],
    )
    url = study.license if _is_address(study.license) else None
    graph.add(terms["@id"], "CreativeWork", name=study.license, description=study.license, url=url)
    graph.add(author["@id"], "Person", name=name.strip() if known else study.author)
    for profile, (title, version) in _PROFILES.items():
        graph.add(profile, "CreativeWork", name=title, version=version)
    return author


def read_me(study: Study) -> str:
    """The text of README.md."""
    return (
        f"# Results of {study.name}\n\n{study.summary}.\n\n"
        "This folder is a Workflow Run RO-Crate: `ro-crate-metadata.json` says how each file was made.\n"
    )


def _is_address(text: str) -> bool:
    return text.startswith(("http://", "https://"))
