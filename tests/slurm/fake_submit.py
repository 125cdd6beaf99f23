"""sbatch of the stand-in for Slurm: its options, the script, and what it refuses, in the words of Slurm 22.05."""

from __future__ import annotations

import re
import signal as signals
import time
from dataclasses import dataclass

from fake_jobs import ENDED, Jobs, Spec

Answer = tuple[int, str, str]
VERSION = (0, "slurm-wlm 22.05.8\n", "")
_SHORT = {
    "J": "job-name",
    "a": "array",
    "d": "dependency",
    "t": "time",
    "c": "cpus-per-task",
    "N": "nodes",
    "n": "ntasks",
    "p": "partition",
    "A": "account",
    "q": "qos",
    "o": "output",
    "e": "error",
    "D": "chdir",
    "C": "constraint",
    "x": "exclude",
    "w": "nodelist",
    "G": "gpus",
    "H": "hold",
    "i": "input",
    "Q": "quiet",
    "V": "version",
}
_FLAGS = {"parsable", "hold", "requeue", "no-requeue", "exclusive", "quiet", "version", "wait", "overcommit"}
_VALUES = {
    "job-name",
    "array",
    "dependency",
    "time",
    "cpus-per-task",
    "nodes",
    "ntasks",
    "partition",
    "account",
    "qos",
    "output",
    "error",
    "chdir",
    "constraint",
    "exclude",
    "nodelist",
    "gpus",
    "input",
    "export",
    "mem",
    "mem-per-cpu",
    "gres",
    "signal",
    "comment",
    "kill-on-invalid-dep",
    "open-mode",
    "wrap",
    "mail-type",
    "mail-user",
    "ntasks-per-node",
    "licenses",
    "nice",
    "begin",
    "reservation",
    "time-min",
    "mem-per-gpu",
    "gpus-per-node",
    "gpus-per-task",
    "priority",
    "get-user-env",
    "tmp",
    "container",
    "wckey",
    "cluster",
    "clusters",
    "extra-node-info",
    "distribution",
    "cpus-per-gpu",
}


@dataclass
class Caller:
    """Where a command was called: its folder, its environment, its standard input (None: not read yet)."""

    directory: str
    environment: dict[str, str]
    stdin: str | None = None


class NeedsInput(Exception):
    """sbatch reads the script from its standard input."""


class Refused(Exception):
    def __init__(self, status: int, *lines: str):
        self.answer = (status, "", "".join(f"sbatch: error: {line}\n" for line in lines))


def sbatch(argv: list[str], caller: Caller, jobs: Jobs) -> Answer:
    try:
        options, rest = options_of(argv, _SHORT, _FLAGS, _VALUES)
    except KeyError as error:
        return 255, "", f"sbatch: unrecognized option '{error.args[0]}'\nTry \"sbatch --help\" for more information\n"
    if "version" in options:
        return VERSION
    try:
        spec = _spec(options, rest, caller, jobs)
    except Refused as refused:
        return refused.answer
    jobs.submit(spec)
    return 0, (f"{spec.id}\n" if "parsable" in spec.options else f"Submitted batch job {spec.id}\n"), ""


