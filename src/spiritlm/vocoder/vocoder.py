"""Units to speech: a vocoder's folder (config.json, generator.pt, speakers.txt, styles.txt) as one object (spiritlm 6).

What conditions it is told by its tensors: code, pitch (`f0_dict`), style units (`style_dict`), speaker (`spkr`), style
of the utterance (`style`), concatenated in this order. Samples are float32 [N] at 16 kHz; the same units give the same
samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from spire.errors import UserError
from spire.units.hubert_parts import packs
from spire.units.placement import place
from spiritlm.unit_strings import ids_of
from spiritlm.vocoder.generator import TILE, DurationPredictor, Generator, GeneratorShape, durations
from spiritlm.vocoder.generator_cpu import CpuGenerator, fits
from spiritlm.weight_files import HINT, fill, opened, tensors_in, without_weight_norm

WHOLE = 3 * TILE  # units computed at once where all samples are wanted: neighbours cost less, memory more
DEFAULT_SPEAKER = 2
DEFAULT_STYLE = "conv-default"
DEFAULT_STYLE_ID = 8  # where styles.txt does not name it
_TABLES = ("dict", "f0_dict", "style_dict", "spkr", "style")  # in the order of their channels
_HOPS = {"pitch": ("f0_hop_size", 1280), "style": ("style_hop_size", 16_000)}
_PIECE, _PIECE_CODES = 1_600_000, 2499  # samples that the tokenizers encode at once, and their codes (spiritlm 1)
Units = str | Sequence[int] | np.ndarray | torch.Tensor


class Vocoder(nn.Module):
    """The vocoder of a folder, on `device`. `speakers` and `styles` are the names in its text files. dtype: float32, or
    bfloat16 for the generator but its last convolution; durations do not depend on it."""

    def __init__(self, folder: str | Path, device: str | torch.device = "cpu", dtype: str = "float32"):
        super().__init__()
        path = Path(folder) / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as e:
            raise UserError(f"{path}: cannot be read: {e}", HINT) from e
        if not isinstance(config, dict):
            raise UserError(f"{path}: is not a JSON object", HINT)
        with opened(Path(folder) / "generator.pt", "generator") as file:
            tensors = without_weight_norm(tensors_in(file, file.root["generator"]))
        self.shape = GeneratorShape.from_config(config, str(path))
        self.speakers, self.styles = (_lines(Path(folder) / f"{name}.txt") for name in ("speakers", "styles"))
        self.hops = {name: config.get(key, default) for name, (key, default) in _HOPS.items()}
        if "spkr.bias" in tensors:
            raise UserError(f"{folder}: speakers are vectors here, not numbers", hint="use a published vocoder")
        tables = [name for name in _TABLES if f"{name}.weight" in tensors]
        width = sum(tensors[f"{name}.weight"].shape[-1] for name in tables)
        if "dict" not in tables or width != self.shape.model_in_dim:
            raise UserError(f"{folder}: embeddings {tables} make {width} channels, not {self.shape.model_in_dim}", HINT)
        with torch.device("meta"):
            self.tables = nn.ModuleDict({name: nn.Embedding(*tensors[f"{name}.weight"].shape) for name in tables})
            self.generator = Generator(self.shape)
            self.dur_predictor = None
            if config.get("dur_predictor_params"):
                self.dur_predictor = DurationPredictor(config["dur_predictor_params"])
        outside = (*(f"{name}." for name in _TABLES), "dur_predictor.")

        def named(key: str) -> str:
            return (
                f"tables.{key}"
                if key.startswith(outside[:-1])
                else key
                if key.startswith(outside)
                else f"generator.{key}"
            )

        fill(self, {named(key): value for key, value in tensors.items()}, folder)
        self.device = torch.device(device)
        self.to(self.device)
        numbers = place(nn.Identity(), str(self.device), dtype)[2]
        if packs(self.device) and fits(self.shape):
            plain = self.generator
            del self.generator
            self.generator = CpuGenerator(plain, numbers)
        else:
            self.generator.to(numbers).conv_post.float()
        self._numbers = numbers

    @property
    def expressive(self) -> bool:
        """Whether it needs pitch and style units."""
        return "f0_dict" in self.tables

    @torch.inference_mode()
    def durations(self, codes: Units) -> np.ndarray:
        """Codes [T] to the frames that each is predicted to last, int64 [T]; UserError without a predictor."""
        return durations(self._log_durations(self._ids(codes, "hubert"))).cpu().numpy()

    def _log_durations(self, codes: torch.Tensor) -> torch.Tensor:
        if self.dur_predictor is None:
            raise UserError("this vocoder predicts no durations", hint="pass dur_pred=False")
        return self.dur_predictor(self.tables["dict"](codes)[None])[0]

    def decode(
        self,
        code: Units | Mapping[str, Units],
        speaker_id: int = DEFAULT_SPEAKER,
        dur_pred: bool = True,
        style_id: int | None = None,
        not_dedup_code: bool = False,
    ) -> np.ndarray:
        """Codes, or a dictionary with "hubert" and for an expressive vocoder "pitch" and "style", to samples [N].

        With as many pitches as codes, every code lasts as long as predicted (`dur_pred`) or one frame. With another
        number of pitches the streams are those of an encoder: nothing is predicted, pitch and style are stretched to
        the codes' rate. Repeated codes are dropped unless `not_dedup_code`. Codes below 0 are left out. UserError: a
        stream is missing, lengths do not fit, a unit, speaker or style does not exist.
        """
        pieces = list(self.stream(code, speaker_id, dur_pred, style_id, not_dedup_code, WHOLE))
        return np.concatenate([np.zeros(0, np.float32), *pieces])

    def stream(
        self,
        code: Units | Mapping[str, Units],
        speaker_id: int = DEFAULT_SPEAKER,
        dur_pred: bool = True,
        style_id: int | None = None,
        not_dedup_code: bool = False,
        tile: int = TILE,
    ) -> Iterator[np.ndarray]:
        """The samples of `decode` in pieces of up to `tile` units (20 s), in bounded memory."""
        with torch.inference_mode():
            ids = self._frames(code, dur_pred, not_dedup_code)
            rows = self._rows(ids, speaker_id, style_id)
        for first, last, own in self.shape.spans(len(ids["hubert"]), tile):
            with torch.inference_mode():
                embedded = [table(rows[name][first:last]) for name, table in self.tables.items()]
                samples = self.generator(torch.cat(embedded, dim=1).t()[None].to(self._numbers))[0]
            yield samples[own].float().cpu().numpy()

    def _frames(
        self, code: Units | Mapping[str, Units], dur_pred: bool, not_dedup_code: bool
    ) -> dict[str, torch.Tensor]:
        """The streams that this vocoder needs, one unit for each 640 samples, int64 [T] each."""
        streams = dict(code) if isinstance(code, Mapping) else {"hubert": code}
        conditions = [name for name, table in (("pitch", "f0_dict"), ("style", "style_dict")) if table in self.tables]
        wanted = ["hubert", *conditions]
        missing = [name for name in wanted if name not in streams]
        if missing:
            hint = "encode with the expressive tokenizer, or decode with the base one"
            raise UserError(f"units without {' and '.join(missing)}", hint)
        ids = {name: self._ids(streams[name], name) for name in wanted}
        if len({len(value) for value in ids.values()}) > 1:
            ids, dur_pred = self._stretched(ids), False
        kept = ids["hubert"] >= 0
        if not not_dedup_code:
            kept[1:] &= ids["hubert"][1:] != ids["hubert"][:-1]
        ids = {name: value[kept] for name, value in ids.items()}
        if dur_pred and len(ids["hubert"]):
            frames = durations(self._log_durations(ids["hubert"]))
            ids = {name: value.repeat_interleave(frames) for name, value in ids.items()}
        return ids

    def _rows(self, ids: Mapping[str, torch.Tensor], speaker_id: int, style_id: int | None) -> dict[str, torch.Tensor]:
        """The row of each table for each unit, int64 [T]."""
        rows = {"dict": ids["hubert"], "f0_dict": ids.get("pitch"), "style_dict": ids.get("style")}
        if style_id is None:
            style_id = self.styles.index(DEFAULT_STYLE) if DEFAULT_STYLE in self.styles else DEFAULT_STYLE_ID
        for table, what, number in (("spkr", "speaker", speaker_id), ("style", "style", style_id)):
            if table in self.tables:
                rows[table] = self._ids([number], what, table).expand_as(rows["dict"])
        return rows

    def _ids(self, units: Units, what: str, table: str | None = None) -> torch.Tensor:
        """Units as int64 [T] on the device; UserError for what the table lacks."""
        table = table or {"hubert": "dict", "pitch": "f0_dict", "style": "style_dict"}[what]
        if isinstance(units, str):
            units = ids_of(units, what)
        found = torch.as_tensor(np.asarray(units.cpu() if isinstance(units, torch.Tensor) else units))
        found = found.reshape(-1)
        if len(found) and (found.is_floating_point() or int(found.max()) >= self.tables[table].num_embeddings):
            hint = f"this vocoder has numbers below {self.tables[table].num_embeddings}"
            raise UserError(f"{what} {found.max().item()} does not exist", hint)
        if what != "hubert" and len(found) and int(found.min()) < 0:
            raise UserError(f"{what} {int(found.min())} does not exist", hint="numbers start at 0")
        return found.long().to(self.device)

    def _stretched(self, ids: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Pitch and style at the rate of the codes, ended with their last value; UserError when one is longer or
        shorter than the codes by more than one of its units."""
        codes = len(ids["hubert"])
        rates = {name: round(self.hops[name] / self.shape.code_hop_size) for name in ids.keys() - {"hubert"}}
        # Every 100 s lack a code, of which pitch and style know nothing: those of long audio are no longer in step.
        apart = any(abs(len(ids[name]) * rate - codes) > rate for name, rate in rates.items())
        found = {"hubert": ids["hubert"]}
        for name, rate in rates.items():
            pieces = [(ids[name], codes)]
            if apart:
                split = ids[name].split(max(1, _PIECE // self.hops[name]))
                pieces = [(part, _PIECE_CODES) for part in split[:-1]]
                pieces.append((split[-1], codes - _PIECE_CODES * len(pieces)))
            if any(not len(part) or abs(len(part) * rate - count) > rate for part, count in pieces):
                hint = "give streams of the same audio, or as many of each"
                raise UserError(f"{len(ids[name])} {name} units do not go with {codes} phonetic units", hint)
            found[name] = torch.cat([_at_rate(part, rate, count) for part, count in pieces])
        return found


def _at_rate(values: torch.Tensor, rate: int, count: int) -> torch.Tensor:
    values = values.repeat_interleave(rate)
    return torch.cat([values, values[-1:].expand(max(0, count - len(values)))])[:count]


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: cannot be read: {e}", HINT) from e
