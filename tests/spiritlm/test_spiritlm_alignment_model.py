"""The CTC model: the same numbers and letters as transformers, training that repeats and resumes, words in time."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spire.audio import load_utterance, write_wav
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest, write_manifest
from spire.training.settings import Settings
from spire.units.hubert import HubertShape
from spire.units.products import set_product_dtype
from spiritlm.alignment import training
from spiritlm.alignment.aligner import EDGE, Aligner
from spiritlm.alignment.augment import augment
from spiritlm.alignment.convolution import RoundedConvolution
from spiritlm.alignment.ctc_model import CtcModel
from spiritlm.alignment.letters import Letters, with_star
from spiritlm.alignment.trainable import TrainableCtc, filter_bank
from spiritlm.alignment.training import CtcEngine, Recipe, train_ctc
from spiritlm.alignment.utterances import Utterances

SHAPE = HubertShape(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    conv_dim=(8, 8, 8),
    conv_kernel=(320, 4, 3),
    conv_stride=(160, 2, 1),
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
)
SETTINGS = Settings(steps=4, tokens_per_step=120, lr=1e-3, warmup=2, schedule="linear", precision="fp32")
TEXTS = ["one two", "it's a dog", "three", "a b c", "two dogs", "x"]


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Six utterances of noise."""
    folder, rng, rows = tmp_path_factory.mktemp("speech"), np.random.default_rng(1), []
    for i, text in enumerate(TEXTS):
        samples = 0.1 * rng.standard_normal(6_000 + 3_000 * i)
        write_wav(folder / f"audio/{i}.wav", samples)
        rows.append(Utterance(f"u{i}", f"audio/{i}.wav", len(samples) / 16_000, "en", text))
    write_manifest(folder / "manifest.jsonl", rows)
    return folder / "manifest.jsonl"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "ctc"
    TrainableCtc(SHAPE, Letters.english(), seed=3).save(out)
    return out


def waves(*sizes, seed=5):
    rng = np.random.default_rng(seed)
    return [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in sizes]


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2", "post-norm"])
def test_transformers_opens_it_and_agrees(tmp_path, kind):
    from transformers import AutoFeatureExtractor, HubertForCTC, Wav2Vec2CTCTokenizer, Wav2Vec2ForCTC

    shape = replace(SHAPE, model_type="hubert") if kind == "hubert" else replace(SHAPE, model_type="wav2vec2")
    if kind == "post-norm":
        shape = replace(shape, do_stable_layer_norm=False)
    trained = TrainableCtc(shape, Letters.english(), seed=3)
    trained.save(tmp_path / "ctc")
    theirs = (HubertForCTC if kind == "hubert" else Wav2Vec2ForCTC).from_pretrained(tmp_path / "ctc").eval()
    model = CtcModel(tmp_path / "ctc")
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "ctc")
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path / "ctc")
    wavs = waves(9_000, 20_000)
    for wav, scores in zip(wavs, model.log_probs(wavs), strict=True):
        values = extractor(wav, sampling_rate=16_000, return_tensors="pt").input_values
        with torch.inference_mode():
            wanted = theirs(values).logits[0].log_softmax(-1)
            ours = trained(values, torch.tensor([shape.frames(len(wav))]))[0]
        np.testing.assert_allclose(scores, wanted, rtol=0, atol=2e-5)
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=2e-5)
        assert model.letters.text(scores.argmax(1).tolist()) == tokenizer.decode(wanted.argmax(-1).tolist()).strip()
    text = "it's two dogs"
    assert model.letters.joined(model.letters.words(text))[0] == tokenizer(text).input_ids


def test_utterances_do_not_touch_each_other(folder):
    wavs = waves(9_000, 200, 30_000, 16_000, 0)
    alone = [next(CtcModel(folder).log_probs([wav])) for wav in wavs]
    for threads in (1, 2):
        for one, other in zip(alone, CtcModel(folder, threads=threads).log_probs(wavs), strict=True):
            assert one.shape == (SHAPE.frames(len(one)) if not len(one) else len(one), 29)
            assert np.array_equal(one, other)
    assert [len(one) for one in alone] == [SHAPE.frames(len(w)) for w in wavs]
    assert list(CtcModel(folder).transcribe(wavs))[1] == ""


