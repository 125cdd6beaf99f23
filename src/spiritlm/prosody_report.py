"""What the pitch and style tokens keep, on speech that they were not trained on.

Pitch: contours are coded and decoded, and compared with themselves (`pitch.errors`); the mean that the tokenizer takes
away is given back, as the codes do not hold it. Style: a token belongs to the style that the classifier's id2label
names before its point; it is right where that is the utterance's style. How far tokens still tell the speaker is the
accuracy of guessing, for each token, the speaker who has it most often, beside that of guessing without tokens.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from spire.audio import load_utterance
from spire.errors import UserError
from spire.manifest import Utterance
from spiritlm.evaluation.measures import Measure, measured
from spiritlm.pitch.errors import PitchErrors, pitch_errors, total
from spiritlm.pitch.f0_files import F0Folder
from spiritlm.pitch.tokenizer import PitchTokenizer
from spiritlm.pitch.vqvae_training import contour_of
from spiritlm.style import StyleTokenizer

LOWEST = 20.0  # Hz: what is decoded below counts as this


def pitch_report(contours: F0Folder, folder: str | Path, seed: int) -> tuple[dict, list[Measure]]:
    """Errors of decoded contours and the use of codes, as JSON values and as measures of task `prosody`."""
    tokenizer = PitchTokenizer(folder, "pyaapt")  # the tracker is not used
    features = ("norm_" if tokenizer.normalize else "") + ("f0_interp,vuv" if tokenizer.interpolate else "f0,vuv")
    errors: list[PitchErrors] = []
    used = np.zeros(len(tokenizer.model.codebook.k), np.int64)
    for item in contours:
        x = contour_of(*item.contour, features)
        with torch.inference_mode():
            codes = tokenizer.model.encode(torch.from_numpy(x)[None])
            if not codes.shape[1]:
                continue
            f0, voicing = tokenizer.model.decode(codes)[0].numpy()
        voiced = item.voicing > 0
        if tokenizer.normalize and voiced.any():
            f0 = f0 + item.f0[voiced].mean()
        frames = len(f0)
        found = (np.maximum(f0, LOWEST), voicing > 0.5)
        errors.append(pitch_errors((item.f0[:frames], item.voicing[:frames]), found))
        used += np.bincount(codes[0].numpy(), minlength=len(used))
    if not errors:
        raise UserError("no contour is long enough for a code", hint="give longer speech")
    whole, share = total(errors), used / used.sum()
    report = {
        "utterances": len(errors),
        "f0_frame_error": whole.frame_error,
        "voicing_error": whole.voicing_error,
        "gross_error": whole.gross_error,
        "cents": None if math.isnan(whole.cents) else whole.cents,
        "codes": len(used),
        "codes_used": int((used > 0).sum()),
        "perplexity": float(np.exp(-(share[share > 0] * np.log(share[share > 0])).sum())),
    }
    wrong = [100.0 * (e.voicing + e.gross) for e in errors]
    signature = f"vqvae of {contours.backend} contours|20 % off or other voicing"
    measures = [
        measured("codec", "prosody", "pitch", "s-s", "f0_error", wrong, [e.frames for e in errors], signature, seed)
    ]
    return report, measures


def styles_of_tokens(folder: str | Path) -> list[str]:
    """The style that each token belongs to, by its name in config.json."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        return [config["id2label"][str(i)].rpartition(".")[0] for i in range(len(config["id2label"]))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{folder}: names no labels: {e}", hint="train it with spiritlm_style.py") from e


def style_report(utterances: Sequence[Utterance], folder: str | Path, seed: int) -> tuple[dict, list[Measure]]:
    """Accuracy of the style tokens second by second and by utterance (most tokens), as JSON values and as measures of
    task `prosody`, set `style`. UserError: no utterance has a style."""
    utterances = [u for u in utterances if isinstance(u.extra.get("style"), str)]
    if not utterances:
        raise UserError("no utterance has a style", hint="the manifest needs the field style")
    tokenizer, styles = StyleTokenizer(folder), styles_of_tokens(folder)
    right, seconds, whole = [], [], []
    heard: Counter[tuple[str, str]] = Counter()
    said: list[tuple[int, str]] = []
    for utterance in utterances:
        units = tokenizer.units(load_utterance(utterance)).tolist()
        if not units:
            continue
        style, named = utterance.extra["style"], [styles[unit] for unit in units]
        right.append(100.0 * named.count(style))
        seconds.append(len(named))
        most = max(sorted(set(named)), key=named.count)
        whole.append(100.0 * (most == style))
        heard[style, most] += 1
        said += [(unit, utterance.speaker) for unit in units]
    report = {
        "utterances": len(whole),
        "tokens": len(styles),
        "tokens_used": len({unit for unit, _ in said}),
        "accuracy_of_seconds": sum(right) / sum(seconds),
        "accuracy_of_utterances": sum(whole) / len(whole),
        "speaker_guessed": 100.0 * _guessed(said),
        "speaker_guessed_without": 100.0 * _guessed((0, speaker) for _, speaker in said),
        "heard": [{"style": a, "as": b, "utterances": n} for (a, b), n in sorted(heard.items())],
    }
    about = f"{len(styles)} tokens"
    measures = [
        measured("codec", "prosody", "style", "s-s", "accuracy", right, seconds, f"{about}|seconds", seed),
        measured("codec", "prosody", "style_utterances", "s-s", "accuracy", whole, (), f"{about}|most tokens", seed),
    ]
    return report, measures


def _guessed(said: Iterable[tuple[int, str]]) -> float:
    """Share of the pairs whose speaker is the commonest of their token."""
    counts: dict[int, Counter[str]] = {}
    for token, speaker in said:
        counts.setdefault(token, Counter())[speaker] += 1
    return sum(max(c.values()) for c in counts.values()) / max(1, sum(sum(c.values()) for c in counts.values()))
