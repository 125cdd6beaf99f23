"""Both recordings of a story, with transcripts and times of words, as one context and two endings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spire.errors import UserError
from spire.manifest import read_manifest
from spire.textfiles import read_jsonl
from spiritlm.evaluation.cutting import cut_time, cut_units, shared_beginning

Side = tuple[Mapping[str, Mapping[str, str]], Path, Path]
"""Units by id, the folder of the manifest with the transcripts, and the file of word times."""


def cut_by_words(right: Side, wrong: Side) -> list[dict]:
    """{"id": (id, {}), "context", "right", "wrong": (text, units)} of each story, in the order of the right ones.

    The context is what both transcripts have in common up to the end of a sentence; its units are those of the right
    recording. UserError: a story without counterpart, transcript, a time for each of its words, or units on a side of
    the cut.
    """
    texts = [{u.id: u.text for u in read_manifest(folder / "manifest.jsonl")} for _, folder, _ in (right, wrong)]
    times = [{row["id"]: row["words"] for row in read_jsonl(words)} for _, _, words in (right, wrong)]
    if set(texts[0]) != set(texts[1]):
        odd = sorted(set(texts[0]) ^ set(texts[1]))
        raise UserError(f"{len(odd)} stories have no counterpart, such as {odd[0]!r}", "prepare both splits whole")
    stories = []
    for name in texts[0]:
        both = [side[name] for side in texts]
        if not all(both):
            raise UserError(f"story {name!r} has no transcript", "--whole compares recordings without transcripts")
        count = shared_beginning(*both)
        parts = []
        for number, (units, _, words) in enumerate((right, wrong)):
            if name not in units or name not in times[number]:
                raise UserError(f"story {name!r} has no units or no word times", f"see {words}")
            aligned, said = len(times[number][name]), len(both[number].split())
            if aligned != said:
                raise UserError(
                    f"{words}: {name}: {aligned} aligned words, the transcript has {said}",
                    "align this transcript again",
                )
            at = cut_time(times[number][name], count, f"{words}: {name}")
            parts.append(cut_units(units[name], at, f"story {name}"))
        endings = [(" ".join(text.split()[count:]), part[1]) for text, part in zip(both, parts, strict=True)]
        context = (" ".join(both[0].split()[:count]), parts[0][0])
        stories.append({"id": (name, {}), "context": context, "right": endings[0], "wrong": endings[1]})
    return stories
