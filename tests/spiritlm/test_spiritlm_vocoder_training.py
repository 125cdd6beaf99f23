"""A vocoder learns from speech and units, its folder is one of the release, and a stopped run goes on bit for bit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from spire.audio import write_wav
from spire.errors import UserError
from spire.manifest import Utterance, write_manifest
from spire.training.settings import Settings
from spiritlm.vocoder.discriminators import Discriminators, DiscriminatorShape, PeriodDiscriminator
from spiritlm.vocoder.engine import VocoderEngine
from spiritlm.vocoder.losses import (
    MelDistance,
    PeriodicityDistance,
    ShiftedDistance,
    SpectralDistance,
    adversarial_loss,
    discriminator_loss,
)
from spiritlm.vocoder.mel import log_mel, mel_filters
from spiritlm.vocoder.recipe import Recipe
from spiritlm.vocoder.released import released_tensors
from spiritlm.vocoder.segments import Segments, aligned, read_training_set, unit_rows
from spiritlm.vocoder.training import VocoderRun, train_vocoder
from spiritlm.vocoder.vocoder import Vocoder

TONES = (200, 400, 700, 1100)  # Hz of the four units


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twelve utterances of 24 units, each a tone; two speakers differ in loudness."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(1)
    utterances, lines = [], []
    for i in range(12):
        codes = np.repeat(rng.integers(0, 4, 8), 3)
        phase = np.cumsum(np.repeat([TONES[c] for c in codes], 640)) * 2 * np.pi / 16_000
        wav = (0.2 + 0.3 * (i % 2)) * np.sin(phase)
        write_wav(folder / f"{i}.wav", np.pad(wav, (0, 200)).astype(np.float32))
        style = ("neutral", "sad", "happy")[i % 3]
        utterances.append(
            Utterance(str(i), f"{i}.wav", (len(wav) + 200) / 16_000, "en", "tones", f"s{i % 2}", extra={"style": style})
        )
        pitch, units = rng.integers(0, 64, 12), {"id": str(i), "hubert": " ".join(map(str, codes))}
        lines.append(units | {"pitch": " ".join(map(str, pitch)), "style": "7"})
    write_manifest(folder / "manifest.jsonl", utterances)
    (folder / "streams.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    content = json.loads(Path("configs/hifigan/smoke.json").read_text())
    content["discriminators"] = {
        "periods": [2, 3],
        "period_channels": [4, 8],
        "scales": 1,
        "scale_layers": [[4, 15, 4, 1]],
    }
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    path.write_text(json.dumps(content))
    return path


def make_run(corpus, recipe, steps=12, expressive=False, **changes):
    settings = Settings(
        steps=steps,
        tokens_per_step=24,
        lr=5e-3,
        warmup=2,
        beta1=0.8,
        beta2=0.99,
        clip=1e3,
        precision="fp32",
        log_every=4,
    )
    base = {"batch": 4, "frames": 6, "joined": 0.5, "dev": None}
    paths = (recipe, expressive, corpus / "manifest.jsonl", corpus / "streams.jsonl")
    return VocoderRun(*paths, settings, **(base | changes))


def engine_and_source(corpus, recipe, tmp_path, joined, steps=1000):
    made = Recipe.read(recipe)
    data = read_training_set(
        corpus / "manifest.jsonl", corpus / "streams.jsonl", False, made.generator, "neutral", tmp_path
    )
    settings = Settings(steps=steps, tokens_per_step=24, lr=5e-3, beta1=0.8, beta2=0.99, clip=1e3, precision="fp32")
    return VocoderEngine(made, False, 2, 3, settings, joined=joined), Segments(data, 4, 6, 1)


def test_the_loss_falls_and_the_discriminators_learn_to_tell(corpus, recipe, tmp_path):
    engine, source = engine_and_source(corpus, recipe, tmp_path, joined=20)
    untouched = [p.clone() for p in engine.discriminators.parameters()]
    mels, told, durations = [], [], []
    for step in range(40):
        losses = engine.forward_backward(next(source))
        engine.step(5e-3, 1e3)
        mels.append(float(losses.loss))
        durations.append(float(losses.sums[5 * 4 + 1]))
        if step == 19:
            assert all((p == q).all() for p, q in zip(engine.discriminators.parameters(), untouched, strict=True))
        if step >= 20:
            told.append(float(losses.sums[4 * 4 + 1]))
            assert losses.counts.tolist()[1::4] == [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    assert np.mean(mels[-5:]) < 0.7 * np.mean(mels[:5])
    assert np.mean(durations[-5:]) < 0.5 * np.mean(durations[:5])
    assert np.mean(told[-5:]) < 0.9 * told[0]


def test_spectra_first(corpus, recipe, tmp_path):
    """Before waveforms the first stages alone learn; what reads their spectra is not written."""
    content = json.loads(recipe.read_text())
    content["losses"] |= {"envelope": 10, "envelope_stages": 1, "periodicity": 5, "shifted": 5, "pulses": 5}
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(content))
    engine, source = engine_and_source(corpus, path, tmp_path, joined=31)
    engine.sounding = 30
    late = [p.clone() for p in engine.model.generator.ups[1:].parameters()]
    watched = []
    for _ in range(30):
        losses = engine.forward_backward(next(source))
        engine.step(5e-3, 1e3)
        watched.append(float(losses.loss))
    assert np.mean(watched[-3:]) < 0.8 * watched[0] and losses.counts.nonzero().flatten().tolist() == [21, 25]
    moved = [(p - q).abs().max() for p, q in zip(engine.model.generator.ups[1:].parameters(), late, strict=True)]
    assert max(moved) < 1e-2  # by weight decay
    losses = engine.forward_backward(next(source))
    assert losses.counts.tolist()[1::4] == [1, 1, 0, 0, 0, 1, 1, 1, 1, 1]
    assert all("envelope" not in name for name in released_tensors(engine.model))
    rows = engine._tensors(next(source))[1]
    samples, spectrum = engine.model.both(rows, True)
    torch.testing.assert_close(samples, engine.model(rows))
    assert spectrum.shape == (4, 80, 6 * 4) and engine.model.both(rows, False)[0] is None
    with pytest.raises(UserError, match="no envelope"):
        train_vocoder(make_run(corpus, recipe, sounding=0.5), tmp_path / "out", tmp_path / "log.jsonl")


def test_gradients_are_those_of_the_losses(corpus, recipe, tmp_path):
    """The shared pass gives the gradients that two separate passes would."""
    engine, source = engine_and_source(corpus, recipe, tmp_path, joined=0)
    batch = next(source)
    engine.model.eval(), engine.discriminators.eval()  # no dropout, and spectral normalization stands still
    engine.forward_backward(batch)
    shared = [p.grad.clone() for p in engine.model.parameters()]
    shared_d = [p.grad.clone() for p in engine.discriminators.parameters()]
    for optimizer in engine.optimizers:
        optimizer.grads.zero_()
    wav, rows, runs, lengths = engine._tensors(batch)
    found = engine.model(rows)
    real, fake = engine.discriminators(wav), engine.discriminators(found)
    features = sum(
        (a.detach() - b).abs().mean()
        for (_, x), (_, y) in zip(real, fake, strict=True)
        for a, b in zip(x, y, strict=True)
    )
    total = 45 * engine.mel(found, wav) + engine.spectral(found, wav) + engine.model.duration_loss(runs, lengths)
    (total + adversarial_loss(fake) + 2 * features).backward(inputs=list(engine.model.parameters()))
    for ours, p in zip(shared, engine.model.parameters(), strict=True):
        torch.testing.assert_close(ours, p.grad, rtol=2e-3, atol=1e-3)
    told = discriminator_loss(engine.discriminators(wav), engine.discriminators(found.detach()))
    told.backward()
    for ours, p in zip(shared_d, engine.discriminators.parameters(), strict=True):
        torch.testing.assert_close(ours, p.grad, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("expressive", [False, True])
def test_the_folder_opens_and_computes_what_was_trained(corpus, recipe, tmp_path, expressive, monkeypatch):
    kept = {}
    monkeypatch.setattr(
        "spiritlm.vocoder.training.write_vocoder",
        lambda folder, model, *more: (kept.update(model=model), write(folder, model, *more)),
    )
    from spiritlm.vocoder.released import write_vocoder as write

    record = train_vocoder(make_run(corpus, recipe, 6, expressive), tmp_path / "out", tmp_path / "log.jsonl", "0")
    vocoder = Vocoder(tmp_path / "out")
    assert vocoder.speakers == ["s0", "s1"] and vocoder.expressive == expressive
    assert vocoder.styles == ([] if expressive else ["conv-default", "happy", "sad"])
    assert record == json.loads((tmp_path / "out/training.json").read_text())
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "config.json", "generator.pt", "speakers.txt", "styles.txt", "training.json",
    ]  # fmt: skip
    streams = json.loads((corpus / "streams.jsonl").read_text().splitlines()[0])
    tables = {"dict": 501, "f0_dict": 64, "style_dict": 100} if expressive else {"dict": 501}
    rows = {name: torch.from_numpy(v)[None].long() for name, v in unit_rows(streams, tables, "x").items()}
    for name, value in (("spkr", 1),) if expressive else (("spkr", 1), ("style", 2)):
        rows[name] = torch.full_like(rows["dict"], value)
    with torch.no_grad():
        trained = kept["model"].eval()(rows)[0].numpy()
    style = {} if expressive else {"style_id": 2}
    found = vocoder.decode(streams, speaker_id=1, dur_pred=False, not_dedup_code=True, **style)
    np.testing.assert_allclose(found, trained, rtol=0, atol=1e-5)
    assert len(vocoder.durations([1, 2, 3])) == 3 and "spkr.weight" in released_tensors(kept["model"])


@pytest.mark.parametrize("pulses", [0, 5])
def test_a_stopped_run_goes_on_bit_for_bit(corpus, recipe, tmp_path, monkeypatch, pulses):
    content = json.loads(recipe.read_text())
    content["losses"]["pulses"] = pulses
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(content))
    train_vocoder(make_run(corpus, recipe), tmp_path / "whole", tmp_path / "whole.jsonl", "0")
    calls = []
    real = VocoderEngine.step

    def dies(self, lr, clip):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return real(self, lr, clip)

    monkeypatch.setattr(VocoderEngine, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        train_vocoder(make_run(corpus, recipe), tmp_path / "out", tmp_path / "log.jsonl", "4")
    assert not (tmp_path / "out").exists() and list((tmp_path / "out.checkpoints").glob("step-00000008-*"))
    assert not list(tmp_path.glob(".*.samples"))
    train_vocoder(make_run(corpus, recipe), tmp_path / "out", tmp_path / "log.jsonl", "4")
    assert len(calls) == 9 + 4
    for name in ("generator.pt", "config.json", "training.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not (tmp_path / "out.checkpoints").exists()


def test_a_run_watches_held_out_speech(corpus, recipe, tmp_path):
    held_out = (corpus / "manifest.jsonl", corpus / "streams.jsonl")
    run = make_run(corpus, recipe, 4, dev=held_out, dev_every=2)
    train_vocoder(run, tmp_path / "out", tmp_path / "log.jsonl", "0")
    lines = [json.loads(line) for line in (tmp_path / "dev_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4] and lines[1]["eval_loss"] < lines[0]["eval_loss"]


def test_batches_follow_from_seed_and_number(corpus, recipe, tmp_path):
    _, source = engine_and_source(corpus, recipe, tmp_path, 0)
    batches = [next(source) for _ in range(3)]
    source.restore({"step": 2})
    again = next(source)
    assert (again.wav == batches[2].wav).all() and (again.rows["dict"] == batches[2].rows["dict"]).all()
    assert (batches[0].wav != batches[1].wav).any() and batches[0].tokens == 24
    # Samples are those of the units beside them: the tone of each unit is its strongest frequency.
    for wav, codes in zip(batches[0].wav, batches[0].rows["dict"], strict=True):
        for i, code in enumerate(codes):
            middle = wav[i * 640 + 60 : i * 640 + 580] * np.hanning(520)
            peak = np.argmax(np.abs(np.fft.rfft(middle, 16_000)))
            assert abs(peak - TONES[code]) < 20
    known = batches[0].runs >= 0
    assert (batches[0].lengths[known] % 3 == 0).all() and batches[0].lengths.sum() == 4 * 24


def test_pitch_and_style_come_at_the_rate_of_units():
    rows = unit_rows(
        {"hubert": "1 2 3 4 5", "pitch": "8 9", "style": "3"}, {"dict": 9, "f0_dict": 64, "style_dict": 9}, "x"
    )
    assert rows["f0_dict"].tolist() == [8, 8, 9, 9, 9] and rows["style_dict"].tolist() == [3] * 5
    with pytest.raises(UserError, match="pitch 64"):
        unit_rows({"hubert": "1 2", "pitch": "64"}, {"dict": 9, "f0_dict": 64}, "x")
    with pytest.raises(UserError, match="do not go with"):
        unit_rows({"hubert": "1 2 3 4 5 6", "pitch": "6"}, {"dict": 9, "f0_dict": 64}, "x")
    with pytest.raises(UserError, match="no pitch units"):
        unit_rows({"hubert": "1"}, {"dict": 9, "f0_dict": 64}, "x")


def test_pitch_and_style_of_long_audio_stay_in_step():
    # Four pieces of 100 s: each has 2,499 phonetic units, 1,250 pitches and 100 styles.
    streams = {
        "hubert": " ".join(["1"] * (4 * 2499)),
        "pitch": " ".join(str(piece) for piece in range(4) for _ in range(1250)),
        "style": " ".join(str(piece) for piece in range(4) for _ in range(100)),
    }
    rows = unit_rows(streams, {"dict": 9, "f0_dict": 64, "style_dict": 9}, "x")
    wanted = np.repeat(np.arange(4), 2499)
    assert (rows["f0_dict"] == wanted).all() and (rows["style_dict"] == wanted).all()


def test_audio_encoded_in_pieces_is_cut_like_its_units():
    wav = np.arange(1_600_000 + 1300, dtype=np.float32)
    found = aligned(wav, 2499 + 1, "x")
    assert found[-640] == 1_600_000 and found[-641] == 2499 * 640 - 1
    with pytest.raises(UserError, match="do not go with"):
        aligned(wav, 2400, "x")


def test_filters_are_slaneys():
    """Against the triangles written out one by one."""
    filters = mel_filters(20, 512, 100.0, 7000.0)
    mel = np.linspace(100 * 3 / 200, 15 + np.log(7) * 27 / np.log(6.4), 22)
    edges = [m * 200 / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27) for m in mel]
    wanted = np.zeros((20, 257))
    for k in range(20):
        low, middle, high = edges[k : k + 3]
        for b in range(257):
            f = b * 16_000 / 512
            side = (f - low) / (middle - low) if f <= middle else (high - f) / (high - middle)
            wanted[k, b] = max(0.0, side) * 2 / (high - low)
    np.testing.assert_allclose(filters, wanted, atol=1e-7)
    assert np.allclose(mel_filters().sum(axis=1) * 16_000 / 1024, 1, atol=0.1)


def test_spectra_of_a_tone():
    wav = (0.5 * np.sin(np.arange(16_000) * 2 * np.pi * 1000 / 16_000)).astype(np.float32)
    spectrum = log_mel(wav)
    assert spectrum.shape == (101, 80) and spectrum.dtype == np.float32 and log_mel(wav[:0]).shape == (0, 80)
    assert np.argmax(spectrum[50]) == np.argmax(mel_filters()[:, 64])
    quieter, heard = log_mel(wav * 0.1)[50], spectrum[50] > -35
    assert heard.sum() > 2 and spectrum.min() == pytest.approx(-60)
    np.testing.assert_allclose(quieter[heard], spectrum[50][heard] - 20, atol=1e-3)
    mel, tensor = MelDistance(), torch.from_numpy(wav)[None]
    assert mel(tensor, tensor) == 0
    loud, soft = mel.log_mel(tensor), mel.log_mel(tensor / 10)
    assert float((loud - soft).max()) == pytest.approx(np.log(10), rel=1e-3)
    spectral = SpectralDistance((256, 512))
    assert spectral(tensor, tensor) == 0 and spectral(tensor * 0.5, tensor) > 0.5


def test_periodicity_hears_the_period_and_not_the_phase():
    t = np.arange(8000) / 16_000
    voice, other = (
        torch.from_numpy(sum(np.sin(2 * np.pi * k * f * t + k) / k for k in range(1, 9))[None]).float() * 0.1
        for f in (130, 170)
    )
    noise = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(1))
    distance = PeriodicityDistance()
    correlations, energies = distance.correlations(voice)
    assert int(torch.argmax(correlations[0, :, 10])) + 40 == round(16_000 / 130)
    assert float((correlations[0, :, 10] / energies[0, :, 10]).max()) == pytest.approx(1, abs=0.02)
    assert distance(0.5 * torch.roll(voice, 40, 1), voice) < 0.1 * min(distance(other, voice), distance(noise, voice))
    silence = torch.zeros(1, 8000)
    assert distance(silence, silence) == 0 and torch.isfinite(distance(voice, silence))


def test_waveforms_are_compared_at_their_best_shift():
    rng = np.random.default_rng(1)
    pulses = np.zeros(8000)
    pulses[::110] = 1
    voice = torch.from_numpy(np.convolve(pulses, rng.standard_normal(60) * 0.9 ** np.arange(60))[None, :8000]).float()
    noise = torch.from_numpy(rng.standard_normal((1, 8000))).float()
    distance = ShiftedDistance()
    assert distance(0.5 * torch.roll(voice, 71, 1), voice) < 0.05 < 0.6 < distance(noise, voice)
    # Against every shift of every window, one by one.
    short = ShiftedDistance(window=64, hop=32, reach=10)
    ours, theirs = noise[:, :64], voice[:, 200:284]
    best, energy = short._best((ours * short.hann)[:, None], theirs[:, None])
    window = short.hann.square()
    products = [float((ours * window * theirs[:, k : k + 64]).sum()) for k in range(21)]
    energies = [float((window * theirs[:, k : k + 64].square()).sum()) for k in range(21)]
    wanted = int(np.argmax(np.array(products) / np.sqrt(np.array(energies) + 1e-4)))
    assert best.tolist() == [[wanted]] and float(energy) == pytest.approx(energies[wanted], rel=1e-3)
    silence = torch.zeros(1, 8000)
    assert torch.isfinite(distance(voice, silence)) and torch.isfinite(distance(silence, voice))


def test_columns_of_a_period_are_those_of_two_dimensional_convolutions():
    torch.manual_seed(1)
    part = PeriodDiscriminator(3, (4, 6))
    x = torch.randn(2, 100)
    rows = nn.functional.pad(x[:, None], (0, 2), mode="reflect").unflatten(2, (-1, 3))
    for conv, stride in zip(part.convs, (3, 1), strict=True):
        rows = nn.functional.leaky_relu(
            nn.functional.conv2d(rows, conv.weight[..., None], conv.bias, (stride, 1), (2, 0)), 0.1
        )
    rows = nn.functional.conv2d(rows, part.post.weight[..., None], part.post.bias, padding=(1, 0))
    scores, features = part(x)
    torch.testing.assert_close(scores, rows.transpose(2, 3).flatten(1))
    assert len(features) == 3


def test_published_sizes():
    recipe = Recipe.read("configs/hifigan/published.json")
    assert recipe.discriminators == DiscriminatorShape() and recipe.shape(True).model_in_dim == 512
    with torch.device("meta"):
        discriminators = Discriminators(recipe.discriminators)
    assert sum(p.numel() for p in discriminators.parameters()) == pytest.approx(70.7e6, rel=0.01)


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("losses", {"mel": 0}, "must be positive"),
        ("losses", {"melody": 1}, "melody"),
        ("generator", {"num_embeddings": 0}, "num_embeddings"),
        ("generator", {"upsample_rates": [4, 4, 4]}, "does not make 640"),
    ],
)
def test_a_recipe_that_makes_no_sense(recipe, tmp_path, section, change, message):
    content = json.loads(recipe.read_text())
    content[section] |= change
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        Recipe.read(path)


def test_streams_of_another_manifest(corpus, recipe, tmp_path):
    lines = (corpus / "streams.jsonl").read_text().splitlines()
    shuffled = tmp_path / "streams.jsonl"
    shuffled.write_text("\n".join(lines[::-1]) + "\n")
    run = make_run(corpus, recipe)
    with pytest.raises(UserError, match="in another place"):
        train_vocoder(VocoderRun(**(run.__dict__ | {"streams": shuffled})), tmp_path / "out", tmp_path / "log.jsonl")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*.samples"))
