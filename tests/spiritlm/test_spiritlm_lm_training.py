"""Batches and training: drawn anew in every epoch, the same after a stop, equal for both engines; folders that open."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from spiritlm_lm_files import UNITS, write_documents, write_model, write_text_model

from spire.errors import UserError
from spire.training.checkpoint import load_model
from spire.vocabulary.tokenizer import Vocabulary
from spiritlm.lm.documents import Inputs, build
from spiritlm.lm.extend import extend_model_folder
from spiritlm.lm.render import Renderer
from spiritlm.lm.spans import Limits
from spiritlm.lm.store import Corpus
from spiritlm.lm.stream import Group, MixtureStream, held_out
from spiritlm.lm.vocabulary import Tokens, Units

LIMITS = Limits((2, 4), (1, 3))
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder with model, train.speech, train.text, dev.speech, dev.text; vocabulary)."""
    folder = tmp_path_factory.mktemp("training")
    vocabulary = Vocabulary.load(write_model(folder))
    write_documents(folder, vocabulary)
    write_documents(folder, vocabulary, count=6, name="dev")
    return folder, vocabulary


def groups(folder, forms=("speech", "interleaved", "text")):
    corpora = {form: Corpus([folder / ("train.text" if form == "text" else "train.speech")]) for form in forms}
    return [Group(form, corpus, form, 1.0) for form, corpus in corpora.items()]


def stream(made, length=96, rows=3, seed=1, expressive=None, **how):
    folder, vocabulary = made
    renderer = Renderer(Tokens.of(vocabulary), length, LIMITS, expressive)
    return MixtureStream(groups(folder, **how), renderer, rows, seed)


def documents(batch):
    return [(int(batch.blocks[a]), tuple(batch.ids[a:b])) for a, b in zip(batch.starts, batch.starts[1:], strict=False)]


def test_spans_are_drawn_anew_in_every_epoch(made):
    source, epochs = stream(made, length=4096, rows=1, forms=("interleaved",)), ({}, {})
    for epoch in (0, 1, 0):
        rows = [
            source.renderer.rows(source.groups[0].corpus[n], "interleaved", np.random.default_rng([1, epoch, n]))
            for n in range(8)
        ]
        made_of = {n: b"".join(row.tobytes() for row in found) for n, found in enumerate(rows)}
        assert not epochs[epoch] or epochs[epoch] == made_of
        epochs[epoch].update(made_of)
    assert sum(epochs[0][n] != epochs[1][n] for n in range(8)) == 8
    # The source draws exactly these.
    wanted = {text for epoch in epochs for text in epoch.values()}
    found = [np.asarray(ids).tobytes() for _ in range(2) for _, ids in documents(next(source))]
    assert wanted <= set(found)


def test_an_epoch_has_every_document_once_and_shares_hold(made):
    source, found = stream(made), []
    for _ in range(60):
        batch = next(source)
        assert batch.tokens <= 288 and sorted(d for row in batch.rows for d in row) == list(
            range(len(batch.starts) - 1)
        )
        assert all(sum(batch.starts[d + 1] - batch.starts[d] for d in row) <= 96 for row in batch.rows)
        found += documents(batch)
    tokens = [sum(len(ids) for block, ids in found if block == b) for b in range(3)]
    assert max(tokens) - min(tokens) < 600 and sum(tokens) > 0.85 * 60 * 288
    texts = [ids for block, ids in found if block == 2]
    assert all(abs(texts.count(ids) - texts.count(texts[0])) <= 2 for ids in set(texts)) and len(set(texts)) == 20


def test_batches_go_on_after_any_of_them(made):
    for cut in (64, 4096):
        source = stream(made, length=cut)
        states, batches = [], []
        for _ in range(6):
            states.append(json.loads(json.dumps(source.state())))
            batches.append(next(source))
        other = stream(made, length=cut)
        for number in (5, 2, 0):
            other.restore(states[number])
            for expected in batches[number:]:
                found = next(other)
                assert found.starts == expected.starts and found.rows == expected.rows
                for name in ("ids", "positions", "kinds", "blocks"):
                    assert (getattr(found, name) == getattr(expected, name)).all()
    assert stream(made, seed=2).identity() != stream(made).identity()
    assert documents(next(stream(made, seed=2))) != documents(next(stream(made)))


def test_held_out_documents_are_there_once(made):
    folder, vocabulary = made
    renderer = Renderer(Tokens.of(vocabulary), 96, LIMITS)
    dev = [
        Group("b", Corpus([folder / "dev.speech"]), "interleaved", 1.0),
        Group("a", Corpus([folder / "dev.text"]), "text", 1.0),
    ]
    batches = held_out(dev, ["a", "b"], renderer, 2, 1)
    found = [d for batch in batches for d in documents(batch)]
    wanted = [
        (1 - n, tuple(row))
        for n, g in enumerate(dev)
        for d in range(len(g.corpus))
        for row in renderer.rows(g.corpus[d], g.form, np.random.default_rng([1, 0, d]))
    ]
    assert sorted(found) == sorted(wanted)
    with pytest.raises(UserError):
        held_out(dev, ["a"], renderer, 2, 1)


