"""Accuracy of STSP: over all ids, what is missing counts as wrong and is listed (spiritlm 9 and 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from spire.errors import UserError
from spire.textfiles import read_json, read_jsonl, write_jsonl
from spiritlm.evaluation.measures import Measure, measured
from spiritlm.stsp.data import Item, sentiment_of

TASK = "stsp"


def predictions_of(folder: str | Path, items: Sequence[Item], speech=None, text=None) -> list[list[dict]]:
    """For each run of a folder of generations the predictions {"id", "pred", "generation"} of what was generated.

    speech, text: the classifiers. UserError: the one that is needed is not given, an id that is no item.
    """
    folder = Path(folder)
    setup = read_json(folder / "setup.json")
    kind = setup["direction"][-1]
    if (speech if kind == "s" else text) is None:
        name = "speech" if kind == "s" else "text"
        raise UserError(f"{folder} holds {name}", hint=f"give --{name}-classifier")
    known = {item.id for item in items}
    runs: list[list[dict]] = [[] for _ in range(setup["runs"])]
    for row in read_jsonl(folder / "generations.jsonl"):
        if row["id"] not in known:
            raise UserError(f"{folder}: id {row['id']} is no item", hint="the generations are of another benchmark")
        if not row["written"]:
            continue
        label = speech.of([folder / row["audio"]])[0] if kind == "s" else text.of([row["written"]])[0]
        if label:
            runs[row["run"]].append({"id": row["id"], "pred": label, "generation": row["written"]})
    return runs


def correct(items: Sequence[Item], predictions: Sequence[Mapping], where: str) -> tuple[list[float], list[str]]:
    """(100 for each item that was predicted as it is, else 0; ids without a prediction). Ids are compared as strings,
    emotions stand for their sentiments. UserError: an id twice, or one that is no item."""
    found: dict[str, str] = {}
    known = {item.id for item in items}
    for row in predictions:
        name = str(row.get("id"))
        if name in found or name not in known:
            raise UserError(f"{where}: id {name} " + ("occurs twice" if name in found else "is no item"))
        found[name] = sentiment_of(str(row.get("pred", "")), f"{where}: id {name}")
    missing = [item.id for item in items if item.id not in found]
    return [100.0 * (found.get(item.id) == item.sentiment) for item in items], missing


def accuracy(
    model: str,
    test_set: str,
    setup: Mapping,
    items: Sequence[Item],
    runs: Sequence[Sequence[Mapping]],
    identity: str = "",
    seed: int = 1,
) -> tuple[Measure, list[str]]:
    """The mean over runs of each item's result as one measure, and "RUN.ID" of all that is missing."""
    each, absent = [], []
    for number, predictions in enumerate(runs):
        values, missing = correct(items, predictions, f"run {number}")
        each.append(values)
        absent += [f"{number}.{name}" for name in missing]
    means = [sum(values) / len(runs) for values in zip(*each, strict=True)]
    kept = ("shots", "runs", "max_new", "tries", "temperature", "top_p", "seed")
    signature = "|".join([f"{name}:{setup[name]}" for name in kept if name in setup] + [f"missing:{len(absent)}"])
    signature += f"|dropped_shots:{setup['dropped_shots']}" if setup.get("dropped_shots") else ""
    signature += f"|{identity}" if identity else ""
    name = f"{test_set}_{setup.get('shots', 0)}shot"
    return measured(model, TASK, name, setup["direction"], "accuracy", means, signature=signature, seed=seed), absent


def write_predictions(folder: Path, direction: str, runs: Sequence[Sequence[Mapping]]) -> None:
    """DIRECTION.RUN.jsonl for each run."""
    for number, rows in enumerate(runs):
        write_jsonl(Path(folder) / f"{direction}.{number}.jsonl", rows)
