"""Aligning a corpus in parts, after a kill, or at once gives the same bytes; and what is measured of it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from spire.audio import write_wav
from spire.datasets.shards import Shard
from spire.errors import UserError
from spire.manifest import Utterance, write_manifest
from spire.units.hubert import HubertShape
from spiritlm.alignment.corpus import Transcribed
from spiritlm.alignment.errors import alignment_measures, hearing_measures
from spiritlm.alignment.letters import Letters
from spiritlm.alignment.lines import read_transcripts
from spiritlm.alignment.part import run_part
from spiritlm.alignment.trainable import TrainableCtc
from spiritlm.alignment.words import Aligned, read_words
from spiritlm.evaluation.measures import read_measures

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import spiritlm_align
import spiritlm_align_join
import spiritlm_align_report
import spiritlm_transcribe

SHAPE = HubertShape(
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=24,
    conv_dim=(8, 8),
    conv_kernel=(400, 2),
    conv_stride=(160, 2),
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Nine utterances, of which one is missing and one is too short for its text; a random model; the whole aligned."""
    root, rng, rows = tmp_path_factory.mktemp("corpus"), np.random.default_rng(2), []
    for i in range(9):
        samples = 0.1 * rng.standard_normal(8_000 + 2_000 * i)
        write_wav(root / f"audio/{i}.wav", samples)
        text = "far too long a text for a second" * 3 if i == 2 else f"word number {'abcdefghi'[i]} 1"
        rows.append(Utterance(f"u{i}", f"audio/{i}.wav", len(samples) / 16_000, "en", text))
    (root / "audio/4.wav").unlink()
    write_manifest(root / "manifest.jsonl", rows)
    TrainableCtc(SHAPE, Letters.english(), seed=1).save(root / "ctc")
    assert align(root, root / "whole") == 0
    return root


def align(root, out, *more):
    named = ["--manifest", str(root / "manifest.jsonl"), "--model", str(root / "ctc"), "--out", str(out)]
    return spiritlm_align.main([*named, *more])


def test_every_utterance_has_a_line(corpus):
    rows = list(read_words(corpus / "whole" / "words.jsonl"))
    assert [row.id for row in rows] == [f"u{i}" for i in range(9)]
    assert [row.id for row in rows if row.reason] == ["u2", "u4"]
    assert "are needed to say the text" in rows[2].reason and "4.wav" in rows[4].reason
    for i, row in enumerate(rows):
        if not row.reason:
            assert [w[0] for w in row.words] == ["word", "number", "abcdefghi"[i], "1"]
            assert row.words[-1][2] <= (8_000 + 2_000 * i) / 16_000


@pytest.mark.parametrize("parts", [2, 5, 12])
def test_parts_join_to_the_same_bytes(corpus, tmp_path, parts):
    folders = [tmp_path / f"part{i}" for i in range(1, parts + 1)]
    for i, folder in enumerate(folders, start=1):
        workers = "1" if parts == 2 else "0"
        align(corpus, folder, "--shard", f"{i}/{parts}", "--most-failed", "1", "--workers", workers)
    spiritlm_align_join.main(["--parts", *map(str, reversed(folders)), "--out", str(tmp_path / "joined")])
    assert (tmp_path / "joined/words.jsonl").read_bytes() == (corpus / "whole/words.jsonl").read_bytes()
    if parts == 2:
        check_refusals(tmp_path, folders)


def check_refusals(tmp_path, folders):
    def join(*given):
        spiritlm_align_join.main(["--parts", *map(str, given), "--out", str(tmp_path / "refused")])

    with pytest.raises(UserError, match="part 2/2 is missing"):
        join(folders[0])
    with pytest.raises(UserError, match="part 1/2 is in"):
        join(folders[0], folders[1], folders[0])
    with pytest.raises(UserError, match="no parts of 'words' found"):
        join(tmp_path)
    file = next(folders[1].glob("words.*-of-*.jsonl"))
    file.write_bytes(file.read_bytes()[:-2] + b" \n")
    with pytest.raises(UserError, match="changed since it was made"):
        join(*folders)
    record = next(folders[1].glob("*.labels.json"))
    record.write_text(record.read_text().replace('"model": "', '"model": "0'))
    with pytest.raises(UserError, match="was made of other things"):
        join(*folders)
    assert not list((tmp_path / "refused").glob("words*"))