def test_long_audio_is_computed_in_chunks_of_100_s(folder):
    model, wav = CtcModel(folder), waves(1_650_000)[0]
    (scores,) = model.log_probs([wav])
    assert len(scores) == SHAPE.frames(len(wav))
    normalized = (wav - wav.mean()) / wav.std()
    pieces = [normalized[start : start + 1_600_000 + SHAPE.samples(1) - 320] for start in (0, 1_600_000)]
    model._encoder.eps = None
    apart = np.concatenate(list(model.log_probs(pieces)))
    np.testing.assert_allclose(scores, apart, rtol=0, atol=1e-4)


def test_wrong_folders_are_refused(folder, tmp_path):
    def changed(name, change):
        shutil.rmtree(tmp_path / "ctc", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "ctc")
        path = tmp_path / "ctc" / name
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        return tmp_path / "ctc"

    with pytest.raises(UserError, match="adapter_attn_dim is 16"):
        CtcModel(changed("config.json", lambda c: c.update(adapter_attn_dim=16)))
    with pytest.raises(UserError, match="for 41 letters"):
        CtcModel(changed("vocab.json", lambda v: v.update(é=40)))
    with pytest.raises(UserError, match="no blank '<pad>'"):
        CtcModel(changed("vocab.json", lambda v: v.pop("<pad>")))
    with pytest.raises(UserError, match="different ids"):
        CtcModel(changed("vocab.json", lambda v: v.update(a=v["b"])))
    with pytest.raises(UserError, match="sampling_rate is 8000"):
        CtcModel(changed("preprocessor_config.json", lambda p: p.update(sampling_rate=8000)))
    from safetensors.torch import load_file, save_file

    path = changed("vocab.json", lambda v: None) / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("lm_head.bias")
    save_file(tensors, path)
    with pytest.raises(UserError, match="not a model with a CTC head"):
        CtcModel(path.parent)


