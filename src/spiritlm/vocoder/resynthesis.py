"""Units of a test set back to speech, as a folder of audio with a manifest: what resynthesis is judged by.

Guarantee: audio keeps the timing of its units, 640 samples each, so that it can be laid beside the original frame by
frame; the same units give the same bytes. Controls say how much of a score any speech would get.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from spire.audio import RATE, load_utterance, write_wav
from spire.errors import UserError
from spire.files import replaced_folder
from spire.manifest import Utterance, write_manifest
from spire.progress import Progress
from spiritlm.unit_strings import ids_of, text_of
from spiritlm.vocoder.segments import aligned, matched
from spiritlm.vocoder.vocoder import DEFAULT_STYLE, Vocoder

CONTROLS = ("none", "other", "order")


def resynthesize(
    vocoder: Vocoder | None,
    manifest: str | Path,
    streams: str | Path,
    out: str | Path,
    limit: int = 0,
    control: str = "none",
    style: str = DEFAULT_STYLE,
    seed: int = 1,
) -> int:
    """Write the folder (manifest.jsonl, audio/) and return the number of utterances; it appears whole or not at all.

    vocoder: None gives the originals, cut to whole units. limit: so many utterances, spread evenly over the set; 0:
    all. control: "other" takes the phonetic units of the next utterance of the same speaker (repeated or cut to the
    same length), "order" puts the runs of units into another order, drawn from `seed` and the utterance's id; pitch and
    style units stay. style: a name of the vocoder's styles (Base), or "true": that of the manifest, where the vocoder
    does not know it as `DEFAULT_STYLE`.
    UserError: nothing to do, an unknown speaker or control, what does not fit.
    """
    if control not in CONTROLS:
        raise UserError(f"unknown control {control!r}", hint=f"choose one of {', '.join(CONTROLS)}")
    pairs = list(matched(manifest, streams))
    if not pairs:
        raise UserError(f"{streams}: no units", hint="encode the manifest with spiritlm_encode.py")
    codes = [np.array(ids_of(line["hubert"], f"{streams}: {u.id}"), np.int64) for u, line in pairs]
    count = min(limit, len(pairs)) if limit else len(pairs)
    chosen = [i * len(pairs) // count for i in range(count)]
    made: list[Utterance] = []
    with replaced_folder(out) as folder, Progress("resynthesize", len(chosen), "utterances") as progress:
        for i in chosen:
            utterance, line = pairs[i]
            where = f"{streams}: {utterance.id}"
            if vocoder is None:
                samples = aligned(load_utterance(utterance), len(codes[i]), where)
            else:
                shuffled = {"hubert": text_of(_controlled(control, codes, pairs, i, seed))}
                settings = {"speaker_id": _speaker(vocoder, utterance, where), **_style(vocoder, utterance, style)}
                samples = vocoder.decode({**line, **shuffled}, dur_pred=False, not_dedup_code=True, **settings)
            audio = f"audio/{len(made):06d}.wav"
            write_wav(folder / audio, samples)
            extra = {key: value for key, value in utterance.extra.items() if key not in ("offset", "size")}
            duration = len(samples) / RATE
            made.append(
                replace(utterance, audio=audio, start=0.0, duration=duration, phones=(), extra=extra, folder=None)
            )
            progress.advance()
        write_manifest(folder / "manifest.jsonl", made)
    return len(made)


def _controlled(control: str, codes: list[np.ndarray], pairs: list, i: int, seed: int) -> np.ndarray:
    own = codes[i]
    if control == "none" or not len(own):
        return own
    if control == "order":
        begins = np.flatnonzero(np.diff(own, prepend=-1))
        runs = np.split(own, begins[1:])
        rng = np.random.default_rng([seed, *pairs[i][0].id.encode()])
        return np.concatenate([runs[k] for k in rng.permutation(len(runs))])
    speaker = pairs[i][0].speaker
    following = (k % len(pairs) for k in range(i + 1, i + len(pairs)))
    other = next((k for k in following if pairs[k][0].speaker == speaker and len(codes[k])), None)
    if other is None:
        raise UserError(f"{pairs[i][0].id}: no other utterance of speaker {speaker!r}", hint="take the control 'order'")
    return np.resize(codes[other], len(own))


def _speaker(vocoder: Vocoder, utterance: Utterance, where: str) -> int:
    if utterance.speaker not in vocoder.speakers:
        known = ", ".join(vocoder.speakers) or "none"
        raise UserError(f"{where}: speaker {utterance.speaker!r} is not one of the vocoder's: {known}")
    return vocoder.speakers.index(utterance.speaker)


def _style(vocoder: Vocoder, utterance: Utterance, style: str) -> dict[str, int]:
    if vocoder.expressive or not vocoder.styles:
        return {}
    if style == "true":
        style = str(utterance.extra.get("style", DEFAULT_STYLE))
        style = style if style in vocoder.styles else DEFAULT_STYLE
    if style not in vocoder.styles:
        raise UserError(f"style {style!r} is not one of the vocoder's: {', '.join(vocoder.styles)}")
    return {"style_id": vocoder.styles.index(style)}
