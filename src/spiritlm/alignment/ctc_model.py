"""A HuBERT or wav2vec 2.0 with a CTC head, in Hugging Face form (`HubertForCTC`, `Wav2Vec2ForCTC`), computed here.

Guarantee: the logits are those of transformers on the utterance alone; log-probabilities of an utterance depend on its
own samples only, bit for bit, however it is batched, on however many threads. Audio longer than 100 s is computed in
chunks of 100 s, between which attention does not reach, so that memory stays bounded. transformers is not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open

from spire.errors import UserError
from spire.foreign.open import encoder_directory
from spire.units.hubert import HubertShape
from spire.units.hubert_encoder import HubertEncoder
from spire.units.weights import digest, read_config, read_preprocessor, require, weight_files
from spiritlm.alignment.letters import Letters

RATE = 16_000
_HINT = "a CTC model's folder holds config.json, vocab.json, preprocessor_config.json and model.safetensors"


class CtcModel:
    """The model of a folder.

    Attributes: letters; classes (of the head); shape (of the encoder); hop (samples from frame to frame); identity
    (what results follow from, as texts).
    `language` chooses the letters where the vocabulary has several. UserError for another architecture, missing files,
    or a head that does not fit the vocabulary.
    """

    def __init__(
        self,
        folder: str | Path,
        language: str | None = None,
        threads: int = 1,
        device: str = "cpu",
        dtype: str = "float32",
    ):
        given, folder = Path(folder), encoder_directory(folder)
        config = read_config(folder)
        require(config, {"add_adapter": (False,), "adapter_attn_dim": (None,)}, Path(folder) / "config.json")
        preprocessor = read_preprocessor(folder, {"sampling_rate": (RATE,)})
        self.letters = Letters.read(given, language)
        layers = HubertShape.from_config(config, str(folder)).num_hidden_layers
        eps = 1e-7 if preprocessor.get("do_normalize", True) else None
        self._encoder = _Scorer(folder, layers, eps=eps, threads=threads, device=device, dtype=dtype)
        self.shape = self._encoder.shape
        precision = f"{dtype} on {device.partition(':')[0]}"
        self.identity = {"model": digest(folder), "precision": precision, "language": language or ""}
        self.hop = int(np.prod(self.shape.conv_stride))
        tensors = _head_tensors(folder, self.shape.do_stable_layer_norm)
        self._weight, self._bias = tensors["lm_head.weight"], tensors["lm_head.bias"]
        self._norm = (tensors.get("encoder.layer_norm.weight"), tensors.get("encoder.layer_norm.bias"))
        self.classes = len(self._weight)
        if self._weight.shape != (self.classes, self.shape.hidden_size) or self.letters.size > self.classes:
            raise UserError(f"{folder}: a head of {tuple(self._weight.shape)} for {self.letters.size} letters", _HINT)
        # The star stands behind all classes of the head, also behind those that no letter uses.
        self.letters.size = self.classes

    def log_probs(self, wavs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """float32 [N] at 16 kHz each to float32 [T, classes], in order; T is 0 for audio shorter than a frame."""
        return self._encoder.scores(wavs, self._scores, self.classes)

    @torch.inference_mode()
    def _scores(self, features: np.ndarray) -> np.ndarray:
        states = torch.from_numpy(np.ascontiguousarray(features))
        if self._norm[0] is not None:
            states = F.layer_norm(states, states.shape[1:], *self._norm, self.shape.layer_norm_eps)
        return F.linear(states, self._weight, self._bias).log_softmax(dim=1).numpy()

    def transcribe(self, wavs: Iterable[np.ndarray]) -> Iterator[str]:
        """What is said in each waveform, by the likeliest class of each frame."""
        for scores in self.log_probs(wavs):
            yield self.letters.text(scores.argmax(axis=1).tolist())

    def seconds(self, frame: float) -> float:
        """The time at which the stretch of audio that frame number `frame` stands for begins."""
        return (frame * self.hop + (self.shape.samples(1) - self.hop) / 2) / RATE


class _Scorer(HubertEncoder):
    """The encoder, whose features become scores chunk by chunk: those of an hour of audio are never held."""

    def scores(
        self, wavs: Iterable[np.ndarray], head: Callable[[np.ndarray], np.ndarray], classes: int
    ) -> Iterator[np.ndarray]:
        none = np.zeros((0, classes), np.float32)
        for parts in self._parts(wavs, lambda pieces: [head(x) for x in self._engine.features(pieces)]):
            yield np.concatenate([none, *parts])


def _head_tensors(folder: Path, normed: bool) -> dict[str, torch.Tensor]:
    """lm_head.{weight,bias} and, if `normed`, encoder.layer_norm.{weight,bias}, in float32."""
    wanted = ["lm_head.weight", "lm_head.bias"]
    if normed:
        wanted += ["encoder.layer_norm.weight", "encoder.layer_norm.bias"]
    found = {}
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118, a safetensors file is not iterable
                name = key.removeprefix("hubert.").removeprefix("wav2vec2.")
                if name in wanted:
                    found[name] = file.get_tensor(key).float().clone()
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UserError(f"{folder}: has no {missing[0]}: not a model with a CTC head", _HINT)
    return found
