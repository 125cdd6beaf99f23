"""Base, CPT and instruction corpora: what is in them, and what a seed, a cap or a left-out block changes."""

import importlib.util
import json
from pathlib import Path

import pytest

from spire.corpora import base, cpt, it
from spire.corpora.pairs import Pair, read_pairs, usable
from spire.errors import UserError
from spire.manifest import Utterance
from spire.textfiles import read_jsonl, read_lines, write_jsonl
from spire.vocabulary.tokenizer import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
PARALLEL = [{"id": f"p{i}", "en": f"e {i}", "de": f"d {i}", "fr": f"f {i}"} for i in range(40)]
MONO = [{"lang": "en", "text": f"m {i}"} for i in range(10)]


def pairs(n: int = 30, translated: int = 8) -> list[Pair]:
    out = []
    for i in range(n):
        translations = {"de": f"D {i}", "fr": f"F {i}"} if i < translated else {}
        utterance = Utterance(f"u{i}", "a.wav", 1.0, "en", f"text {i}", translations=translations)
        out.append(Pair(utterance, chr(0xF0000 + i) + chr(0xF0100 + i)))
    return out


def pseudo(n: int = 30) -> list[dict]:
    return [{"id": f"u{i}", "lang": t, "text": f"P{t} {i}", "score": i / n} for i in range(n) for t in ("de", "fr")]


def built(blocks: str = "asr st pseudo_st mt", **more) -> list[dict]:
    return it.build(pairs(), PARALLEL, pseudo(), it.Settings(blocks=it.parse_blocks(blocks), **more))[0]


def values(line: dict) -> list[str]:
    return [turn["value"] for turn in line["conversations"]]


def test_base_has_every_direction_once():
    lines = base.text_lines(PARALLEL, MONO, 1)
    texts = [x["text"] for x in lines]
    assert len(texts) == len(set(texts)) == 40 * 4 + 10
    for expected in ("English: e 3\nGerman: d 3", "German: d 3\nEnglish: e 3", "French: f 3\nEnglish: e 3", "m 3"):
        assert expected in texts
    assert lines == base.text_lines(PARALLEL, MONO, 1) != base.text_lines(PARALLEL, MONO, 2)
    assert base.count_blocks(lines) == {"mono": 10, "parallel": 160}


def test_base_can_take_one_direction_a_sentence():
    lines = base.text_lines(PARALLEL, [], 1, per_sentence=1)
    assert len(lines) == 40 and len({x["text"].split(":")[0] for x in lines}) == 3


def test_base_leaves_out_empty_sides_and_line_breaks():
    rows = [{"en": "a\nb", "de": " ", "fr": "c"}, {"en": "", "de": "x"}]
    assert sorted(x["text"] for x in base.text_lines(rows, [{"text": ""}], 1)) == [
        "English: a b\nFrench: c",
        "French: c\nEnglish: a b",
    ]


