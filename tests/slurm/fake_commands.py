"""What squeue, sacct, scontrol, scancel and sinfo of the stand-in answer, word for word as Slurm 22.05 does.

Each function takes the arguments, where the caller is, and the jobs, and gives `(exit status, stdout, stderr)`.
"""

from __future__ import annotations

import re
import signal as signals
import time

from fake_jobs import Job, Jobs, node_list, stamp
from fake_submit import VERSION, Answer, Caller, expand, options_of, sbatch

NO_JOB = (1, "", "slurm_load_jobs error: Invalid job id specified\n")


def squeue(argv: list[str], caller: Caller, jobs: Jobs) -> Answer:
    options, _ = options_of(
        argv,
        {
            "h": "noheader",
            "o": "format",
            "t": "states",
            "j": "jobs",
            "n": "name",
            "u": "user",
            "r": "array",
            "V": "version",
            "p": "partition",
            "A": "account",
        },
        {"noheader", "me", "array", "version"},
        {"format", "states", "jobs", "name", "user", "partition", "account"},
    )
    if "version" in options:
        return VERSION
    now = time.time()
    chosen = [j for j in jobs.jobs if jobs.known(j, now)]
    if "jobs" in options:
        wanted = ids(options["jobs"])
        chosen = [j for j in chosen if named(j, wanted)]
        if not chosen and len(wanted) == 1:
            return NO_JOB
    states = options.get("states", "PENDING,RUNNING,COMPLETING").upper()
    if "ALL" not in states.split(","):
        short = {"PD": "PENDING", "R": "RUNNING", "CG": "COMPLETING"}
        kept = {short.get(s, s) for s in states.split(",")}
        chosen = [j for j in chosen if j.state in kept]
    if "name" in options:
        chosen = [j for j in chosen if j.spec.name in options["name"].split(",")]
    form = options.get("format", "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R")
    lines = [] if "noheader" in options else [_fill(form, lambda letter: _HEADS.get(letter, letter))]
    done: set[int] = set()
    for job in chosen:
        label = job.shown
        index = "N/A" if job.task is None else str(job.task)
        if job.task is not None and job.raw is None and "array" not in options:
            if job.spec.id in done:
                continue
            done.add(job.spec.id)
            index = _compress([j.task for j in chosen if j.spec is job.spec and j.raw is None], job.spec.throttle)
            label = f"{job.spec.id}_[{index}]"
        lines.append(
            _fill(form, lambda letter, job=job, label=label, index=index: _field(job, letter, label, index, now))
        )
    return 0, "".join(line + "\n" for line in lines), ""


_HEADS = {
    "i": "JOBID",
    "P": "PARTITION",
    "j": "NAME",
    "u": "USER",
    "t": "ST",
    "M": "TIME",
    "D": "NODES",
    "R": "NODELIST(REASON)",
    "T": "STATE",
    "F": "ARRAY_JOB_ID",
    "K": "ARRAY_TASK_ID",
    "r": "REASON",
    "k": "COMMENT",
    "N": "NODELIST",
    "A": "JOBID",
}
_STATES = {
    "PENDING": "PD",
    "RUNNING": "R",
    "COMPLETING": "CG",
    "COMPLETED": "CD",
    "FAILED": "F",
    "CANCELLED": "CA",
    "TIMEOUT": "TO",
    "NODE_FAIL": "NF",
    "PREEMPTED": "PR",
    "OUT_OF_MEMORY": "OOM",
}


def _field(job: Job, letter: str, label: str, index: str, now: float) -> str:
    spec = job.spec
    nodes = node_list(job.nodes)
    reason = f"({job.reason})" if job.state == "PENDING" else nodes
    ran = int((job.end or now) - job.start) if job.start and job.state != "PENDING" else 0
    values = {
        "i": label,
        "F": str(spec.id),
        "K": index,
        "A": str(job.raw or spec.id),
        "T": job.state,
        "t": _STATES[job.state],
        "r": job.reason,
        "R": reason,
        "j": spec.name,
        "k": spec.options.get("comment", "(null)"),
        "N": nodes,
        "u": "root",
        "P": "main",
        "D": str(spec.nodes),
        "M": f"{ran // 60}:{ran % 60:02}",
        "V": stamp(spec.submitted),
        "B": nodes or "n/a",
        "S": stamp(job.start) if job.start else "N/A",
        "e": stamp(job.end) if job.end else "N/A",
        "C": str(spec.cpus),
        "m": f"{spec.memory}M",
        "a": spec.options.get("account", "(null)"),
        "q": spec.options.get("qos", "normal"),
        "l": "UNLIMITED" if spec.limit is None else f"{int(spec.limit // 60)}:{int(spec.limit % 60):02}",
        "Z": spec.directory,
        "E": spec.options.get("dependency", "(null)"),
    }
    return values.get(letter, "N/A")