def _spec(options: dict[str, str], rest: list[str], caller: Caller, jobs: Jobs) -> Spec:
    given = options
    if "wrap" in given:
        script, name = f"#!/bin/sh\n# This script was created by sbatch --wrap.\n\n{given['wrap']}\n", "wrap"
    elif rest:
        try:
            with open(_join(caller.directory, rest[0])) as file:
                script = file.read()
        except OSError:
            raise Refused(1, f"Unable to open file {rest[0]}") from None
        name = rest[0].rpartition("/")[2]
    elif caller.stdin is None:
        raise NeedsInput
    else:
        script, name = caller.stdin, "sbatch"
    if not script.startswith("#!"):
        raise Refused(
            1,
            "This does not look like a batch script.  The first",
            "line must start with #! followed by the path to an interpreter.",
            "For instance: #!/bin/sh",
        )
    inside: list[str] = []
    for line in script.splitlines():
        if line.startswith("#SBATCH "):
            inside += line[8:].split(" #")[0].split()
        elif line.strip() and not line.startswith("#"):
            break
    given = options_of(inside, _SHORT, _FLAGS, _VALUES)[0] | given
    if given.get("partition", "main") != "main":
        partition = given["partition"]
        raise Refused(
            1,
            f"invalid partition specified: {partition}",
            "Batch job submission failed: Invalid partition name specified",
        )
    failed = "Batch job submission failed: Requested node configuration is not available"
    memory, gpus, nodes = _memory(given.get("mem", "4000")), _gpus(given), int(given.get("nodes", "1").split("-")[0])
    cpus = int(given.get("cpus-per-task", "1")) * (int(given.get("ntasks", nodes)) // nodes)
    settings = jobs.settings
    if memory > settings["memory"]:
        raise Refused(1, "Memory specification can not be satisfied", failed)
    if gpus > settings["gpus"] or nodes > settings["nodes"] or cpus > settings["cpus"]:
        raise Refused(1, failed)
    tasks = throttle = None
    if "array" in given:
        text, _, limit = given["array"].partition("%")
        throttle = int(limit) if limit else None
        try:
            tasks = expand(text)
        except ValueError:
            raise Refused(1, "Batch job submission failed: Invalid job array specification") from None
        if max(tasks) >= settings["max_array"]:
            raise Refused(1, "Batch job submission failed: Invalid job array specification")
    waiting = sum(j.state not in ENDED for j in jobs.jobs)
    if waiting + len(tasks or [0]) > settings["max_jobs"]:
        raise Refused(
            1,
            "Slurm temporarily unable to accept job, sleeping and retrying",
            "Batch job submission failed: Resource temporarily unavailable",
        )
    return Spec(
        id=0,
        script=script,
        arguments=rest[1:],
        options=given,
        environment=caller.environment,
        directory=_join(caller.directory, given.get("chdir", "")).rstrip("/"),
        name=given.get("job-name", name),
        submitted=time.time(),
        tasks=tasks,
        throttle=throttle,
        limit=_time(given.get("time")),
        signal=_signal(given.get("signal")),
        requeue="no-requeue" not in given,
        depends=_depends(given.get("dependency", "")),
        cpus=cpus,
        nodes=nodes,
        gpus=gpus,
        memory=memory,
        append=given.get("open-mode") == "append",
    )


def options_of(
    argv: list[str], short: dict[str, str], flags: set[str], values: set[str]
) -> tuple[dict[str, str], list[str]]:
    """Options and what is left; KeyError with an option that is unknown."""
    found: dict[str, str] = {}
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
        else:
            if word[1] not in short:
                raise KeyError(word)
            name, value = short[word[1]], word[2:]
            equals = value
            if name in flags and value:
                rest.insert(0, f"-{value}")
        if name in flags:
            found[name] = "yes"
        elif name in values:
            found[name] = value if equals else rest.pop(0) if rest else ""
        else:
            raise KeyError(word)
    return found, rest


def expand(text: str) -> list[int]:
    """`0-3,7,10-20:5` as numbers; ValueError for anything else."""
    found: list[int] = []
    for part in text.split(","):
        whole = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if not whole:
            raise ValueError(part)
        found += range(int(whole[1]), int(whole[2] or whole[1]) + 1, int(whole[3] or 1))
    return sorted(set(found))


def _depends(text: str) -> list[tuple[str, int, int | None]]:
    found = []
    for part in filter(None, re.split("[,?]", text)):
        kind, *ids = part.split(":")
        for one in ids:
            number, _, task = one.partition("_")
            if not number.isdigit():
                raise Refused(1, "Batch job submission failed: Job dependency problem")
            found.append((kind, int(number), int(task) if task else None))
    return found


def _signal(text: str | None) -> tuple[int, float, bool] | None:
    if not text:
        return None
    name, _, seconds = text.rpartition(":")[2].partition("@")
    number = int(name) if name.isdigit() else signals.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    return int(number), float(seconds or 60), text.upper().startswith(("B:", "RB:", "BR:"))


def _time(text: str | None) -> float | None:
    if not text or text.upper() in ("UNLIMITED", "INFINITE", "-1", "0"):
        return None
    whole = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not whole:
        raise Refused(255, "Invalid --time specification")
    days, a, b, c = (int(g) if g else 0 for g in whole.groups())
    seconds = days * 86400 + a * 3600 + b * 60 + c if whole[1] or whole[4] else a * 60 + b
    return float(-(-seconds // 60) * 60)


def _memory(text: str) -> int:
    whole = re.fullmatch(r"(\d+)([KMGT]?)B?", text.upper())
    if not whole:
        raise Refused(255, "Invalid --mem specification")
    return max(1, int(int(whole[1]) * {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}[whole[2]]))


def _gpus(options: dict[str, str]) -> int:
    for name in ("gres", "gpus", "gpus-per-node"):
        number = re.search(r"(?:^|:|,)(?:gpu:?)?(?:[a-z]\w*:)?(\d+)", options.get(name, ""))
        if number:
            return int(number[1])
    return 0


def _join(directory: str, path: str) -> str:
    return path if path.startswith("/") else f"{directory}/{path}"
