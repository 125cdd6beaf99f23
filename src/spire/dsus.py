"""Speech to discrete units (DSUs) in a program's own process.

    from spire.dsus import Labeler

    labeler = Labeler("hubert_large_ll60k.pt", "kmeans_model")
    units = labeler.label("speech.wav")            # one string of private-use characters

The units of an utterance depend on that utterance alone. No code of a checkpoint or k-means file is run. For whole
corpora there is scripts/units_label.py, which survives kills and can be spread over machines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from spire.audio import RATE
from spire.datasets.corpus import Item, Reference
from spire.datasets.loader import decoded
from spire.errors import UserError
from spire.foreign.open import encoder_directory, open_kmeans
from spire.units.defaults import detected, layer_of
from spire.units.encoders import encoder_for
from spire.units.kmeans import KMeans
from spire.units.lines import FORMS, LineForm
from spire.waveforms import as_waveform

PUBLISHED_LAYER = 22  # of 24: SPIRE's units (spec 1)
_GIVEN = "given as samples"


class Labeler:
    """Labels speech with the units of one encoder layer and one k-means.

    ckpt_path: a fairseq `.pt` file (new and old style, fine-tuned or not), a folder in Hugging Face form, a hub id,
    or `mfcc`. km_path: a k-means as joblib, safetensors, .npy or .npz. feature_layer: 1-based; default: what the
    k-means file says, else 22. deduplicated: drop a unit that equals the one before it. dsu_format: "pua", "indices" or
    "extra_id". device: "cpu", "cuda", "cuda:1", or "auto", a GPU where there is one. dtype: "float32" (the published
    units exactly), "bfloat16", or "auto", which is bfloat16 on a GPU. eps, final_norm: of the encoder, where the
    k-means file does not say them (published: 1e-7, and dropped). threads: of torch on a CPU. revision and cache_dir:
    for hub ids and converted checkpoints.

    UserError when a file is missing, refused, or the two do not belong together.

    Attributes: encoder, kmeans, problems (what the last `label_many` could not read: {"item", "reason"}).
    """

    def __init__(
        self,
        ckpt_path: str | Path,
        km_path: str | Path,
        feature_layer: int | None = None,
        deduplicated: bool = True,
        dsu_format: str = "pua",
        *,
        device: str = "auto",
        dtype: str = "float32",
        eps: float | None = None,
        final_norm: str | None = None,
        threads: int = 1,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
    ):
        if dsu_format not in FORMS:
            raise UserError(f"unknown dsu_format {dsu_format!r}", hint="one of " + ", ".join(FORMS))
        self._form = LineForm(dsu_format, deduplicated)
        spec, cepstra = str(ckpt_path), str(ckpt_path) in ("mfcc", "mfccctx")
        if not cepstra:
            spec = str(encoder_directory(ckpt_path, cache_dir, revision))
            device, dtype = detected(device, dtype)
        self.kmeans = open_kmeans(km_path, None if cepstra else spec, revision=revision)
        layer = feature_layer
        if layer is None:
            layer = layer_of(self.kmeans, 0 if cepstra else PUBLISHED_LAYER)
        wanted = _with(self.kmeans, km_path, eps=None if eps is None else f"{eps:g}", final_norm=final_norm)
        place = {} if cepstra else {"device": device, "dtype": dtype}
        self.encoder = encoder_for(wanted, km_path, spec, layer, threads, **place)
        self.problems: list[dict[str, str]] = []

    def label(
        self, wav: object, indices_only: bool = False, *, sampling_rate: int = RATE, deduplicated: bool | None = None
    ) -> str | list[int]:
        """The units of one utterance: a string, or a list of numbers with `indices_only`. Empty when too short.

        wav: a path, an array, a tensor, or another form that `spire.waveforms.as_waveform` knows; `sampling_rate` is
        that of samples (files say their own). UserError when it cannot be read.
        """
        form = self._form if deduplicated is None else LineForm(self._form.form, deduplicated)
        labels = next(iter(self.encoder.label_stream([as_waveform(wav, sampling_rate)], self.kmeans)))
        units = form.units(labels)
        return units if indices_only else form.line(units)

    def label_many(
        self, wavs: Iterable[object], indices_only: bool = False, *, sampling_rate: int = RATE, workers: int = 0
    ) -> Iterator[str | list[int]]:
        """The units of each of `wavs`, in order, as `label`; reads ahead as far as batches pay, never the whole input.

        `workers` processes decode files. One that cannot be read gives an empty result, and `problems` says why.
        UserError when `wavs` is a single path.
        """
        if isinstance(wavs, str | bytes | Path):
            raise UserError(f"{str(wavs)[:80]!r} is one utterance", hint="label(...), or label_many([...])")
        self.problems = []
        for labels in self.encoder.label_stream(self._waves(wavs, sampling_rate, workers), self.kmeans):
            units = self._form.units(labels)
            yield units if indices_only else self._form.line(units)

    def _waves(self, wavs: Iterable[object], rate: int, workers: int) -> Iterator[np.ndarray]:
        given: deque[np.ndarray] = deque()

        def items() -> Iterator[Item]:
            for number, wav in enumerate(wavs):
                if isinstance(wav, str | Path):
                    yield Item(str(wav), Reference(str(wav)))
                    continue
                try:
                    given.append(as_waveform(wav, rate))
                    yield Item(str(number), None, problem=_GIVEN)
                except UserError as e:
                    yield Item(str(number), None, problem=e.message)

        for utterance in decoded(items(), workers):
            if utterance.reason is _GIVEN:
                yield given.popleft()
                continue
            if utterance.reason:
                self.problems.append({"item": utterance.item.id, "reason": utterance.reason})
            yield utterance.samples


def _with(kmeans: KMeans, path: str | Path, **wanted: str | None) -> KMeans:
    """The k-means, saying also what is wanted of the encoder; UserError when it says otherwise already."""
    for key, value in wanted.items():
        said = kmeans.metadata.get(key)
        if value is not None and said is not None and said != value:
            raise UserError(f"{path} was made with {key} {said}, not {value}", hint=f"leave out {key}")
    return KMeans(kmeans.centroids, kmeans.metadata | {k: v for k, v in wanted.items() if v is not None})
