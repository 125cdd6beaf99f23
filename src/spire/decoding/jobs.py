"""All decoding jobs of one model in one process: recognition, translation, and cascades of the two.

Guarantees: hypothesis i answers prompt i of its job (an empty prompt gets an empty line); the output folder holds
every job asked for or does not appear; its bytes depend on the model and the prompts only (times go to stderr).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from spire.corpora.jobs import JOBS_FILE
from spire.corpora.prompts import fill
from spire.decoding.greedy import Answer, greedy
from spire.errors import UserError
from spire.textfiles import read_jsonl
from spire.training.checkpoint import WEIGHTS, load_model, new_directory
from spire.training.cpu import keep_freed_memory
from spire.vocabulary.tokenizer import IM_END, Vocabulary


@dataclass(frozen=True)
class Limits:
    """`max_new` tokens an answer; `rows` prompts a batch; only the first `lines` prompts of each job (0: all)."""

    max_new: int = 64
    rows: int = 128
    lines: int = 0


def stop_ids(style: str, vocabulary: Vocabulary) -> set[int]:
    """Ids that end an answer: `</s>`, and `<|im_end|>` for chat or a line break for base models."""
    if style == "chat":
        if vocabulary.im_end is None:
            raise UserError(
                f"chat prompts, but the model's vocabulary has no {IM_END}", hint="use prompts made with --style base"
            )
        return {vocabulary.eos, vocabulary.im_end}
    return {vocabulary.eos, vocabulary.newline}


def answer_text(answer: Answer, vocabulary: Vocabulary) -> str:
    """The answer as one line of text."""
    return " ".join(vocabulary.decode(list(answer.ids)).split())


def decode_all(model_folder: str, prompts_folder: str, out: str, wanted: str, limits: Limits, threads: int) -> None:
    """Decode the jobs named in `wanted` (modes or job names, separated by commas or spaces; empty: all) into the
    folder `out`.

    A cascade job decodes the recognition job it builds on, even if that one is not wanted itself.
    """
    import torch

    torch.set_num_threads(threads)
    keep_freed_memory()
    started = time.process_time()
    plan = _read_plan(Path(prompts_folder))
    jobs = _select(plan["jobs"], wanted, prompts_folder)
    vocabulary = Vocabulary.load(model_folder)
    model = load_model(model_folder)
    stop = stop_ids(plan["style"], vocabulary)
    by_name = {job["name"]: job for job in plan["jobs"]}
    needed = {job["name"]: job for job in jobs}
    for job in jobs:
        if "first" in job:
            if job["first"] not in by_name:
                raise UserError(f"{job['name']} builds on {job['first']}, which {prompts_folder} does not have")
            needed[job["first"]] = by_name[job["first"]]
    first_stage = {
        name: _read_prompts(Path(prompts_folder), job, limits) for name, job in needed.items() if "first" not in job
    }
    texts, report = _stage(model, vocabulary, first_stage, stop, limits)
    cascades = {
        job["name"]: [None if not t else fill(job["template"], example=t) for t in texts[job["first"]]]
        for job in jobs
        if "first" in job
    }
    second_texts, second_report = _stage(model, vocabulary, cascades, stop, limits)
    texts |= second_texts
    report |= second_report
    with new_directory(out) as folder:
        for job in jobs:
            lines = "".join(f"{t}\n" for t in texts[job["name"]])
            (folder / f"{job['name']}.txt").write_text(lines, "utf-8", newline="\n")
        record = {
            "settings": {
                "strategy": "greedy",
                "max_new_tokens": limits.max_new,
                "precision": "fp32",
                "style": plan["style"],
            },
            "stop": plan.get("stop"),
            "limit": limits.lines,
            "model_sha256": _digest(Path(model_folder)),
            "jobs": {job["name"]: report[job["name"]] for job in jobs},
        }
        (folder / "decoding.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    cut = sum(r["cut_off"] for r in record["jobs"].values())
    print(
        f"{len(jobs)} jobs, {sum(r['count'] for r in record['jobs'].values())} prompts, "
        f"{sum(r['new_tokens'] for r in record['jobs'].values())} new tokens, {cut} answers cut at {limits.max_new}, "
        f"{time.process_time() - started:.1f} CPU s",
        file=sys.stderr,
    )


def _read_plan(folder: Path) -> dict:
    path = folder / JOBS_FILE
    try:
        plan = json.loads(path.read_text("utf-8"))
        if plan["style"] not in ("chat", "base") or not isinstance(plan["jobs"], list):
            raise ValueError(f"style {plan['style']!r}")
        return plan
    except FileNotFoundError:
        raise UserError(f"{folder}: no {JOBS_FILE}", hint="decode_prompts.py writes this folder") from None
    except (KeyError, TypeError, ValueError) as e:
        raise UserError(f"{path}: not a list of decoding jobs ({type(e).__name__} {e})") from None


def _select(jobs: list[dict], wanted: str, folder: str) -> list[dict]:
    names = wanted.replace(",", " ").split()
    if not names:
        return jobs
    chosen = [job for job in jobs if job["name"] in names or job["mode"] in names]
    for name in names:
        if not any(name in (job["name"], job["mode"]) for job in chosen):
            known = sorted({job["mode"] for job in jobs})
            raise UserError(f"{folder} has no decoding job {name!r}", hint=f"modes there: {', '.join(known)}")
    return chosen


def _read_prompts(folder: Path, job: dict, limits: Limits) -> list[str | None]:
    rows = read_jsonl(folder / job["prompts"])
    if len(rows) != job.get("count", len(rows)):
        raise UserError(
            f"{folder / job['prompts']}: {len(rows)} prompts, {JOBS_FILE} says {job['count']}",
            hint="make the folder again with decode_prompts.py",
        )
    rows = rows[: limits.lines] if limits.lines else rows
    return [None if row["empty"] else row["prompt"] for row in rows]


def _stage(model, vocabulary, jobs: dict[str, list[str | None]], stop: set[int], limits: Limits):
    """(texts by job, counts by job). None stands for an empty prompt."""
    flat = [(name, i, p) for name, prompts in jobs.items() for i, p in enumerate(prompts) if p is not None]
    ids = [vocabulary.encode(p, bos=True) for _, _, p in flat]
    answers = greedy(model, ids, stop, limits.max_new, vocabulary.size, limits.rows)
    texts = {name: [""] * len(prompts) for name, prompts in jobs.items()}
    report = {
        name: {
            "count": len(p),
            "empty": p.count(None),
            "prompt_tokens": 0,
            "new_tokens": 0,
            "cut_off": 0,
            "near_ties": 0,
        }
        for name, p in jobs.items()
    }
    for (name, i, _), prompt, answer in zip(flat, ids, answers, strict=True):
        texts[name][i] = answer_text(answer, vocabulary)
        counts = report[name]
        counts["prompt_tokens"] += len(prompt)
        counts["new_tokens"] += answer.steps
        counts["cut_off"] += not answer.finished
        counts["near_ties"] += answer.near_ties
    return texts, report


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    path = folder / WEIGHTS
    if not path.is_file():
        path = folder / f"{WEIGHTS}.index.json"
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
