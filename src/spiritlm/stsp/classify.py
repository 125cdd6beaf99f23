"""What sentiment text and speech have, by classifiers in Hugging Face form (spiritlm 9).

Speech: `Wav2Vec2ForSequenceClassification` and its like, by transformers; or a folder of the project's own style
classifier, whose labels are style tokens ("happy.0"): there every second votes, and transformers is not needed. Text: a
sequence classifier and its tokenizer. Labels are read from config.json and compared without case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spire.audio import RATE, read_audio
from spire.decoding.hf_backend import read_config
from spire.errors import UserError
from spiritlm.stsp.data import sentiment_of

LEAST = 400  # samples: shorter audio has no frame


class SpeechClassifier:
    """A folder; `of(paths)` gives the sentiment of each file, "" for one that is too short."""

    def __init__(self, folder: str | Path, device: str = "cpu"):
        self.labels = _labels(folder)
        self._votes = all("." in label for label in self.labels)
        if self._votes:
            from spiritlm.style import StyleTokenizer

            self._model = StyleTokenizer(folder, device)
        else:
            self._model, self._prepare = _hub_audio(folder, device)

    def of(self, paths: Sequence[str | Path]) -> list[str]:
        return [self.of_samples(read_audio(path)) for path in paths]

    def of_samples(self, wav: np.ndarray) -> str:
        """float32 [N] at 16 kHz."""
        if len(wav) < LEAST:
            return ""
        label = self._vote(wav) if self._votes else self._whole(wav)
        return sentiment_of(label, "the speech classifier") if label else ""

    def _vote(self, wav: np.ndarray) -> str:
        names = [self.labels[int(i)].split(".")[0] for i in self._model.units(wav)]
        # The first of several that are equally frequent.
        return Counter(names).most_common(1)[0][0] if names else ""

    def _whole(self, wav: np.ndarray) -> str:
        import torch

        given = self._prepare(wav, sampling_rate=RATE, return_tensors="pt").to(self._model.device)
        with torch.inference_mode():
            return self.labels[int(self._model(**given).logits[0].argmax())]


class TextClassifier:
    """A folder; `of(texts)` gives the sentiment of each."""

    def __init__(self, folder: str | Path, device: str = "cpu"):
        self.labels = _labels(folder)
        try:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer

            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            model = AutoModelForSequenceClassification.from_pretrained(str(folder), local_files_only=True)
        except ImportError as e:
            raise UserError("transformers is not installed", hint="pip install -r requirements-spiritlm.txt") from e
        except (OSError, ValueError, KeyError) as e:
            hint = "a folder of config.json, weights and tokenizer; STSP's text classifier has the tokenizer of "
            hint += "j-hartmann/sentiment-roberta-large-english-3-classes, whose files belong beside its weights"
            raise UserError(f"{folder}: cannot be loaded: {(str(e).splitlines() or ['?'])[0]}", hint) from e
        self._model = model.to(device).eval()

    def of(self, texts: Sequence[str]) -> list[str]:
        import torch

        found = []
        for text in texts:
            given = self._tokenizer(text, return_tensors="pt", truncation=True).to(self._model.device)
            with torch.inference_mode():
                label = self.labels[int(self._model(**given).logits[0].argmax())]
            found.append(sentiment_of(label, "the text classifier"))
        return found


def _labels(folder: str | Path) -> list[str]:
    named = read_config(Path(folder)).get("id2label")
    if not isinstance(named, dict) or sorted(map(int, named)) != list(range(len(named))):
        raise UserError(f"{folder}: config.json names no labels", hint="give a classifier with id2label")
    return [str(named[str(i)]).lower() for i in range(len(named))]


def _hub_audio(folder: str | Path, device: str):
    try:
        from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

        model = AutoModelForAudioClassification.from_pretrained(str(folder), local_files_only=True)
        if (Path(folder) / "preprocessor_config.json").is_file():
            prepare = AutoFeatureExtractor.from_pretrained(str(folder), local_files_only=True)
        else:
            prepare = Wav2Vec2FeatureExtractor()
    except ImportError as e:
        raise UserError("transformers is not installed", hint="pip install -r requirements-spiritlm.txt") from e
    except (OSError, ValueError, KeyError) as e:
        raise UserError(f"{folder}: cannot be loaded: {(str(e).splitlines() or ['?'])[0]}") from e
    return model.to(device).eval(), prepare