@pytest.mark.parametrize("share", [0, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("passes", [1, 3])
def test_cpt_share(share, passes):
    text = base.text_lines(PARALLEL, MONO, 1)
    lines, _ = cpt.build(pairs(), text, share, 1, passes)
    speech = [x for x in lines if x["block"] == "asr"]
    assert len(speech) == 30 * passes
    assert abs((len(lines) - len(speech)) / len(lines) - share) < 0.02
    if len(lines) - len(speech) <= len(text):
        assert len({x["text"] for x in lines}) == len(lines) - len(speech) + 30, "no text repeats before it must"


def test_cpt_share_in_tokens():
    vocabulary = Vocabulary.load(ROOT / "tests" / "goldens" / "spirelm" / "tokenizer" / "base.model")
    lines, _ = cpt.build(pairs(), base.text_lines(PARALLEL, MONO, 1), 1 / 6, 1, vocabulary=vocabulary)
    tokens = {True: 0, False: 0}
    for line in lines:
        tokens[line["block"] == "asr"] += len(vocabulary.encode(line["text"]))
    assert abs(tokens[False] / (tokens[True] + tokens[False]) - 1 / 6) < 0.02


def test_cpt_lines_and_drops():
    broken = [*pairs(3), Pair(pairs(1)[0].utterance, ""), Pair(Utterance("x", "a", 1.0, "en", " "), "\U000f0001")]
    lines, dropped = cpt.build(broken, [], 0, 1)
    assert {x["text"] for x in lines} == {f"Speech:{p.units}\nEnglish: {p.text}" for p in pairs(3)}
    assert dropped == {"no units": 1, "no transcript": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((pairs(3), [], 0.5, 1), "needs text"),
        ((pairs(3), [], 1.0, 1), r"not in \[0, 1\)"),
        ((pairs(3), [], 0, 1, 0), "0 passes"),
        (([], [], 0, 1), "none of 0"),
    ],
)
def test_cpt_refuses(arguments, message):
    with pytest.raises(UserError, match=message):
        cpt.build(*arguments)


def test_it_blocks_and_counts():
    lines = built()
    counts = base.count_blocks(lines)
    assert counts == {"asr": 30, "mt": 30, "pseudo_st": 44, "st": 16}, "mt takes no more lines than there is speech"
    asr = next(x for x in lines if x["block"] == "asr" and x["id"] == "u4")
    assert asr["conversations"] == [
        {"from": "human", "value": f"Speech: {pairs()[4].units}\nEnglish:"},
        {"from": "gpt", "value": "text 4"},
    ]
    mt = next(x for x in lines if x["block"] == "mt")
    assert values(mt)[0].startswith("Translate the following text from ")


def test_it_multi_turn():
    lines = [x for x in built(multi_turn_share=1.0) if x["block"] in ("st", "pseudo_st")]
    for line in lines:
        speech, transcript, question, answer = values(line)
        name = {"de": "German", "fr": "French"}[line["id"].split(".")[1]]
        assert speech.endswith("\nEnglish:") and transcript.startswith("text ") and question == f"{name}:" and answer
    assert {len(values(x)) for x in built(multi_turn_share=0.0)} == {2}
    share = sum(len(values(x)) == 4 for x in built() if "st" in x["block"]) / 60
    assert 0.15 < share < 0.5


def test_leaving_a_block_out_changes_nothing_else():
    full = built()
    for blocks in ("asr st pseudo_st", "asr st mt", "mt"):
        assert built(blocks) == [x for x in full if x["block"] in blocks.split()]


def test_a_smaller_cap_takes_a_subset():
    for block in it.BLOCKS:
        large = [x for x in built() if x["block"] == block]
        small = [x for x in built(caps={block: 5}) if x["block"] == block]
        assert len(small) == 5 and all(x in large for x in small)


def test_pseudo_labels_stand_aside_for_true_translations():
    lines, left_out = it.build(pairs(), PARALLEL, pseudo(), it.Settings(min_score=0.5))
    assert all(int(x["id"][1:].split(".")[0]) >= 15 for x in lines if x["block"] == "pseudo_st")
    assert left_out["pseudo labels beside a true translation"] == 16
    assert left_out["pseudo labels scored below 0.5"] == 14


@pytest.mark.parametrize(
    ("rows", "message"),
    [([{"id": "zz", "lang": "de", "text": "x"}], "know utterance 'zz'"), ([{"id": "u1"}], "not a pseudo label"),
     ([], "block pseudo_st is empty")],
)  # fmt: skip
def test_wrong_pseudo_labels(rows, message):
    with pytest.raises(UserError, match=message):
        it.build(pairs(), PARALLEL, rows, it.Settings())


def test_block_and_cap_arguments():
    assert it.parse_blocks("asr, mt") == ("asr", "mt")
    assert it.parse_caps("asr=3 mt=4") == {"asr": 3, "mt": 4} and it.parse_caps("") == {}
    for parse, wrong in ((it.parse_blocks, "asr asr"), (it.parse_blocks, ""), (it.parse_blocks, "tts"),
                         (it.parse_caps, "asr"), (it.parse_caps, "x=3"), (it.parse_caps, "asr=-1")):  # fmt: skip
        with pytest.raises(UserError):
            parse(wrong)


def test_files_keep_strange_lines(tmp_path):
    rows = [{"text": "a\u2028b\x85c\U000f0001"}, {"text": "ä"}]
    assert write_jsonl(tmp_path / "x.jsonl", rows) == 2
    assert read_jsonl(tmp_path / "x.jsonl") == rows
    (tmp_path / "u").write_bytes("\U000f0001\r\n\n\U000f0002".encode())
    assert read_lines(tmp_path / "u") == ["\U000f0001", "", "\U000f0002"]
    (tmp_path / "bad").write_text('{"a": 1}\nnope\n')
    with pytest.raises(UserError, match="bad:2:1: not JSON"):
        read_jsonl(tmp_path / "bad")
    (tmp_path / "latin").write_bytes(b"\xe4\n")
    with pytest.raises(UserError, match="byte 0 is not UTF-8"):
        read_lines(tmp_path / "latin")


def test_a_failing_generator_leaves_no_file(tmp_path):
    def rows():
        yield {"a": 1}
        raise UserError("broken")

    with pytest.raises(UserError):
        write_jsonl(tmp_path / "x.jsonl", rows())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Files as the earlier steps leave them."""
    rows = [
        {"id": p.utterance.id, "audio": "a.wav", "start": 0.0, "duration": 1.0, "lang": "en", "text": p.utterance.text,
         "speaker": "s", "translations": p.utterance.translations}
        for p in pairs()
    ]  # fmt: skip
    write_jsonl(tmp_path / "manifest.jsonl", rows)
    (tmp_path / "train.units").write_text("".join(p.units + "\n" for p in pairs()), "utf-8")
    write_jsonl(tmp_path / "parallel.jsonl", PARALLEL)
    write_jsonl(tmp_path / "mono.jsonl", MONO)
    write_jsonl(tmp_path / "pseudo.jsonl", pseudo())
    return tmp_path


def run(name: str, *arguments: object) -> int:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main(list(map(str, arguments)))


def test_scripts_write_the_same_bytes_twice(data, capsys):
    text = ["--parallel", data / "parallel.jsonl", "--mono", data / "mono.jsonl"]
    speech = ["--manifest", data / "manifest.jsonl", "--units", data / "train.units"]
    calls = {
        "corpus_base": text,
        "corpus_cpt": [*speech, *text, "--text-share", "0.3"],
        "corpus_it": [*speech, *text[:2], "--pseudo", data / "pseudo.jsonl", "--blocks", "asr st", "--caps", ""],
    }
    for name, arguments in calls.items():
        written = []
        for seed, out in ((1, "a"), (1, "b"), (2, "c")):
            assert run(name, *arguments, "--seed", seed, "--out", data / out) == 0
            written.append((data / out).read_bytes())
        assert written[0] == written[1] != written[2]
        assert all(json.loads(line)["block"] for line in written[0].splitlines())
    assert "asr 30" in capsys.readouterr().out


def test_units_that_do_not_match_name_both_counts(data):
    (data / "train.units").write_text("\U000f0001\n" * 29)
    with pytest.raises(UserError, match="30 utterances, but .* 29 lines"):
        read_pairs(data / "manifest.jsonl", data / "train.units")


def test_usable_counts_each_pair_once():
    both = Pair(Utterance("x", "a", 1.0, "en", ""), "")
    assert usable([both, *pairs(2)]) == (pairs(2), {"no units": 1, "no transcript": 0})
