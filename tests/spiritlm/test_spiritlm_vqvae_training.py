"""The pitch quantizer learns, uses its codes, opens as a tokenizer, and goes on bit for bit when it was stopped."""

import numpy as np
import pytest
import torch

from spire.errors import UserError
from spire.training.snapshots import Checkpoints, Interval
from spiritlm.pitch.errors import pitch_errors, total
from spiritlm.pitch.f0_files import F0Folder, TrackedF0, write_f0
from spiritlm.pitch.tokenizer import PitchTokenizer
from spiritlm.pitch.vqvae import PitchVqVae
from spiritlm.pitch.vqvae_training import (
    Crops,
    EmaCodebook,
    Training,
    contour_of,
    identity,
    published_sizes,
    train,
)

CONFIG = published_sizes(bins=8, width=8, depth=1, emb=8)
QUICK = Training(steps=60, batch=8, values=64, rate=1e-2, threshold=0.1)


def glides(count, seed):
    """Contours that rise, fall or stay, with a gap."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        t = np.linspace(-1, 1, int(rng.integers(50, 200)))
        f0 = rng.uniform(100, 200) + t * rng.choice([-50, 0, 50])
        yield TrackedF0(f"u{i}", "a", f0.astype(np.float32), (np.abs(t) > 0.2).astype(np.float32))


@pytest.fixture(scope="module")
def contours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("f0") / "f0"
    write_f0(folder, glides(40, 1), "pyaapt")
    return F0Folder(folder)


def weights(folder):
    return torch.load(folder / "model.pt", weights_only=True)["model"]


@pytest.fixture(scope="module")
def trained(contours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vqvae") / "vqvae"
    return folder, train(contours, CONFIG, QUICK, folder)


def test_it_learns_and_opens_as_a_tokenizer(contours, trained):
    folder, curve = trained
    assert curve[-1]["step"] == 60 and curve[-1]["pitch"] < curve[0]["pitch"] / 1.5
    tokenizer = PitchTokenizer(folder, "pyaapt")
    assert tokenizer.normalize and tokenizer.interpolate
    errors, used = [], set()
    for item in contours:
        x = contour_of(*item.contour, "norm_f0_interp,vuv")
        with torch.inference_mode():
            codes = tokenizer.model.encode(torch.from_numpy(x)[None])
            f0, voicing = tokenizer.model.decode(codes)[0].numpy()
        frames = len(f0)
        used.update(codes[0].tolist())
        f0 = np.maximum(f0 + item.f0[item.voicing > 0].mean(), 10)
        errors.append(pitch_errors((item.f0[:frames], item.voicing[:frames]), (f0, voicing > 0.5)))
    # In Hz, not in the network's own scale: with a wrong one every voiced frame would be off.
    assert total(errors).gross_error < 0.2 and len(used) >= 4


def test_a_stopped_run_goes_on_bit_for_bit(contours, trained, tmp_path):
    def checkpoints():
        return Checkpoints(tmp_path / "c", lambda: identity(contours, CONFIG, QUICK), Interval(steps=20))

    class Stopped(Exception):
        pass

    stopping = checkpoints()
    save = stopping.save

    def save_and_stop(learner, step, state):
        save(learner, step, state)
        raise Stopped

    stopping.save = save_and_stop
    with pytest.raises(Stopped):
        train(contours, CONFIG, QUICK, tmp_path / "vqvae", stopping)
    assert not (tmp_path / "vqvae").exists()
    curve = train(contours, CONFIG, QUICK, tmp_path / "vqvae", checkpoints())
    assert curve == trained[1] and not (tmp_path / "c").exists()
    expected, found = weights(trained[0]), weights(tmp_path / "vqvae")
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_dead_codes_are_placed_on_latents():
    model = PitchVqVae(CONFIG)
    book = EmaCodebook(model, mu=0.5, threshold=1.0)
    rng = np.random.default_rng(0)
    latents = torch.randn(100, 8)
    book.start(latents, rng)
    assert all((latents == row).all(dim=1).any() for row in model.codebook.k)
    ones = torch.zeros(100, dtype=torch.int64)
    assert book.update(latents, ones, rng) == 7
    mean = (0.5 * book.sums.new_tensor(1.0) + 0.5 * 100).item()
    assert book.counts[0].item() == pytest.approx(mean)
    assert all((latents == row).all(dim=1).any() for row in model.codebook.k[1:])


def test_crops(contours):
    crops = Crops(contours, "norm_f0_interp,vuv", 160)
    a, b = (crops.batch(np.random.default_rng(3), 6) for _ in range(2))
    assert a.shape == (6, 2, 160) and np.array_equal(a, b) and set(np.unique(a[:, 1])) == {0, 1}
    assert abs(a[:, 0]).max() < 80 and crops.deviation(1) > 1
    assert not contour_of(np.full(5, 9.0, np.float32), np.zeros(5), "f0_interp,vuv").any()


def test_wrong_settings_are_refused(contours, tmp_path):
    with pytest.raises(UserError, match="crops of 40"):
        train(contours, CONFIG, Training(values=40), tmp_path / "x")
    with pytest.raises(UserError, match="features"):
        train(contours, CONFIG, Training(features="f0"), tmp_path / "x")
    write_f0(tmp_path / "none", [], "pyaapt")
    with pytest.raises(UserError, match="no pitch"):
        train(F0Folder(tmp_path / "none"), CONFIG, QUICK, tmp_path / "x")
    with pytest.raises(UserError, match="loss of step"):
        train(contours, CONFIG, Training(steps=30, batch=2, values=64, rate=1e30), tmp_path / "x")
    assert not (tmp_path / "x").exists()