FLAGS = ["--text-span", "2-4", "--speech-span", "1-3", "--sequence-length", "128", "--tokens-per-step", "256"]
FLAGS += ["--lr", "1e-2", "--warmup", "2", "--schedule", "constant", "--precision", "fp32", "--log-every", "2"]


def command(folder, out, *more, steps=6):
    spoken = [f"{form}=1:{form}:{folder / 'train.speech'}" for form in ("speech", "interleaved")]
    given = [*spoken, f"text=1:text:{folder / 'train.text'}"]
    held = ["--eval", f"interleaved=1:interleaved:{folder / 'dev.speech'}", "--eval-every", "3"]
    words = ["--model", str(folder / "model"), "--out", str(out), "--steps", str(steps), *FLAGS, *held, *more]
    return [*words, *(part for group in given for part in ("--group", group))]


def weights(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_training_goes_on_bit_for_bit(made, tmp_path):
    import spiritlm_train

    folder, _ = made
    assert spiritlm_train.main(command(folder, tmp_path / "whole" / "model")) == 0
    rows = [json.loads(line) for line in (tmp_path / "whole" / "train_log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"] and set(rows[0]["blocks"]) >= {"text", "speech", "speech.units"}
    stopped = tmp_path / "stopped" / "model"
    # The first attempt is ended in the middle: its directory of checkpoints is what a kill would leave.
    from spire.training import loop

    class Ended(Exception):
        pass

    write, count = loop._write_means, []

    def ending(*args):
        write(*args)
        count.append(1)
        if len(count) == 2:
            raise Ended

    loop._write_means = ending
    try:
        with pytest.raises(Ended):
            spiritlm_train.main(command(folder, stopped, "--checkpoint-every", "3"))
    finally:
        loop._write_means = write
    assert not stopped.exists() and list(Path(f"{stopped}.checkpoints").iterdir())
    assert spiritlm_train.main(command(folder, stopped, "--checkpoint-every", "3")) == 0
    assert weights(stopped) == weights(tmp_path / "whole" / "model")
    evaluations = [(tmp_path / name / "eval_log.jsonl").read_text() for name in ("whole", "stopped")]
    assert evaluations[0] == evaluations[1] and len(evaluations[0].splitlines()) == 2


def test_both_engines_are_given_the_same_targets(made):
    from spire.training.engine import KINDS
    from spire.training.scaled.rows import pieces, targets_of

    batch = next(stream(made, 128, 4))
    native = sorted((int(batch.ids[t]), int(batch.positions[t]), int(batch.blocks[t])) for t in targets_of(batch))
    for count in (1, 3):
        found = []
        for rank in range(count):
            for piece in pieces(batch, 128, 1, 1.0, KINDS, rank, count):
                states = piece.states[: piece.count]
                assert (piece.ids[states + 1] == piece.targets[: piece.count]).all()
                blocks = piece.keys[: piece.count] // KINDS
                found += zip(
                    piece.ids[states + 1].tolist(), (piece.positions[states] + 1).tolist(), blocks.tolist(), strict=True
                )
        assert sorted(found) == native and len(native) == batch.tokens - len(batch.starts) + 1


@pytest.mark.slow
def test_both_engines_train_on_equal_batches(made):
    from spire.training.native import NativeEngine
    from spire.training.scaled.engine import ScaledEngine
    from spire.training.scaled.processes import Processes
    from spire.training.settings import Settings

    folder, _ = made
    settings = Settings(steps=3, tokens_per_step=256, lr=1e-3, warmup=1, precision="fp32")
    processes = Processes()
    try:
        engines = [
            NativeEngine(load_model(folder / "model"), settings),
            ScaledEngine(folder / "model", settings, processes, 128, 1),
        ]
        sources = [stream(made, 128, 2), stream(made, 128, 2)]
        for _ in range(3):
            pairs = [
                (engine.forward_backward(next(source)), engine.step(1e-3, 1.0))
                for engine, source in zip(engines, sources, strict=True)
            ]
            (a, x), (b, y) = pairs
            assert abs(float(a.loss) - float(b.loss)) < 1e-4 and abs(x - y) < 1e-3
            n = min(len(a.counts), len(b.counts))
            assert (a.counts[:n] == b.counts[:n]).all() and a.counts.sum() == b.counts.sum() > 0
    finally:
        processes.close()


def test_wrong_flags_leave_nothing(made, tmp_path):
    import spiritlm_train

    folder, vocabulary = made
    out = tmp_path / "model"
    build(Inputs(folder / "train.streams.jsonl"), vocabulary, folder / "plain")
    for more, message in (
        (["--tokens-per-step", "300"], "whole number of rows"),
        (["--text-span", "4"], "no span"),
        (["--epochs", "2"], "has epochs of its own"),
        (["--group", "x=1:y:z"], "no group"),
        (["--group", f"x=1:interleaved:{folder / 'train.text'}"], "aligned speech"),
        (["--group", f"x=1:speech:{folder / 'plain'}"], "no pitch and style"),
        (["--keep-best", "--patience", "1", "--eval-every", "0"], "--eval-every"),
    ):
        with pytest.raises(UserError) as caught:
            spiritlm_train.main(command(folder, out, *more))
        assert message in caught.value.message
        assert not out.exists()


@pytest.mark.parametrize(
    "units", [Units(501), Units(501, 64, 100), Units(501, 64, 100, tasks=True)], ids=["base", "expressive", "tasks"]
)
def test_markers_and_units_are_single_tokens_everywhere(tmp_path, units):
    from transformers import AutoTokenizer

    from spiritlm.model.vocabulary import UnitIds, released_ids

    text = write_text_model(tmp_path)
    layout = extend_model_folder(text, tmp_path / "model", units, seed=1, rope_base=100_000)
    assert (
        layout.base == 320
        and layout.padded_size == (1024 if not units.pitch else 1024)
        and layout.padded_size % 256 == 0
    )
    native, theirs = Vocabulary.load(tmp_path / "model"), AutoTokenizer.from_pretrained(tmp_path / "model")
    ids = UnitIds.from_vocabulary(theirs.get_vocab(), "here")
    released = released_ids(bool(units.pitch))
    moved = [
        i - 32_000 + 320 for i in (released.text, released.speech, *released.hubert, *released.pitch, *released.style)
    ]
    assert [ids.text, ids.speech, *ids.hubert, *ids.pitch, *ids.style] == moved and ids == Tokens.of(native).ids
    strings = [
        "[Text]the dog ran",
        "[Speech][Hu3][Hu500][Text]a red house [Speech][Hu0]",
        "a[Hu12]x [Hu501] [Text",
        "[Text] on",
    ]
    strings += ["[St0][Pi63][Hu7][Text]Anna\nran", "[Speech][Hu1][ASR]the dog", "  two  blanks[Text]"]
    for string in strings:
        found = native.encode(string, bos=True)
        assert found == theirs(string)["input_ids"]
        assert native.decode(found[1:], skip_special=False) == string
        assert theirs.decode(found, skip_special_tokens=True) == native.decode(found)
    known = native.encode("[Text][Speech]" + "".join(units.names()))
    assert len(known) - 2 - len(units.names()) <= 1
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 1e5
    old, new = load_model(text), load_model(tmp_path / "model")
    assert (
        new.shape.rope_theta == 1e5
        and (new.model.embed_tokens.weight[:320] == old.model.embed_tokens.weight[:320]).all()
    )
    fresh = new.model.embed_tokens.weight[320:]
    assert abs(fresh.std().item() / old.shape.initializer_range - 1) < 0.05
    with pytest.raises(UserError, match="already"):
        extend_model_folder(tmp_path / "model", tmp_path / "again", units, seed=1)
    assert not (tmp_path / "again").exists()


def test_the_released_sizes():
    for units, rows in ((Units(), 32_512), (Units(501, 64, 100), 32_768)):
        assert -(-(32_002 + len(units.names())) // 256) * 256 == rows
    with pytest.raises(UserError):
        Units(501, 64, 0)


def test_a_random_start_has_the_shape_alone(tmp_path):
    text = write_text_model(tmp_path)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        extend_model_folder(text, tmp_path / name, UNITS, seed, random_weights=True)
    a, b, c = (load_model(tmp_path / name).model.embed_tokens.weight for name in "abc")
    old = load_model(text).model.embed_tokens.weight
    assert (a == b).all() and (a != c).any() and (c[:320] != old[:320]).any()


def test_what_was_trained_opens_in_the_interface(made, tmp_path):
    import spiritlm_train

    from spiritlm.model.spiritlm_model import OutputModality, Spiritlm

    folder, _ = made
    spiritlm_train.main(command(folder, tmp_path / "model", steps=2))
    model = Spiritlm(tmp_path / "model", device="cpu", dtype="float32", speech_tokenizer=object())
    assert model.expressive and len(model.ids.hubert) == 21
    (text,) = model.generate(prompt="[Text]the dog", output_modality=OutputModality.TEXT, max_new_tokens=5)
    assert "[" not in text.content
    assert model.encode("[Text]the dog") == Vocabulary.load(tmp_path / "model").encode("[Text]the dog", bos=True)


@pytest.mark.slow
def test_several_processes_make_the_same_model(made, tmp_path):
    folder, _ = made
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    for name, count in (("one", 1), ("two", 2)):
        words = command(folder, tmp_path / name / "model", "--engine", "scaled")
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        subprocess.run(
            [sys.executable, *start, str(ROOT / "scripts" / "spiritlm_train.py"), *words], check=True, env=environment
        )
    one, two = (load_model(tmp_path / name / "model").state_dict() for name in ("one", "two"))
    assert all((one[name] - two[name]).abs().max() < 1e-4 for name in one)
