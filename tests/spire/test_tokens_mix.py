"""Mixtures and packed rows: shares of tokens, every document once an epoch, whole, and the same after a restore."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spire.errors import UserError
from spire.textfiles import read_json, write_json
from spire.tokens.mix import Group, Selection, Settings, mix
from spire.tokens.report import statistics, waste
from spire.tokens.rows import Packer, pack
from spire.tokens.store import INDEX, TABLE, TokenStore, digest_of
from spire.tokens.stream import PackedStream

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import corpus_report  # noqa: E402


def make_store(folder: Path, lengths: list[int], name: str, blocks: tuple[str, ...] = ("asr",)) -> Path:
    """A store whose document i is the number i + 1 repeated; documents go round the blocks."""
    folder.mkdir(parents=True)
    tokens = np.repeat(np.arange(1, len(lengths) + 1), lengths).astype("<u2")
    table = [(n, n // 2, 0.5, i % len(blocks), 0) for i, n in enumerate(lengths)]
    kinds = np.ones(len(tokens), np.uint8)
    kinds[np.cumsum([0, *lengths[:-1]])] = 0
    tokens.tofile(folder / "00000.tokens")
    kinds.tofile(folder / "00000.kinds")
    np.asarray(table, TABLE).tofile(folder / "00000.documents")
    shard = {"stem": "00000", "documents": len(lengths), "tokens": len(tokens), "units": 0, "targets": len(tokens)}
    shard |= {"seconds": 0.5 * len(lengths), "blocks": list(blocks), "corpora": [name], "left_out": {}, "split": 0}
    index = {"version": 1, "name": name, "dtype": "<u2", "identity": {"vocabulary": "v"}, "shards": [shard]}
    index |= {"documents": len(lengths), "tokens": len(tokens), "left_out": {}, "digest": digest_of([name, lengths])}
    write_json(folder / INDEX, index)
    return folder


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("stores")
    rng = np.random.default_rng(3)
    sizes = {"big": 900, "small": 150, "mono": 300, "parallel": 100}
    return {
        name: make_store(
            folder / name, rng.integers(5, 120, n).tolist(), name, ("mono",) if name == "mono" else ("asr",)
        )
        for name, n in sizes.items()
    }


def groups(stores: dict[str, Path], speech: float = 5, text: float = 1) -> list[Group]:
    own = [stores["big"], stores["small"]], [stores["mono"], stores["parallel"]]
    return [Group("speech", speech, tuple(own[0])), Group("text", text, tuple(own[1]))]


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(2_000, 60_000),
    alpha=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    seed=st.integers(0, 99),
    ratio=st.floats(0.1, 9),
)
def test_groups_have_their_share_within_one_document(stores, tmp_path_factory, tokens, alpha, seed, ratio):
    out = tmp_path_factory.mktemp("mix") / "out"
    record = mix(groups(stores, ratio, 1), out, Settings(tokens, alpha, passes=1000, seed=seed))
    for name, share in (("speech", ratio / (ratio + 1)), ("text", 1 / (ratio + 1))):
        got = sum(r["tokens"] for r in record["stores"] if r["group"] == name)
        assert abs(got - tokens * share) <= 119, "no document is longer than that"
    selection = Selection(out)
    assert selection.tokens == record["tokens"] and abs(selection.tokens - tokens) <= 60
    sizes = {r["name"]: r for r in record["stores"]}
    whole = {name: TokenStore(path).tokens for name, path in stores.items()}
    expected = whole["big"] ** alpha / (whole["big"] ** alpha + whole["small"] ** alpha)
    assert sizes["big"]["share"] == pytest.approx(expected * ratio / (ratio + 1))
    # Nothing comes n + 1 times before all came n times.
    for i, name in enumerate(selection.corpora):
        of = np.flatnonzero(selection.corpus_of == i)
        if not len(of):
            continue
        times = np.bincount([selection.document(int(d))[0][0] for d in of], minlength=len(TokenStore(stores[name])) + 1)
        assert times[1:].max() - times[1:].min() <= 1


def test_without_a_budget_nothing_repeats_and_one_corpus_is_used_up(stores, tmp_path):
    record = mix(groups(stores), tmp_path / "out", Settings())
    assert max(r["passes"] for r in record["stores"]) == pytest.approx(1, abs=0.02)
    assert all(r["passes"] <= 1 for r in record["stores"])


def test_the_same_bytes_again_and_others_for_another_seed(stores, tmp_path):
    first = mix(groups(stores), tmp_path / "a", Settings(20_000))
    again = mix(groups(stores), tmp_path / "b", Settings(20_000))
    other = mix(groups(stores), tmp_path / "c", Settings(20_000, seed=2))
    assert first == again and first["digest"] != other["digest"]
    for name in ("mix.json", "documents.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "documents.npy").read_bytes() != (tmp_path / "c" / "documents.npy").read_bytes()


def test_blocks_are_left_out(tmp_path):
    store = make_store(tmp_path / "it", [10] * 40, "it", ("asr", "st", "text"))
    record = mix([Group("all", 1, (store,))], tmp_path / "no_text", Settings(blocks=("asr", "st")))
    selection = Selection(tmp_path / "no_text")
    assert record["documents"] == 27 and {selection.blocks[b] for b in selection.block_of} == {"asr", "st"}
    with pytest.raises(UserError, match="no document of the blocks mt"):
        mix([Group("all", 1, (store,))], tmp_path / "none", Settings(blocks=("mt",)))
    assert not (tmp_path / "none").exists()


def test_impossible_mixtures_are_refused(stores, tmp_path):
    with pytest.raises(UserError, match="passes over its"):
        mix(groups(stores), tmp_path / "out", Settings(10_000_000))
    with pytest.raises(UserError, match="in the mixture twice"):
        mix([Group("a", 1, (stores["big"], stores["big"]))], tmp_path / "out", Settings())
    with pytest.raises(UserError, match="must be above 0"):
        mix([Group("a", 0, (stores["big"],))], tmp_path / "out", Settings())
    with pytest.raises(UserError, match="alpha 2"):
        Settings(alpha=2)
    other = make_store(tmp_path / "other", [5, 5], "other")
    index = (other / INDEX).read_text().replace('"vocabulary": "v"', '"vocabulary": "w"')
    (other / INDEX).write_text(index)
    with pytest.raises(UserError, match="different vocabularies"):
        mix([Group("a", 1, (stores["big"], other))], tmp_path / "out", Settings())
    with pytest.raises(UserError, match="neither a mixture nor a tokenized corpus"):
        Selection(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_mixture_of_changed_stores_is_stale(tmp_path):
    store = make_store(tmp_path / "s", [10] * 8, "s")
    mix([Group("a", 1, (store,))], tmp_path / "mixed", Settings())
    (store / INDEX).write_text((store / INDEX).read_text().replace('"digest": "', '"digest": "0'))
    with pytest.raises(UserError, match="is stale"):
        Selection(tmp_path / "mixed")


def test_a_mixture_can_be_moved_but_not_its_stores(tmp_path):
    store = make_store(tmp_path / "s", [10] * 8, "s")
    mix([Group("a", 1, (store,))], tmp_path / "attempt" / "1" / "mixed", Settings())
    (tmp_path / "attempt" / "1" / "mixed").rename(tmp_path / "mixed")
    assert len(Selection(tmp_path / "mixed")) == 8
    store.rename(tmp_path / "t")
    with pytest.raises(UserError, match="is a mixture of .*/s, which is not there"):
        Selection(tmp_path / "mixed")


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 64), min_size=1, max_size=200), count=st.integers(1, 6))
def test_updates_hold_every_document_once_whole(lengths, count):
    """Over a stream that ends in documents of length 1, so that everything is drawn out."""
    drawn = 0

    def draw():
        nonlocal drawn
        drawn += 1
        return (drawn - 1, lengths[drawn - 1] if drawn <= len(lengths) else 1, 0)

    packer, seen, update = Packer(64, count, lookahead=20), {}, 0
    oldest = -1
    while not all(i in seen for i in range(len(lengths))):
        rows = packer.update(draw)
        assert all(sum(size for _, size, _ in row) <= 64 for row in rows)
        for row in rows:
            for document, size, _ in row:
                assert document not in seen, "a document came twice"
                assert size == (lengths[document] if document < len(lengths) else 1)
                seen[document] = update
        assert len(rows) == count
        assert oldest < 0 or oldest in seen, "the oldest in line is always taken"
        oldest = packer.waiting[0][0]
        update += 1


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 50), max_size=80))
def test_pack_is_whole_and_tight(lengths):
    rows = pack(lengths, 50)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    sums = sorted(sum(lengths[i] for i in row) for row in rows)
    assert all(0 < s <= 50 for s in sums)
    assert all(a + b > 50 for a, b in zip(sums[:1], sums[1:2], strict=False)), "two rows that fit into one"
    with pytest.raises(UserError, match="51 tokens does not fit a row of 50"):
        pack([51], 50)


def test_epochs_use_every_document_once(stores):
    stream = PackedStream(Selection(stores["big"]), 256, 4, seed=1)
    tokens = Selection(stores["big"]).tokens
    counts, total = np.zeros(901, int), 0
    while total < 3 * tokens:
        batch = next(stream)
        assert len(batch.ids) == 1024 and batch.tokens <= 1024 and len(batch.rows) == 4
        for a, b in zip(batch.starts, batch.starts[1:], strict=False):
            document = batch.ids[a]
            assert (batch.ids[a:b] == document).all() and (batch.positions[a:b] == np.arange(b - a)).all()
            assert b - a == stream.selection.lengths[document - 1], "no document is split"
            assert batch.kinds[a] == 0 and batch.kinds[a + 1 : b].all()
            counts[document] += 1
        starts = np.asarray(batch.starts)
        assert sorted(d for row in batch.rows for d in row) == list(range(len(starts) - 1))
        assert max(sum(starts[d + 1] - starts[d] for d in row) for row in batch.rows) <= 256
        total += batch.tokens
    assert set(counts[1:]) <= {2, 3, 4} and (counts[1:] == 3).mean() > 0.95, "three epochs, but for an update's edge"


def test_a_restored_stream_goes_on_bit_for_bit(stores, tmp_path):
    mix(groups(stores), tmp_path / "mixed", Settings(20_000))
    selection = Selection(tmp_path / "mixed")
    stream = PackedStream(selection, 256, 8, seed=1)
    assert stream.identity() == PackedStream(selection, 256, 8, seed=1).identity()
    assert stream.identity() != PackedStream(selection, 256, 8, seed=2).identity()
    for _ in range(25):
        state = stream.state()
        batch = next(stream)
        other = PackedStream(selection, 256, 8, seed=1)
        other.restore(state)
        again = next(other)
        assert batch.starts == again.starts and batch.rows == again.rows and batch.epoch == again.epoch
        for name in ("ids", "positions", "kinds", "blocks"):
            assert np.array_equal(getattr(batch, name), getattr(again, name))
        assert other.state() == stream.state()
    assert batch.epoch >= 1


def test_batches_hold_the_mixture(stores, tmp_path):
    mix(groups(stores), tmp_path / "mixed", Settings(40_000, passes=9))
    stream = PackedStream(Selection(tmp_path / "mixed"), 512, 32, seed=1)
    mono = stream.blocks.index("mono")
    shares = []
    for _ in range(8):
        batch = next(stream)
        shares.append((batch.blocks[: batch.tokens] == mono).mean())
    assert np.mean(shares) == pytest.approx(1 / 6 * 3 / 4, abs=0.01) and np.ptp(shares) < 0.05, shares


@pytest.mark.parametrize("like", ["giga", "mls"])
def test_waste_is_small(tmp_path, like):
    """Lengths like those of GigaSpeech and of MLS, which only chosen pairs pack well."""
    rng = np.random.default_rng(0)
    lengths = {
        "giga": np.clip(rng.lognormal(5.3, 0.7, 20_000), 10, 1024),
        "mls": rng.uniform(390, 780, 10_000),
    }[like]
    lengths = lengths.astype(int).tolist()
    stream = PackedStream(Selection(make_store(tmp_path / "s", lengths, "s")), 4096, 32, seed=1)
    used = sum(next(stream).tokens for _ in range(20))
    assert used / (20 * 32 * 4096) > 0.998


def test_rows_too_short_for_a_document_are_refused(stores):
    with pytest.raises(UserError, match="longer than rows of 50"):
        PackedStream(Selection(stores["big"]), 50, 4, seed=1)


def test_the_report_counts_what_is_there(tmp_path, capsys):
    stores = {
        "speech": make_store(tmp_path / "speech", [100] * 300, "speech"),
        "mono": make_store(tmp_path / "mono", [60] * 400, "mono", ("mono", "web")),
    }
    mix([Group("a", 5, (stores["speech"],)), Group("b", 1, (stores["mono"],))], tmp_path / "mixed", Settings())
    report = statistics(Selection(tmp_path / "mixed"))
    assert report["documents"] == 400 and report["tokens"] == 36_000 and report["longest"] == 100
    assert report["corpora"]["speech"] == {
        "documents": 300,
        "tokens": 30_000,
        "share": 0.8333,
        "units": 15_000,
        "hours": 0.04,
        "hours_from_units": 0.0,
    }
    assert report["blocks"]["mono"]["tokens"] + report["blocks"]["web"]["tokens"] == 6_000
    packing = waste(Selection(tmp_path / "mixed"), 200, 10, 5, seed=1)
    assert packing["rows"] == 50 and 0 <= packing["empty"] < 0.05
    assert 0.5 < packing["padded"] < 0.6, "documents of 100 and 60 in rows of 200"
    assert 0 < packing["split"] < 0.5
    out = tmp_path / "report.json"
    corpus_report.main(["--tokens", str(tmp_path / "mixed"), "--length", "200", "--rows", "10", "--out", str(out)])
    printed = capsys.readouterr().out
    assert "400 documents, 36,000 tokens, the longest 100" in printed and "83.3%" in printed
    assert read_json(out)["packing"]["rows_an_update"] == 10
    with pytest.raises(UserError, match="a document of 100 tokens"):
        corpus_report.main(["--tokens", str(tmp_path / "mixed"), "--length", "99"])


def test_hours_of_unknown_durations_come_from_units(tmp_path):
    store = make_store(tmp_path / "s", [126 * 2] * 1000, "s")
    table = np.fromfile(store / "00000.documents", TABLE)
    table["seconds"] = 0
    table.tofile(store / "00000.documents")
    part = statistics(Selection(store))["corpora"]["s"]
    assert part["hours"] == 0 and part["hours_from_units"] == 1.0