def test_letters_of_other_vocabularies(tmp_path):
    capitals = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "'": 5, "A": 6, "B": 7, "É": 8}
    (tmp_path / "vocab.json").write_text(json.dumps(capitals))
    letters = Letters.read(tmp_path)
    words = letters.words("Ab é è 12 - b\N{RIGHT SINGLE QUOTATION MARK}")
    assert [w.labels for w in words] == [(6, 7), (8,), (letters.star,), (letters.star,), (), (7, 5)]
    labels, owners = letters.joined(words)
    assert labels == [6, 7, 4, 8, 4, 9, 4, 9, 4, 7, 5] and owners == [0, 0, -1, 1, -1, 2, -1, 3, -1, 5, 5]
    assert letters.text([6, 6, 0, 6, 1, 4, 4, 0, 7]) == "AA B"
    mms = {"<blank>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5}
    (tmp_path / "vocab.json").write_text(json.dumps(mms))
    letters = Letters.read(tmp_path)
    assert (letters.blank, letters.delimiter) == (0, None)
    assert letters.joined(letters.words("ab b")) == ([4, 5, 5], [0, 0, 1])
    (tmp_path / "vocab.json").write_text(json.dumps({"eng": capitals, "fra": capitals}))
    with pytest.raises(UserError, match="no language None"):
        Letters.read(tmp_path)
    assert Letters.read(tmp_path, "fra").ids == capitals
    german = Letters.of("abüß")
    assert [w.labels for w in german.words("Baß ÜB U\N{COMBINING DIAERESIS}")] == [(3, 2, 5), (4, 3), (4,)]
    for name, text in german.files().items():
        (tmp_path / name).write_text(text)
    assert Letters.read(tmp_path).ids == german.ids
    with pytest.raises(UserError, match="no alphabet"):
        Letters.of("aba")


class Oracle:
    """Stands for a CtcModel that says given classes at given frames, 20 ms each, from 0 s on."""

    def __init__(self, said):
        self.letters, self.said = Letters.english(), said

    def log_probs(self, wavs):
        for wav, classes in zip(wavs, self.said, strict=True):
            scores = np.full((len(wav) // 320, 29), np.log(1e-4), np.float32)
            scores[:, 0] = np.log(0.9)
            for frame, c in classes.items():
                scores[frame] = np.log(1e-4)
                scores[frame, c] = np.log(0.9)
            yield scores

    def seconds(self, frame):
        return frame * 0.02


def test_words_meet_between_their_letters_and_pauses_stay():
    a, b, bar = 3, 4, 1
    said = {10: a, 11: b, 14: bar, 17: b, 50: bar, 60: a}
    wav = np.zeros(70 * 320, np.float32)
    ((words, reason),) = Aligner(Oracle([said])).align([(wav, "AB - b a!")])
    assert reason == ""
    assert [w[0] for w in words] == ["AB", "-", "b", "a!"]
    meeting = (0.24 + 0.34) / 2
    wanted = [
        (0.2 - EDGE, meeting),
        (meeting, meeting),
        (meeting, 0.36 + EDGE),
        (1.2 - EDGE, 1.22 + EDGE),
    ]
    assert [w[1:] for w in words] == [pytest.approx(times) for times in wanted]


class Noise(Oracle):
    """Says anything."""

    def log_probs(self, wavs):
        for wav, seed in zip(wavs, self.said, strict=True):
            scores = np.random.default_rng(seed).standard_normal((len(wav) // 320, 29)).astype(np.float32)
            yield scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.text("ab' -1", max_size=12), st.integers(0, 30)), min_size=1, max_size=4), st.integers(0, 99)
)
def test_any_text_keeps_its_words_and_time_goes_forwards(cases, seed):
    wavs = [np.zeros(frames * 320 + 11, np.float32) for _, frames in cases]
    seeds = [seed + i for i in range(len(cases))]
    together = list(Aligner(Noise(seeds)).align(zip(wavs, [text for text, _ in cases], strict=True)))
    for (text, _), wav, own, (words, reason) in zip(cases, wavs, seeds, together, strict=True):
        assert list(Aligner(Noise([own])).align([(wav, text)])) == [(words, reason)]
        assert reason or [w[0] for w in words] == text.split()
        times = [time for _, start, end in words for time in (start, end)]
        assert times == sorted(times) and all(0 <= time <= len(wav) / 16_000 + 1e-4 for time in times)


def test_a_word_without_known_letters_gets_the_sound_between_its_neighbours():
    a, b, bar = 3, 4, 1
    said = {5: a, 8: bar, 12: 20, 13: 21, 14: 22, 18: bar, 22: b}
    wav = np.zeros(30 * 320, np.float32)
    ((words, _),) = Aligner(Oracle([said])).align([(wav, "a 1999 b")])
    assert 0.1 < words[1][1] <= 0.24 and 0.3 <= words[1][2] < 0.44
    star = with_star(np.log(np.array([[0.9, 0.1], [1.0, 0.0]], np.float32).clip(1e-30)), 0)
    assert star[:, 2] == pytest.approx([np.log(0.1), np.log(1e-12)], abs=1e-3)


def test_what_cannot_be_aligned_says_why():
    wavs = [np.zeros(n * 320, np.float32) for n in (3, 20, 20)]
    found = list(Aligner(Oracle([{}, {}, {}])).align(zip(wavs, ["too long for it", "", "- -"], strict=True)))
    assert found == [
        ((), "3 frames, 16 are needed to say the text"),
        ((), ""),
        ((), "no word of the text has a letter that the model knows"),
    ]


def test_augmentation_keeps_lengths_and_silence():
    wav = torch.from_numpy(np.stack([np.pad(w, (0, 9_000 - len(w))) for w in waves(9_000, 4_000)]))
    samples = torch.tensor([9_000, 4_000])
    made = [augment(wav, samples, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1]) and not torch.allclose(made[0], made[2], atol=0.1)
    assert made[0][1, 4_000:].abs().max() == 0
    for row, count in zip(made[0], samples, strict=True):
        assert row[:count].square().mean().item() == pytest.approx(1, abs=1e-3)
    assert torch.isfinite(augment(torch.zeros(1, 800), torch.tensor([800]), np.random.default_rng(1))).all()


def test_the_filter_bank_hears_its_bands():
    bank = filter_bank(20, 320)
    assert bank.shape == (80, 320) and np.allclose(bank[0::4], -bank[1::4], atol=1e-6)
    strength = np.abs(np.fft.rfft(bank, 16_000)).argmax(axis=1)
    assert (np.diff(strength[::4]) > 0).all() and strength[0] < 200 and 6500 < strength[-4] <= 7500


def test_batches_take_every_utterance_once_an_epoch(speech):
    def read():
        return Utterances(speech, Letters.english(), SHAPE, 120, seed=1)

    source = read()
    assert len(source) == 6 and source.left_out == []
    seen, batches, numbers = [], [], []
    while (batch := next(source)).epoch < 2:
        batches.append(batch)
        seen += [(batch.epoch, count) for count in batch.frames.tolist()]
        numbers.append(batch.number)
    assert numbers == list(range(1, len(numbers) + 1))
    frames = sorted(SHAPE.frames(6_000 + 3_000 * i) for i in range(6))
    for epoch in (0, 1):
        assert sorted(count for e, count in seen if e == epoch) == frames
    for batch in batches:
        assert len(batch.frames) * int(batch.frames.max()) <= 120 and batch.tokens == int(batch.frames.sum())
        for row, count in zip(batch.wav, batch.samples.tolist(), strict=True):
            assert (row[count:] == 0).all() and row[:count].std().item() == pytest.approx(1, abs=0.01)
    later = read()
    later.restore({"epoch": batches[2].epoch, "place": 3, "number": 3})
    assert torch.equal(next(later).wav, batches[3].wav)


def test_padding_changes_nothing(speech):
    source = Utterances(speech, Letters.english(), SHAPE, 120, seed=1)
    batch = next(b for b in iter(lambda: next(source), None) if len(b.frames) > 1)
    model = TrainableCtc(SHAPE, Letters.english(), seed=1).eval()
    with torch.inference_mode():
        together = model(batch.wav, batch.frames)
        for i, count in enumerate(batch.frames.tolist()):
            alone = model(batch.wav[i : i + 1, : batch.samples[i]], batch.frames[i : i + 1])[0]
            torch.testing.assert_close(together[i, :count], alone[:count], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride", "biased"), [(7, 2, True), (3, 1, True), (2, 2, False), (4, 5, True)])
def test_rounded_convolutions_are_convolutions(kernel, stride, biased):
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 31, 3), (5, 3, kernel), *([(5,)] if biased else [])]
    inputs = [torch.randn(shape, generator=generator).bfloat16().float().requires_grad_() for shape in shapes]
    ours = RoundedConvolution.apply(*inputs, *([] if biased else [None]), stride)
    theirs = torch.nn.functional.conv1d(inputs[0].transpose(1, 2), *inputs[1:], stride=stride).transpose(1, 2)
    # Products are rounded to bfloat16 once; operands here are exact in it.
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2)
    weights = torch.randn(ours.shape, generator=generator).bfloat16().float()
    for found, wanted in zip(
        torch.autograd.grad((ours * weights).sum(), inputs),
        torch.autograd.grad((theirs * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-2, atol=0.05)


def test_training_in_bfloat16_computes_nearly_the_same(speech):
    batch = next(Utterances(speech, Letters.english(), SHAPE, 120, seed=1))
    model = TrainableCtc(SHAPE, Letters.english(), seed=1)
    with torch.inference_mode():
        exact = model(batch.wav, batch.frames)
        set_product_dtype(model, torch.bfloat16)
        rounded = model(batch.wav, batch.frames)
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.05)


def train(speech, out, **changes):
    asked = replace(SETTINGS, **changes)
    log, checkpoints = out.with_suffix(".jsonl"), out.with_suffix(".checkpoints")
    return train_ctc(speech, SHAPE, asked, Recipe(masked=0.1), out, log, checkpoints, every="2")


def test_training_repeats_and_goes_on_after_a_kill(speech, tmp_path, monkeypatch):
    train(speech, tmp_path / "a")
    step = CtcEngine.step

    def killed(engine, lr, clip):
        if engine.optimizer.flat.steps == 3:
            raise KeyboardInterrupt
        return step(engine, lr, clip)

    monkeypatch.setattr(training.CtcEngine, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(speech, tmp_path / "b")
    assert not (tmp_path / "b").exists() and list((tmp_path / "b.checkpoints").glob("step-*2-*"))
    monkeypatch.setattr(training.CtcEngine, "step", step)
    train(speech, tmp_path / "b")
    train(speech, tmp_path / "c", seed=2)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1] != weights[2]
    assert not (tmp_path / "b.checkpoints").exists()
    assert CtcModel(tmp_path / "a").classes == 29
    with pytest.raises(UserError, match="exists"):
        train(speech, tmp_path / "a")


def test_training_learns_and_finds_the_words(tmp_path):
    """Letters are tones of 100 ms between silences: they are learned, and found where they are."""
    rng, tones, rows, truth = np.random.default_rng(1), {"a": 500, "b": 1500, "c": 4000}, [], []
    for i in range(12):
        letters = rng.choice(list("abc"), 4).tolist()
        samples, spans = 0.001 * rng.standard_normal(4 * 3200 + 1600), []
        for k, letter in enumerate(letters):
            start = 1600 + 3200 * k
            samples[start : start + 1600] += 0.3 * np.sin(2 * np.pi * tones[letter] / 16_000 * np.arange(1600))
            spans.append((start / 16_000, start / 16_000 + 0.1))
        write_wav(tmp_path / f"{i}.wav", samples)
        rows.append(Utterance(f"u{i}", f"{i}.wav", len(samples) / 16_000, "en", " ".join(letters)))
        truth.append(spans)
    write_manifest(tmp_path / "m.jsonl", rows)
    asked = replace(SETTINGS, steps=220, lr=1e-2, tokens_per_step=100)
    paths = (tmp_path / "ctc", tmp_path / "log.jsonl", tmp_path / "checkpoints")
    record = train_ctc(tmp_path / "m.jsonl", SHAPE, asked, Recipe(augmented=False), *paths)
    assert record["loss"] < 0.3
    model = CtcModel(tmp_path / "ctc")
    wavs = [load_utterance(row) for row in read_manifest(tmp_path / "m.jsonl")]
    right = [heard == row.text for heard, row in zip(model.transcribe(wavs), rows, strict=True)]
    assert sum(right) >= 11
    found = Aligner(model).align(zip(wavs, [row.text for row in rows], strict=True))
    times = [[word[1:] for word in words] for words, _ in found]
    assert np.abs(np.array(times) - np.array(truth)).mean() < 0.08


def test_texts_that_cannot_be_learned_are_left_out(tmp_path):
    write_wav(tmp_path / "a.wav", 0.1 * np.random.default_rng(1).standard_normal(8_000))
    texts = ["abc", "12 dogs", "- -", "far too many letters for half a second of audio, by any count"]
    rows = [Utterance(f"u{i}", "a.wav", 0.5, "en", text) for i, text in enumerate(texts)]
    write_manifest(tmp_path / "m.jsonl", rows)
    assert Utterances(tmp_path / "m.jsonl", Letters.english(), SHAPE, 120, 1).left_out == ["u1", "u2", "u3"]
    write_manifest(tmp_path / "n.jsonl", rows[1:])
    with pytest.raises(UserError, match="no utterance to learn from"):
        Utterances(tmp_path / "n.jsonl", Letters.english(), SHAPE, 120, 1)
    with pytest.raises(UserError, match="cannot be trained in batches"):
        shape = replace(SHAPE, feat_extract_norm="group")
        train_ctc(tmp_path / "m.jsonl", shape, SETTINGS, Recipe(), tmp_path / "o", tmp_path / "l", tmp_path / "c")
