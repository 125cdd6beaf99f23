"""Decoding jobs: one file of prompts for each mode, test set and language pair, and `jobs.json` that lists them.

Guarantees: prompt i belongs to line i of the test set, whatever is missing there (an utterance without units or
sentence without text has `"empty": true` and needs no decoding); training and test prompts come from the same
templates; the folder appears complete or not at all.

Modes: `asr`; `st` (direct); `shuffled` (as asr and st, but every utterance has another one's units: what a model
scores that does not listen); `gold` (MT of the true transcript); `cascade` (MT of the model's own transcript: no
prompts, but a `template` with one field `{example}` to fill from the hypotheses of the job named in `first`);
`mt` (text test set `test`, English to each target and back).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from spire.corpora.chat import prompt_text
from spire.corpora.pairs import Pair, one_line, read_pairs
from spire.corpora.prompts import BASE, CHAT, fill, language, speech_template
from spire.errors import UserError
from spire.files import free_directory
from spire.textfiles import read_jsonl, write_jsonl
from spire.vocabulary.tokenizer import IM_END

MODES = ("asr", "shuffled", "st", "gold", "cascade", "mt")
TEXT_SET = "test"
SOURCE = "en"
JOBS_FILE = "jobs.json"


@dataclass
class Style:
    """How one kind of model is asked.

    Attributes: name ("chat" for instruct models, "base" for pretrained ones), templates, stop (text that ends an
    answer), shots (base only: target language pair -> solved MT examples placed before the question).
    """

    name: str
    templates: dict[str, str]
    shots: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)

    @property
    def stop(self) -> str:
        return IM_END if self.name == "chat" else "\n"

    def speech(self, units: str, target: str) -> str:
        """The prompt for speech: transcription (`en`) or direct translation."""
        if self.name == "chat":
            return prompt_text([("user", fill(speech_template(self.templates, target), dsu_seq=units))])
        template = self.templates["asr_prompt" if target == SOURCE else "st_prompt"]
        return fill(template, dsu_seq=units, tgt_lang=language(target))

    def translation(self, text: str, source: str, target: str) -> str:
        """The prompt for MT of `text`; "{example}" gives the template of a second stage."""
        names = {"src_lang": language(source), "tgt_lang": language(target)}
        if self.name == "chat":
            return prompt_text([("user", fill(self.templates["mt"], example=text, **names))])
        solved = [
            fill(self.templates["parallel_text"], example=x, translation=y, **names)
            for x, y in self.shots.get((source, target), [])
        ]
        return "\n".join([*solved, fill(self.templates["mt_prompt"], example=text, **names)])


def make_style(name: str, templates: dict[str, str] | None = None) -> Style:
    """The style "chat" or "base". Raises UserError for another name."""
    if name not in ("chat", "base"):
        raise UserError(f"unknown prompt style {name!r}", hint="chat for instruct models, base for pretrained ones")
    return Style(name, templates or dict(CHAT if name == "chat" else BASE))


def pick_shots(rows: list[dict], count: int, targets: list[str], seed: int) -> dict:
    """`count` solved examples for each direction, the same sentences for all, from rows by language code."""
    whole = [r for r in rows if all(isinstance(r.get(c), str) and r[c].strip() for c in (SOURCE, *targets))]
    if len(whole) < count:
        raise UserError(
            f"{count} shots wanted, but {len(whole)} sentences are there in {SOURCE} {' '.join(targets)}",
            hint="give --shots-from a larger file, or fewer --shots",
        )
    chosen = random.Random(f"shots:{seed}").sample(whole, count)
    pairs = [pair for t in targets for pair in ((SOURCE, t), (t, SOURCE))]
    return {(s, t): [(one_line(r[s]), one_line(r[t])) for r in chosen] for s, t in pairs}


def derangement(texts: list[str], seed: int) -> list[int]:
    """A seeded permutation that moves every index, to a partner of another text wherever one swap can arrange it.

    Raises UserError for fewer than two items.
    """
    if len(texts) < 2:
        raise UserError("the shuffled control needs two utterances", hint="leave the mode shuffled out of --modes")
    rng = random.Random(f"shuffled:{seed}")
    order = list(range(len(texts)))
    # Sattolo's variant of the shuffle makes one cycle of all items, so none stays.
    for i in range(len(order) - 1, 0, -1):
        j = rng.randrange(i)
        order[i], order[j] = order[j], order[i]
    # The same sentence from another speaker would be no control.
    for i in range(len(order)):
        if texts[i] == texts[order[i]]:
            for j in rng.sample(range(len(order)), len(order)):
                fits = texts[i] != texts[order[j]] and texts[j] != texts[order[i]]
                if fits and order[j] != i and order[i] != j:
                    order[i], order[j] = order[j], order[i]
                    break
    return order


def speech_jobs(name: str, pairs: list[Pair], targets: list[str], style: Style, modes: list[str], seed: int) -> list:
    """(job, prompts) of one speech test set. Lines in another language than English are kept but marked empty."""
    spoken = [p.utterance.lang == SOURCE for p in pairs]
    if not any(spoken):
        raise UserError(f"test set {name!r} has no {language(SOURCE)} speech", hint="prompts exist for English speech")
    units = [p.units if ok else "" for p, ok in zip(pairs, spoken, strict=True)]
    texts = [p.text if ok else "" for p, ok in zip(pairs, spoken, strict=True)]
    ids = [p.utterance.id for p in pairs]
    covered = [t for t in targets if any(p.translation(t) for p in pairs)]
    jobs = []

    def add(mode: str, target: str, sources: list[str], prompts: list[str] | None, **more: str) -> None:
        job = _job(mode, name, SOURCE, target, "units" if mode in ("asr", "st", "shuffled") else "text")
        lines = None if prompts is None else _lines(ids, sources, prompts)
        jobs.append((job | more, lines))

    for mode in modes:
        if mode == "shuffled":
            order = derangement(texts, seed)
            heard = [units[j] for j in order]
            # A pretrained model was never asked to translate speech, so the control has nothing to control there.
            for target in [SOURCE, *(covered if style.name == "chat" else [])]:
                add(mode, target, heard, [style.speech(u, target) for u in heard])
        elif mode == "asr":
            add(mode, SOURCE, units, [style.speech(u, SOURCE) for u in units])
        elif mode == "st":
            for target in covered:
                add(mode, target, units, [style.speech(u, target) for u in units])
        elif mode == "gold":
            for target in covered:
                add(mode, target, texts, [style.translation(t, SOURCE, target) for t in texts])
        elif mode == "cascade":
            for target in covered:
                template = style.translation("{example}", SOURCE, target)
                add(mode, target, [], None, first=f"asr.{name}.{SOURCE}-{SOURCE}", template=template)
    return jobs


def text_jobs(rows: list[dict], targets: list[str], style: Style) -> list:
    """(job, prompts) of the text test set, both directions of every target it has."""
    ids = [str(row.get("id", n)) for n, row in enumerate(rows)]
    jobs = []
    for target in targets:
        if not any(isinstance(row.get(target), str) for row in rows):
            continue
        for source, to in ((SOURCE, target), (target, SOURCE)):
            texts = [one_line(row.get(source) or "") for row in rows]
            prompts = [style.translation(t, source, to) for t in texts]
            jobs.append((_job("mt", TEXT_SET, source, to, "text"), _lines(ids, texts, prompts)))
    return jobs


def write_jobs(
    out: str | Path,
    style: Style,
    manifests: dict[str, Path],
    units: Path | None,
    sentences: Path | None,
    targets: list[str],
    modes: list[str],
    seed: int,
) -> list[dict]:
    """Write the folder and return its jobs. `units` holds `NAME.units` for each manifest NAME.

    A job names its source file without directories: the bytes must not depend on where the study runs.
    Raises UserError when `out` exists, counts differ, or nothing is to be decoded.
    """
    out = free_directory(out)
    made: list = []
    sources: dict[str, str] = {}
    for name, path in manifests.items():
        pairs = read_pairs(path, Path(units or ".") / f"{name}.units")
        made += speech_jobs(name, pairs, targets, style, [m for m in modes if m != "mt"], seed)
        sources[name] = Path(path).name
    if sentences is not None and "mt" in modes:
        made += text_jobs(read_jsonl(sentences), targets, style)
        sources[TEXT_SET] = Path(sentences).name
    if not made:
        raise UserError("there is nothing to decode", hint="give --manifest NAME=FILE or --sentences FILE, and --modes")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        temporary.chmod(0o755)
        jobs = []
        for job, lines in made:
            job["source_file"] = sources[job["test_set"]]
            if lines is not None:
                job |= {"prompts": f"{job['name']}.jsonl", "count": len(lines), "empty": sum(x["empty"] for x in lines)}
                write_jsonl(temporary / job["prompts"], lines)
            jobs.append(job)
        record = {"style": style.name, "stop": style.stop, "seed": seed, "templates": style.templates, "jobs": jobs}
        (temporary / JOBS_FILE).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
        os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return jobs


def _job(mode: str, test_set: str, source: str, target: str, kind: str) -> dict:
    pair = {"mode": mode, "test_set": test_set, "src": source, "tgt": target, "kind": kind}
    return {"name": f"{mode}.{test_set}.{source}-{target}", **pair}


def _lines(ids: list[str], sources: list[str], prompts: list[str]) -> list[dict]:
    return [
        {"id": identity, "prompt": prompt, "empty": not source}
        for identity, source, prompt in zip(ids, sources, prompts, strict=True)
    ]