def sacct(argv: list[str], caller: Caller, jobs: Jobs) -> Answer:
    options, _ = options_of(
        argv,
        {
            "X": "allocations",
            "n": "noheader",
            "P": "parsable2",
            "p": "parsable",
            "o": "format",
            "j": "jobs",
            "S": "starttime",
            "E": "endtime",
            "s": "state",
            "D": "duplicates",
            "u": "user",
            "V": "version",
        },
        {"allocations", "noheader", "parsable2", "parsable", "duplicates", "version"},
        {"format", "jobs", "starttime", "endtime", "state", "name", "user"},
    )
    if "version" in options:
        return VERSION
    if not jobs.settings["accounting"]:
        return 1, "", "Slurm accounting storage is disabled\n"
    now = time.time()
    chosen = [j for j in jobs.jobs if now >= j.spec.submitted + jobs.settings["invisible"]]
    if "jobs" in options:
        wanted = ids(options["jobs"])
        chosen = [j for j in chosen if named(j, wanted)]
    if "name" in options:
        chosen = [j for j in chosen if j.spec.name in options["name"].split(",")]
    fields = options.get("format", "JobID,JobName,Partition,Account,AllocCPUS,State,ExitCode").split(",")
    lines = [] if "noheader" in options else ["|".join(fields)]
    done: set[int] = set()
    for job in chosen:
        label = job.shown
        if job.task is not None and job.raw is None:
            if job.spec.id in done:
                continue
            done.add(job.spec.id)
            together = _compress([j.task for j in chosen if j.spec is job.spec and j.raw is None], job.spec.throttle)
            label = f"{job.spec.id}_[{together}]"
        rows = [*(job.attempts if "duplicates" in options else []), (job.state, job.exit, job.start, job.end)]
        for state, code, start, end in rows:
            steps = [("", job.spec.name)]
            if "allocations" not in options and job.raw is not None:
                steps.append((".batch", "batch"))
            for suffix, name in steps:
                values = {
                    "jobid": label + suffix,
                    "jobidraw": f"{job.raw or job.spec.id}{suffix}",
                    "jobname": name,
                    "state": "CANCELLED by 0"
                    if state == "CANCELLED"
                    else "RUNNING"
                    if state == "COMPLETING"
                    else state,
                    "exitcode": _code(state, code),
                    "start": stamp(start),
                    "end": stamp(end),
                    "submit": stamp(job.spec.submitted),
                    "nodelist": node_list(job.nodes) or "None assigned",
                    "partition": "main",
                    "alloccpus": str(job.spec.cpus),
                    "comment": job.spec.options.get("comment", "") if jobs.settings["store_comment"] else "",
                    "elapsedraw": str(int((end or now) - start) if start else 0),
                    "restarts": str(job.restarts),
                }
                lines.append("|".join(values.get(f.partition("%")[0].lower(), "") for f in fields))
    return 0, "".join(line + "\n" for line in lines), ""


def _code(state: str, code: tuple[int, int]) -> str:
    """As the accounting shows it: 137 is 9, and what was cancelled or timed out has none."""
    return "0:0" if state in ("CANCELLED", "TIMEOUT") else f"{code[0] % 128}:{code[1]}"


def scontrol(argv: list[str], caller: Caller, jobs: Jobs) -> Answer:
    words = [a for a in argv if not a.startswith("-")]
    single = "-o" in argv or "--oneliner" in argv
    if not words:
        return VERSION if "-V" in argv or "--version" in argv else (1, "", "")
    verb, *rest = words
    if verb == "show" and rest[:1] == ["config"]:
        return 0, _configuration(jobs), ""
    if verb == "show" and rest[:1] == ["hostnames"]:
        stem, _, tail = rest[1].rstrip("]").partition("[")
        return 0, "".join(f"{stem}{n}\n" for n in (expand(tail) if tail else [""])), ""
    if verb == "show" and rest[:1] in (["job"], ["jobs"]):
        return _show(rest[1] if len(rest) > 1 else "", single, jobs)
    if verb in ("requeue", "requeuehold", "hold", "release"):
        answers = [_act(verb, name, jobs) for word in rest for name in re.findall(r"[^,\[]+(?:\[[^]]*\])?", word)]
        errors = "".join(answers)
        return (1 if errors else 0), "", errors
    return 1, "", f"scontrol: error: invalid keyword: {verb}\n"


