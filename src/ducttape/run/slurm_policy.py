"""What to do about a job that did not make its task complete: send it again, and how, or say why the task failed.

Running out of memory doubles `.mem` up to `.mem_cap`; a time limit, preemption or a failing node starts the task again
as often as `.requeue` allows; everything else is for `.retries` and for people.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ducttape.run.slurm_options import size_text
from ducttape.run.slurm_specs import Request
from ducttape.run.slurm_states import INTERRUPTED, Seen

_WORDS = {
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not boot",
    "PREEMPTED": "it was preempted",
    "REVOKED": "Slurm moved it away",
    "RECONFIG_FAIL": "its node failed",
    "LOST": "neither Slurm nor its directory knows of its job",
    "TIMEOUT": "its time limit was reached",
    "time": "its time limit was reached",
}


@dataclass(slots=True)
class Verdict:
    """`request` when the task is to be sent again (`reason` says why), else it failed for `reason`; `again` when
    trying the same once more may help.
    """

    reason: str
    request: Request | None = None
    again: bool = False


def of_result(result: dict, request: Request, seen: Seen | None) -> Verdict:
    """About a job whose last word, `result`, is not that the task is complete. `seen` is what Slurm says of it."""
    outcome, reason = result["outcome"], result["reason"]
    requeued = max(request.spec["requeued"], result.get("requeued") or 0)
    if outcome == "memory" or (seen is not None and seen.state == "OUT_OF_MEMORY"):
        return _more_memory(request, requeued)
    if outcome == "time":
        return _once_more("time", request, requeued)
    return Verdict(reason, again=outcome in ("failed", "refused"))


def of_state(seen: Seen, request: Request, starts: int, log: str) -> Verdict:
    """About a job that ended without a last word. `starts` is how often it began, `log` the last line of its log."""
    requeued = request.spec["requeued"] + max(0, starts - 1)
    if seen.state == "OUT_OF_MEMORY":
        return _more_memory(request, requeued)
    if seen.state in INTERRUPTED or seen.state == "TIMEOUT":
        return _once_more(seen.state, request, requeued)
    if seen.state == "CANCELLED":
        return Verdict("cancelled" + (": a task that it needs is not complete" if "Depend" in seen.reason else ""))
    if seen.state == "DEADLINE":
        return Verdict("its deadline in Slurm has passed")
    code = f" with exit code {seen.exit_code}" if seen.exit_code else ""
    when = "while its body ran" if starts else "before the task could begin"
    said = f"; its log ends with: {log}" if log else ""
    hint = "" if starts or log else f", and it left no log; hint: its node must see {request.spec['base']}"
    return Verdict(f"its job ended ({seen.state.lower()}){code} {when}{said}{hint}", again=True)


def _more_memory(request: Request, requeued: int) -> Verdict:
    had = request.options.memory
    if not had:
        return Verdict("out of memory; give it more than the cluster's default with .mem=")
    more = request.options.with_more_memory()
    if more is None:
        return Verdict(f"out of memory with {size_text(had)}, as much as it may have (.mem_cap)")
    request.options = more
    return _prepare(request, f"out of memory with {size_text(had)}, sent again with {size_text(more.memory)}", requeued)


def _once_more(why: str, request: Request, requeued: int) -> Verdict:
    allowed, words = request.options.requeue, _WORDS[why]
    if requeued >= allowed:
        times = f" (started again {requeued} times, see .requeue)" if allowed else " (.requeue=no)"
        return Verdict(words + times)
    return _prepare(request, f"{words}, sent again", requeued + 1)


def _prepare(request: Request, note: str, requeued: int) -> Verdict:
    spec = request.spec
    spec["requeued"] = requeued
    spec["options"] = asdict(request.options)
    spec["record"]["notes"] = [*spec["record"]["notes"], note]
    return Verdict(note, request)