def test_a_killed_part_goes_on_and_a_finished_one_is_left(tmp_path):
    rows = [Utterance(f"u{i}", "a.wav", 1.0, "en", "x") for i in range(7)]
    write_manifest(tmp_path / "m.jsonl", rows)
    corpus, asked = Transcribed(tmp_path / "m.jsonl", Shard()), []

    def lines(stop):
        def made(utterances):
            for u in utterances:
                if len(asked) == stop:
                    raise KeyboardInterrupt
                asked.append(u.id)
                yield f"{u.id}\n", 0

        return made

    with pytest.raises(KeyboardInterrupt):
        run_part("words", corpus, Shard(), {"model": "1"}, lines(4), tmp_path / "out")
    assert not (tmp_path / "out/words.jsonl").exists()
    record = run_part("words", corpus, Shard(), {"model": "1"}, lines(99), tmp_path / "out")
    assert asked == [f"u{i}" for i in range(7)] and record.counts == {"utterances": 7, "failed": 0}
    assert (tmp_path / "out/words.jsonl").read_text() == "".join(f"u{i}\n" for i in range(7))
    assert run_part("words", corpus, Shard(), {"model": "1"}, lines(0), tmp_path / "out") == record
    with pytest.raises(KeyboardInterrupt):
        run_part("words", corpus, Shard(), {"model": "2"}, lines(7), tmp_path / "out")


def test_too_many_failures_are_an_error(corpus, tmp_path):
    with pytest.raises(UserError, match="2 of 9 utterances got no times") as caught:
        align(corpus, tmp_path / "out", "--most-failed", "0.1")
    assert "words.jsonl" in caught.value.hint


def test_from_files_of_others(corpus, tmp_path):
    (tmp_path / "all.ctm").write_text("u0 1 0 0.1 word\nu0 1 0.1 0.1 number\nu0 1 0.2 0.02 a\nu0 1 0.22 0.02 1\n")
    given = ["--manifest", str(corpus / "manifest.jsonl"), "--alignments", str(tmp_path / "all.ctm")]
    assert spiritlm_align.main([*given, "--most-failed", "1", "--out", str(tmp_path / "out")]) == 0
    first, second, *_ = read_words(tmp_path / "out/words.jsonl")
    assert [w[0] for w in first.words] == ["word", "number", "a", "1"] and "no such utterance" in second.reason


def test_transcripts_and_the_report(corpus, tmp_path):
    named = ["--manifest", str(corpus / "manifest.jsonl"), "--model", str(corpus / "ctc")]
    spiritlm_transcribe.main([*named, "--out", str(tmp_path / "heard")])
    file = tmp_path / "heard/transcripts.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows[4]["text"] == "" and "4.wav" in rows[4]["reason"] and "reason" not in rows[3]
    assert read_transcripts(file, [row["id"] for row in rows]) == [row["text"] for row in rows]
    with pytest.raises(UserError, match="9 transcripts of other utterances"):
        read_transcripts(file, ["u1"])
    words = corpus / "whole/words.jsonl"
    given = ["--manifest", str(corpus / "manifest.jsonl"), "--words", str(words), "--truth", str(words)]
    spiritlm_align_report.main([*given, "--transcripts", str(file), "--out", str(tmp_path / "measures")])
    measures = {m.stem: m for m in read_measures(tmp_path / "measures")}
    assert measures["alignment.test.s-t.start_error_ms"].value == 0
    assert measures["alignment.test.s-t.aligned"].value == pytest.approx(100 * 7 / 9)
    assert {"asr.test.s-t.wer", "asr.test.s-t.cer", "alignment.test.s-t.within_20_ms"} <= set(measures)
    with pytest.raises(UserError, match="nothing to measure"):
        spiritlm_align_report.main([*given[:2], "--out", str(tmp_path / "none")])


def test_errors_of_times():
    truth = [Aligned("a", (("x", 0.0, 1.0), ("y", 1.0, 2.0))), Aligned("b", (("z", 0.0, 1.0),))]
    found = [Aligned("a", (("x", 0.01, 1.03), ("y", 1.03, 2.0))), Aligned("b", (), "too short")]
    values = {m.metric: (m.value, m.n) for m in alignment_measures(found, truth, "ctc", "t")}
    assert values == {
        "aligned": (50.0, 2),
        "start_error_ms": (pytest.approx(20.0), 1),
        "end_error_ms": (pytest.approx(15.0), 1),
        "within_20_ms": (pytest.approx(50.0), 1),
        "within_50_ms": (pytest.approx(100.0), 1),
    }
    with pytest.raises(UserError, match="of other utterances"):
        alignment_measures(found[:1], truth, "ctc", "t")
    with pytest.raises(UserError, match="no utterance has the words"):
        alignment_measures(found[1:], truth[1:], "ctc", "t")
    wer, cer = hearing_measures(["big red boots", "a"], ["big red books", "-"], "ctc", "t")
    assert (wer.value, wer.n) == (pytest.approx(100 / 3), 1) and cer.value == pytest.approx(100 / 13)