def _act(verb: str, name: str, jobs: Jobs) -> str:
    found = [j for j in jobs.jobs if named(j, ids(name)) and jobs.known(j, time.time())]
    if not found:
        return f"Invalid job id specified for job {name}\n"
    errors = ""
    for job in found:
        if verb == "release":
            jobs.release(job)
        elif verb == "hold":
            job.held = True
        elif not jobs.requeue(job):
            errors = f"{job.shown}: Job is pending execution\n"
    return errors


def _show(name: str, single: bool, jobs: Jobs) -> Answer:
    now = time.time()
    wanted = ids(name) if name else None
    chosen = [j for j in jobs.jobs if jobs.known(j, now) and (wanted is None or named(j, wanted))]
    if not chosen:
        return NO_JOB if name else (0, "No jobs in the system\n", "")
    lines: list[str] = []
    done: set[int] = set()
    for job in chosen:
        spec, index = job.spec, str(job.task)
        if job.task is not None and job.raw is None:
            if spec.id in done:
                continue
            done.add(spec.id)
            index = _compress([j.task for j in chosen if j.spec is spec and j.raw is None], spec.throttle)
        array = f"ArrayJobId={spec.id} ArrayTaskId={index} " if job.task is not None else ""
        throttle = f"ArrayTaskThrottle={spec.throttle} " if array and spec.throttle else ""
        node = node_list(job.nodes)
        comment = f"Comment={spec.options['comment']} " if "comment" in spec.options else ""
        depends = (
            spec.options.get("dependency", "(null)")
            if job.state == "PENDING" or job.reason.startswith("Dep")
            else "(null)"
        )
        log = spec.options.get("output", f"slurm-{spec.id}.out")
        lines.append(
            f"JobId={job.raw or spec.id} {array}{throttle}JobName={spec.name} UserId=root(0) GroupId=root(0)"
            f" MCS_label=N/A Priority=4294901759 Nice=0 Account={spec.options.get('account', '(null)')} QOS=(null)"
            f" JobState={job.state} Reason={job.reason} Dependency={depends} Requeue={int(spec.requeue)}"
            f" Restarts={job.restarts}"
            f" BatchFlag=1 Reboot=0 ExitCode={job.exit[0]}:{job.exit[1]} RunTime=00:00:00 TimeLimit=UNLIMITED"
            f" SubmitTime={stamp(spec.submitted)} EligibleTime={stamp(job.eligible)} StartTime={stamp(job.start)}"
            f" EndTime={stamp(job.end)} Deadline=N/A Partition=main AllocNode:Sid=localhost:1 ReqNodeList=(null)"
            f" ExcNodeList=(null) NodeList={node} {f'BatchHost={job.nodes[0]} ' if node else ''}NumNodes={spec.nodes}"
            f" NumCPUs={spec.cpus} NumTasks=1 CPUs/Task=1 TRES=cpu={spec.cpus},mem={spec.memory}M,node=1,billing=1"
            f" MinMemoryNode={spec.memory}M Command=(null) WorkDir={spec.directory} {comment} StdErr={log}"
            f" StdIn=/dev/null StdOut={log} Power= "
        )
    if single:
        return 0, "".join(line + "\n" for line in lines), ""
    return 0, "".join(re.sub(r" +(?=[A-Z][A-Za-z/:]*=)", "\n   ", line) + "\n\n" for line in lines), ""


def _configuration(jobs: Jobs) -> str:
    s = jobs.settings
    values = {
        "AccountingStorageType": f"accounting_storage/{'slurmdbd' if s['accounting'] else 'none'}",
        "JobCompLoc": str(jobs.folder / "jobcomp.txt") if s["jobcomp"] else "(null)",
        "MaxJobCount": s["max_jobs"],
        "JobCompType": f"jobcomp/{'filetxt' if s['jobcomp'] else 'none'}",
        "JobRequeue": 1,
        "KillWait": f"{s['kill_wait']} sec",
        "MaxArraySize": s["max_array"],
        "MinJobAge": f"{s['min_job_age']} sec",
        "SLURM_VERSION": "22.05.8",
    }
    return (
        "Configuration data as of " + stamp(time.time()) + "\n" + "".join(f"{k:<24}= {v}\n" for k, v in values.items())
    )


