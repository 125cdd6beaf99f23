"""Scores of few-shot answers: WER of transcripts, CER of what spoken answers are heard as, exact match of intents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spire.errors import UserError
from spire.manifest import read_manifest
from spire.scoring.wer import character_error_rate, word_error_rate
from spire.textfiles import read_json, read_jsonl, read_lines
from spiritlm.evaluation.measures import Measure, measured
from spiritlm.fewshot.prompts import LABEL, Form, one_line

TASK = "fewshot"


def score(
    model: str, folder: str | Path, manifest: str | Path, heard: str | Path | None = None, seed: int = 1
) -> Measure:
    """The measure of a folder of answers against its manifest. heard: for tts, what the answers are heard as: JSONL of
    {"id", "text"} (spiritlm_transcribe.py), or a file or folder with one line of text for each (baseline_decode.py).

    UserError: numbers or ids of answers, utterances and transcripts differ; tts without `heard`.
    """
    folder = Path(folder)
    setup, rows, utterances = (
        read_json(folder / "setup.json"),
        read_jsonl(folder / "answers.jsonl"),
        read_manifest(manifest),
    )
    ids = [u.id for u in utterances]
    if [row["id"] for row in rows] != ids:
        raise UserError(
            f"{folder} has {len(rows)} answers, not those of {manifest}", hint="give the manifest it answers"
        )
    task = setup["task"]
    how = [f"{name}:{setup[name]}" for name in ("shots", "context", "max_new", "seed", "strategy") if name in setup]
    if dropped := sum(row["dropped_shots"] for row in rows):
        how.append(f"dropped_shots:{dropped}")
    direction, name = Form(task, False).direction, setup["test_set"]
    if task == "ic":
        wanted = [one_line(" ".join(str(u.extra[part]) for part in LABEL)).lower() for u in utterances]
        right = [100.0 * (row["answer"].lower() == label) for row, label in zip(rows, wanted, strict=True)]
        return measured(model, TASK, name, direction, "accuracy", right, signature="|".join(how), seed=seed)
    texts = [row["answer"] for row in rows]
    if task == "tts":
        if heard is None:
            raise UserError(f"{folder} holds speech", hint="transcribe its manifest, and give the transcripts")
        texts = transcripts(Path(heard), ids)
    metric = "cer" if task == "tts" else "wer"
    rate = (character_error_rate if task == "tts" else word_error_rate)(texts, [u.text for u in utterances], seed=seed)
    errors = [(100.0 * row[0], float(row[1])) for row in rate.rows if row is not None and row[1]]
    signature = "|".join([*how, rate.signature])
    items, weights = zip(*errors, strict=True)
    return measured(model, TASK, name, direction, metric, items, weights, signature, seed)


def transcripts(path: Path, ids: Sequence[str]) -> list[str]:
    """The text for each id. UserError: other ids, or another number of lines."""
    if path.is_dir():
        found = sorted(path.glob("asr.*.txt"))
        if len(found) != 1:
            raise UserError(f"{path}: {len(found)} files asr.*.txt, one is wanted")
        path = found[0]
    if path.suffix == ".jsonl":
        rows = read_jsonl(path)
        if [row.get("id") for row in rows] != list(ids):
            raise UserError(f"{path}: its {len(rows)} lines are not those of the answers", hint="transcribe them again")
        return [str(row.get("text", "")) for row in rows]
    lines = read_lines(path)
    if len(lines) != len(ids):
        raise UserError(f"{path}: {len(lines)} lines for {len(ids)} answers", hint="transcribe them again")
    return lines
