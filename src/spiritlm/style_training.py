"""Training of the style classifier: a wav2vec 2.0 that hears one second, in the form of the published one (spiritlm 4).

As in the paper, style tokens are clusters of features that were tuned to predict a style and so have dropped the
speaker (papers 2.3). The encoder learns to name the style of each second. Then the means of its projected features are
clustered within each style, and the classifier of the file is the search for the nearest of all these centroids:
argmax of 2 c . x - |c|^2, a linear layer. So token n belongs to the style that `id2label` of config.json names,
"happy.0", "happy.1", ... Where no styles are known, `spiritlm.style_clusters` makes labels of another kind, which the
classifier then names itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from spire.audio import load_utterance
from spire.errors import UserError
from spire.files import replaced_folder
from spire.manifest import Utterance
from spire.progress import Progress
from spire.training.snapshots import Checkpoints
from spire.units.hubert import Hubert, HubertShape
from spire.units.hubert_encoder import normalize_wav
from spire.units.kmeans import fit
from spiritlm.learning import Learner, learn
from spiritlm.style import FRAMES


@dataclass(frozen=True)
class Training:
    """Settings of a run. `seconds`: length of a crop, whole seconds; `tokens`: style tokens in the end; `projection`:
    width of the features that are clustered; `cluster_seconds`: speech that is clustered; `freeze_convolutions`: they
    stay as they were."""

    steps: int = 2000
    batch: int = 16
    seconds: int = 2
    rate: float = 1e-3
    projection: int = 256
    tokens: int = 100
    cluster_seconds: float = 36_000.0
    freeze_convolutions: bool = False
    seed: int = 1


class StyleNetwork(nn.Module):
    """Encoder, projector and classifier with the names of transformers.Wav2Vec2ForSequenceClassification."""

    def __init__(self, encoder: Hubert, projection: int, labels: int):
        super().__init__()
        self.wav2vec2 = encoder
        self.projector = nn.Linear(encoder.shape.hidden_size, projection)
        self.classifier = nn.Linear(projection, labels)

    def pooled(self, wavs: torch.Tensor) -> torch.Tensor:
        """Normalized samples [B, N] to the means of projected features over each 50 frames, [B, chunks, projection];
        the last chunk may be shorter."""
        states = self.wav2vec2.layer(self.wav2vec2.frames(wavs), self.wav2vec2.shape.num_hidden_layers)
        return torch.stack([chunk.mean(dim=1) for chunk in self.projector(states).split(FRAMES, dim=1)], dim=1)


def fresh(shape: HubertShape) -> Hubert:
    """A network of random weights whose convolutions keep the size of what they are given."""
    model = Hubert(shape)
    for conv in model.feature_extractor.conv_layers:
        nn.init.kaiming_normal_(conv.conv.weight)
        if conv.conv.bias is not None:
            nn.init.zeros_(conv.conv.bias)
    nn.init.normal_(model.feature_projection.projection.weight, std=shape.conv_dim[-1] ** -0.5)
    for layer in model.encoder.layers.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.02 if layer.in_features != layer.out_features else 0.05)
            nn.init.zeros_(layer.bias)
    return model


class StyleCrops:
    """Random stretches of labelled utterances, labels balanced. `labels`: for each utterance one label for all of it,
    or one for each of its seconds, int64."""

    def __init__(self, utterances: Sequence[Utterance], labels: Sequence[np.ndarray], samples: int, hop: int):
        self.utterances, self.labels, self.samples, self.hop = utterances, labels, samples, hop
        first = np.array([label[0] for label in labels])
        self._of_label = [np.flatnonzero(first == label) for label in np.unique(first)]

    def batch(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 [size, samples], normalized over whole utterances, and int64 [size, seconds]."""
        wavs, labels = [], []
        for group in rng.integers(0, len(self._of_label), size):
            members = self._of_label[group]
            i = int(members[rng.integers(0, len(members))])
            wav = normalize_wav(load_utterance(self.utterances[i]))
            if len(wav) < self.samples:
                wav = np.resize(wav, self.samples)  # again from its beginning
            second = FRAMES * self.hop
            whole = (len(wav) - self.samples) // second
            start = int(rng.integers(0, whole + 1)) * second
            if len(self.labels[i]) == 1:
                start = int(rng.integers(0, len(wav) - self.samples + 1))
            wavs.append(wav[start : start + self.samples])
            seconds = np.arange(self.samples // second + 1)[: max(1, round(self.samples / second))]
            labels.append(self.labels[i][np.minimum(start // second + seconds, len(self.labels[i]) - 1)])
        return np.stack(wavs), np.stack(labels)


def style_labels(utterances: Sequence[Utterance], field: str = "style") -> tuple[list[str], list[np.ndarray]]:
    """The styles, sorted, and the label of each utterance [1]; UserError: one has none, or there is only one style."""
    missing = [u.id for u in utterances if not isinstance(u.extra.get(field), str)]
    if missing:
        hint = "give --labels prosody to make labels where there are none"
        raise UserError(f"{len(missing)} utterances have no {field!r}, the first {missing[0]}", hint)
    names = sorted({u.extra[field] for u in utterances})
    if len(names) < 2:
        raise UserError(f"one {field} only: {names}", hint="give speech of several styles")
    return names, [np.array([names.index(u.extra[field])]) for u in utterances]


def train(
    utterances: Sequence[Utterance],
    names: Sequence[str],
    labels: Sequence[np.ndarray],
    encoder: Callable[[], Hubert],
    settings: Training,
    out: str | Path,
    cluster: bool = True,
    checkpoints: Checkpoints | None = None,
    device: str = "cpu",
) -> list[dict]:
    """Train and write the folder (config.json, model.safetensors, training.json); returns the learning curve.

    `labels` number the `names`. With `cluster`, tokens are clusters within the labels; else the labels themselves.
    `encoder` makes the network to start from, after the seed was set. UserError: fewer tokens than names.
    """
    if cluster and settings.tokens < len(names):
        raise UserError(f"{settings.tokens} tokens for {len(names)} styles", hint="at least a token for each style")
    torch.manual_seed(settings.seed)
    network = StyleNetwork(encoder(), settings.projection, len(names))
    network.wav2vec2.masked_spec_embed = nn.Parameter(torch.zeros(network.wav2vec2.shape.hidden_size), False)
    if settings.freeze_convolutions:
        network.wav2vec2.feature_extractor.requires_grad_(False)
    network.to(device)
    shape = network.wav2vec2.shape
    hop = int(np.prod(shape.conv_stride))
    crops = StyleCrops(utterances, labels, shape.samples(FRAMES * settings.seconds), hop)
    learner = Learner({"style": network}, device=device)

    def loss_of(rng: np.random.Generator, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        wavs, targets = (torch.from_numpy(part).to(device) for part in crops.batch(rng, settings.batch))
        logits = network.classifier(network.pooled(wavs)).flatten(0, 1)
        targets = targets.flatten()
        right = (logits.argmax(dim=1) == targets).float().mean().item()
        return F.cross_entropy(logits, targets), {"accuracy": right}

    curve = learn(learner, loss_of, settings.steps, settings.rate, settings.seed, "style", checkpoints=checkpoints)
    network.eval().requires_grad_(False)
    named = list(names)
    if cluster:
        named = _cluster(network, utterances, names, labels, settings, device)
    write_style(out, network.cpu(), named, {"settings": asdict(settings), "curve": curve})
    if checkpoints:
        checkpoints.finished(learner)
    return curve


def _cluster(
    network: StyleNetwork,
    utterances: Sequence[Utterance],
    names: Sequence[str],
    labels: Sequence[np.ndarray],
    settings: Training,
    device: str,
) -> list[str]:
    """Give the network the classifier of nearest centroids; returns the names of the tokens."""
    found: list[list[np.ndarray]] = [[] for _ in names]
    held = 0.0
    with Progress("cluster", total=settings.cluster_seconds, unit="s of audio") as progress:
        for i in np.random.default_rng([settings.seed, 0]).permutation(len(utterances)):
            wav = normalize_wav(load_utterance(utterances[i]))
            if network.wav2vec2.shape.frames(len(wav)) < FRAMES:
                continue
            with torch.inference_mode():
                pooled = network.pooled(torch.from_numpy(wav)[None].to(device))[0].cpu().numpy()
            # A short last chunk is noisier than what most tokens are made of.
            for second, row in enumerate(pooled[: network.wav2vec2.shape.frames(len(wav)) // FRAMES]):
                found[int(labels[i][min(second, len(labels[i]) - 1)])].append(row)
            held += utterances[i].duration
            progress.advance(utterances[i].duration)
            if held >= settings.cluster_seconds:
                break
    shares = shared_out(settings.tokens, [len(rows) for rows in found])
    centroids, tokens = [], []
    for name, rows, share in zip(names, found, shares, strict=True):
        if len(rows) < share:
            raise UserError(f"style {name!r}: {len(rows)} seconds for {share} tokens", hint="lower --tokens")
        centroids.append(fit(np.stack(rows), share, settings.seed))
        tokens += [f"{name}.{j}" for j in range(share)]
    table = torch.from_numpy(np.concatenate(centroids))
    network.classifier = nn.Linear(table.shape[1], len(table))
    network.classifier.weight.data = 2 * table
    network.classifier.bias.data = -(table.double() ** 2).sum(dim=1).float()
    return tokens


def shared_out(tokens: int, sizes: Sequence[int]) -> list[int]:
    """`tokens` in proportion to the sizes, at least one each, the largest remainders first."""
    wanted = np.maximum(1.0, tokens * np.asarray(sizes, np.float64) / max(1, sum(sizes)))
    shares = np.floor(wanted * min(1.0, tokens / wanted.sum())).astype(int).clip(1)
    while shares.sum() < tokens:
        shares[np.argmax(wanted - shares)] += 1
    while shares.sum() > tokens:
        shares[np.argmax(np.where(shares > 1, shares - wanted, -np.inf))] -= 1
    return shares.tolist()


def write_style(out: str | Path, network: StyleNetwork, names: Sequence[str], record: dict) -> None:
    """Write the folder in the form of the published one: config.json with the names of the tokens, weights, record."""
    shape = asdict(network.wav2vec2.shape) | {"model_type": "wav2vec2"}
    config = shape | {
        "architectures": ["Wav2Vec2ForSequenceClassification"],
        "hidden_act": "gelu",
        "feat_extract_activation": "gelu",
        "num_feat_extract_layers": len(shape["conv_dim"]),
        "apply_spec_augment": False,
        "use_weighted_layer_sum": False,
        "classifier_proj_size": network.projector.out_features,
        "num_labels": len(names),
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
        "dtype": "float32",
    }
    with replaced_folder(out) as partial:
        for name, content in (("config.json", config), ("training.json", record)):
            (partial / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        tensors = {name: value.contiguous().clone() for name, value in network.state_dict().items()}
        save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