def scancel(argv: list[str], caller: Caller, jobs: Jobs) -> Answer:
    options, rest = options_of(
        argv,
        {
            "n": "name",
            "u": "user",
            "t": "state",
            "s": "signal",
            "b": "batch",
            "Q": "quiet",
            "f": "full",
            "V": "version",
        },
        {"me", "batch", "quiet", "full", "version"},
        {"name", "user", "state", "signal", "jobname"},
    )
    if "version" in options:
        return VERSION
    if not rest and not options:
        return 1, "", "scancel: error: No job identification provided\n"
    names = options.get("name") or options.get("jobname")
    wanted = [w for word in rest for w in ids(word)]
    for job in jobs.jobs:
        if (rest and not named(job, wanted)) or (names and job.spec.name not in names.split(",")):
            continue
        if "state" in options and job.state not in options["state"].upper().split(","):
            continue
        if "signal" in options:
            name = options["signal"].upper()
            jobs.signal(job, int(name) if name.isdigit() else signals.Signals[f"SIG{name.removeprefix('SIG')}"])
        else:
            jobs.cancel(job)
    return 0, "", ""


def sinfo(argv: list[str], caller: Caller, jobs: Jobs) -> Answer:
    options, _ = options_of(
        argv,
        {"h": "noheader", "o": "format", "N": "Node", "V": "version", "p": "partition", "t": "states", "l": "long"},
        {"noheader", "Node", "version", "long"},
        {"format", "partition", "states"},
    )
    if "version" in options:
        return VERSION
    form = options.get("format", "%9P %5a %10l %6D %6t %N")
    heads = {
        "P": "PARTITION",
        "a": "AVAIL",
        "l": "TIMELIMIT",
        "D": "NODES",
        "t": "STATE",
        "T": "STATE",
        "N": "NODELIST",
    }
    lines = [] if "noheader" in options else [_fill(form, lambda letter: heads.get(letter, letter))]
    for name, state in jobs.nodes.items():
        busy = any(name in j.nodes for j in jobs.jobs if j.live)
        word = "down" if state == "down" else "mixed" if busy else "idle"
        values = {
            "P": "main*",
            "a": "up",
            "l": "infinite",
            "D": "1",
            "N": name,
            "T": word,
            "t": word[:4].replace("mixe", "mix"),
            "c": jobs.settings["cpus"],
            "m": jobs.settings["memory"],
            "G": f"gpu:{jobs.settings['gpus']}",
            "R": "main",
        }
        lines.append(_fill(form, lambda letter, values=values: str(values.get(letter, "N/A"))))
    return 0, "".join(line.rstrip() + "\n" for line in lines), ""


COMMANDS = {
    "sbatch": sbatch,
    "squeue": squeue,
    "sacct": sacct,
    "scontrol": scontrol,
    "scancel": scancel,
    "sinfo": sinfo,
}


def _fill(form: str, value) -> str:
    def one(match: re.Match) -> str:
        text, right, width = value(match[3]), match[1], match[2]
        if not width:
            return text
        text = text[: int(width)]
        return text.rjust(int(width)) if right else text.ljust(int(width))

    return re.sub(r"%(\.?)(\d*)([A-Za-z])", one, form)


def _compress(numbers: list[int], throttle: int | None) -> str:
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    text = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
    return text + (f"%{throttle}" if throttle else "")


def ids(text: str) -> list[tuple[int, set[int] | None]]:
    """`5`, `5_3`, `5_[1-3,7]`, and lists of them."""
    found = []
    for number, _, some, one in re.findall(r"(\d+)(_(?:\[([\d,:-]+)(?:%\d+)?\]|(\d+)))?", text):
        found.append((int(number), set(expand(some)) if some else {int(one)} if one else None))
    return found


def named(job: Job, wanted: list[tuple[int, set[int] | None]]) -> bool:
    return any(
        (job.spec.id == number and (some is None or job.task in some)) or (job.raw == number and some is None)
        for number, some in wanted
    )
