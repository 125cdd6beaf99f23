"""Prompts: the published strings, safe filling, and the files of decoding jobs."""

import importlib.util
import json
import random
from pathlib import Path

import pytest

from spire.corpora.jobs import derangement, make_style, pick_shots, speech_jobs, text_jobs, write_jobs
from spire.corpora.pairs import Pair
from spire.corpora.prompts import BASE, CHAT, LANGUAGES, fill, load_templates, speech_template
from spire.errors import UserError
from spire.manifest import Utterance

ROOT = Path(__file__).resolve().parents[2]
UNITS = ["\U000f0001\U000f0002", "\U000f0003", "", "\U000f0004\U000f0005"]


def pairs(lang: str = "en", translations: bool = True) -> list[Pair]:
    return [
        Pair(
            Utterance(
                f"u{i}", f"a/{i}.wav", 1.0, lang, f"text {i}", translations={"de": f"Satz {i}"} if translations else {}
            ),
            units,
        )
        for i, units in enumerate(UNITS)
    ]


def manifest(folder: Path, name: str, units: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.units").write_text("".join(u + "\n" for u in units), "utf-8")
    rows = [
        {"id": f"u{i}", "audio": "a.wav", "start": 0.0, "duration": 1.0, "lang": "en", "text": f"text {i}",
         "speaker": "s", "translations": {"de": f"Satz {i}", "ru": "x"}}
        for i in range(4)
    ]  # fmt: skip
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    return path


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_published_strings():
    assert fill(speech_template(CHAT, "en"), dsu_seq="UU") == "Speech: UU\nEnglish:"
    assert fill(speech_template(CHAT, "zh"), dsu_seq="UU") == "Speech: UU\nChinese:"
    assert fill(CHAT["mt"], src_lang="English", tgt_lang="German", example="hi") == (
        "Translate the following text from English to German.\nEnglish: hi\nGerman:"
    )
    assert fill(BASE["asr_text"], dsu_seq="UU", transcript="hi") == "Speech:UU\nEnglish: hi"
    assert fill(BASE["parallel_text"], src_lang="English", tgt_lang="German", example="a", translation="b") == (
        "English: a\nGerman: b"
    )


@pytest.mark.parametrize(("name", "built_in"), [("chat", CHAT), ("base", BASE)])
def test_the_shipped_files_are_the_built_in_templates(name, built_in):
    assert load_templates(ROOT / "configs" / "prompts" / f"{name}.json", {}) == built_in


@pytest.mark.parametrize(("name", "gap"), [("chat_published_test", "\n\n"), ("chat_2025_03", "\n ")])
def test_old_prompt_strings_can_be_had(name, gap):
    templates = load_templates(ROOT / "configs" / "prompts" / f"{name}.json", CHAT)
    for target in LANGUAGES:
        expected = fill(speech_template(CHAT, target), dsu_seq="UU").replace("\n", gap)
        assert fill(speech_template(templates, target), dsu_seq="UU") == expected
    assert templates["mt"] == CHAT["mt"]


def test_training_lines_are_prompts_plus_answers():
    fields = {"src_lang": "English", "tgt_lang": "German", "example": "a", "dsu_seq": "U"}
    assert fill(BASE["asr_text"], transcript="t", **fields) == fill(BASE["asr_prompt"], **fields) + " t"
    assert fill(BASE["parallel_text"], translation="t", **fields) == fill(BASE["mt_prompt"], **fields) + " t"


def test_braces_inside_a_transcript_are_text():
    assert fill("{example} {tgt_lang}", example="{tgt_lang} {0} {", tgt_lang="x") == "{tgt_lang} {0} { x"


def test_template_files_are_checked(tmp_path):
    path = tmp_path / "t.json"
    path.write_text('{"asr": "{dsuseq}"}')
    with pytest.raises(UserError, match=r"asr.*uses \{dsuseq\}"):
        load_templates(path, CHAT)
    path.write_text("[]")
    with pytest.raises(UserError, match="expected an object"):
        load_templates(path, CHAT)
    path.write_text('{"asr": "Hear {dsu_seq}"}')
    assert load_templates(path, CHAT)["asr"] == "Hear {dsu_seq}" and load_templates(path, CHAT)["mt"] == CHAT["mt"]
    with pytest.raises(UserError, match=r"wants \{dsu_seq\}"):
        fill("{dsu_seq}", example="x")


def test_speech_jobs_of_an_instruct_model():
    made = {job["name"]: (job, lines) for job, lines in speech_jobs(
        "seen", pairs(), ["de", "fr"], make_style("chat"), ["asr", "shuffled", "st", "gold", "cascade"], 1
    )}  # fmt: skip
    assert list(made) == [
        "asr.seen.en-en", "shuffled.seen.en-en", "shuffled.seen.en-de", "st.seen.en-de", "gold.seen.en-de",
        "cascade.seen.en-de",
    ], "no utterance has a French reference"  # fmt: skip
    lines = made["st.seen.en-de"][1]
    assert lines[0] == {
        "id": "u0",
        "prompt": f"<|im_start|>user\nSpeech: {UNITS[0]}\nGerman:<|im_end|>\n<|im_start|>assistant\n",
        "empty": False,
    }
    assert [x["empty"] for x in lines] == [False, False, True, False], "a line without units keeps its place"
    gold = made["gold.seen.en-de"][1]
    job, none = made["cascade.seen.en-de"]
    assert none is None and job["first"] == "asr.seen.en-en"
    assert [job["template"].replace("{example}", f"text {i}") for i in range(4)] == [x["prompt"] for x in gold]


def test_speech_jobs_of_a_base_model():
    made = {job["name"]: lines for job, lines in speech_jobs(
        "seen", pairs(), ["de"], make_style("base"), ["asr", "shuffled", "gold"], 1)}  # fmt: skip
    assert list(made) == ["asr.seen.en-en", "shuffled.seen.en-en", "gold.seen.en-de"]
    assert made["asr.seen.en-en"][1]["prompt"] == f"Speech:{UNITS[1]}\nEnglish:"
    assert made["gold.seen.en-de"][0]["prompt"] == "English: text 0\nGerman:"


def test_nobody_keeps_their_own_audio():
    heard = speech_jobs("seen", pairs(), [], make_style("chat"), ["shuffled"], 7)[0][1]
    own = speech_jobs("seen", pairs(), [], make_style("chat"), ["asr"], 7)[0][1]
    assert all(a["prompt"] != b["prompt"] for a, b in zip(heard, own, strict=True))
    assert sorted(a["prompt"] for a in heard) == sorted(b["prompt"] for b in own)


@pytest.mark.parametrize("n", [2, 3, 5, 50, 400])
@pytest.mark.parametrize("seed", range(5))
def test_derangement(n, seed):
    texts = [f"sentence {random.Random(i).randrange(n // 2) if n > 5 else i}" for i in range(n)]
    order = derangement(texts, seed)
    assert sorted(order) == list(range(n))
    assert all(i != j for i, j in enumerate(order))
    assert all(texts[i] != texts[j] for i, j in enumerate(order)), "the same sentence is no control"
    assert order == derangement(texts, seed)


def test_derangement_of_one_is_impossible():
    with pytest.raises(UserError, match="two utterances"):
        derangement(["a"], 1)


def test_other_languages_keep_their_lines_but_are_not_decoded():
    mixed = pairs()[:2] + pairs("fr")[2:]
    lines = speech_jobs("human", mixed, [], make_style("chat"), ["asr"], 1)[0][1]
    assert [x["empty"] for x in lines] == [False, False, True, True]
    with pytest.raises(UserError, match="no English speech"):
        speech_jobs("human", pairs("fr"), [], make_style("chat"), ["asr"], 1)


def test_text_jobs_go_both_ways():
    rows = [{"id": "t0", "en": "a", "de": "b"}, {"id": "t1", "en": "c", "de": ""}]
    made = {job["name"]: lines for job, lines in text_jobs(rows, ["de", "fr"], make_style("base"))}
    assert list(made) == ["mt.test.en-de", "mt.test.de-en"]
    assert [x["prompt"] for x in made["mt.test.de-en"]] == ["German: b\nEnglish:", "German: \nEnglish:"]
    assert [x["empty"] for x in made["mt.test.de-en"]] == [False, True]


def test_shots_come_before_the_question():
    rows = [{"en": f"e{i}", "de": f"d{i}"} for i in range(9)]
    style = make_style("base")
    style.shots = pick_shots(rows, 5, ["de"], 1)
    prompt = style.translation("x", "de", "en")
    lines = prompt.split("\n")
    assert len(lines) == 12 and lines[-2:] == ["German: x", "English:"]
    assert all(a[9:] == b[10:] for a, b in zip(lines[:10:2], lines[1:10:2], strict=True))
    assert style.shots == pick_shots(rows, 5, ["de"], 1)
    with pytest.raises(UserError, match="9 sentences"):
        pick_shots(rows, 10, ["de"], 1)


def test_counts_that_differ_are_named_and_leave_nothing(tmp_path):
    path = manifest(tmp_path, "seen", UNITS[:3])
    with pytest.raises(UserError, match="4 utterances.*3 lines of units"):
        write_jobs(tmp_path / "out", make_style("chat"), {"seen": path}, tmp_path, None, ["de"], ["asr"], 1)
    assert not (tmp_path / "out").exists()


def test_the_script_writes_a_complete_folder(tmp_path, capsys):
    path = manifest(tmp_path, "seen", UNITS)
    (tmp_path / "s.jsonl").write_text('{"id": "t0", "en": "a", "de": "b"}\n')
    arguments = ["--style", "chat", "--units", str(tmp_path), "--manifest", f"seen={path}", "--seed", "1"]
    arguments += ["--sentences", str(tmp_path / "s.jsonl")]
    assert script("decode_prompts").main([*arguments, "--out", str(tmp_path / "a")]) == 0
    assert script("decode_prompts").main([*arguments, "--out", str(tmp_path / "b")]) == 0
    record = json.loads((tmp_path / "a" / "jobs.json").read_text("utf-8"))
    assert record["style"] == "chat" and record["stop"] == "<|im_end|>"
    names = {f"{job['name']}.jsonl" for job in record["jobs"] if job["mode"] != "cascade"} | {"jobs.json"}
    assert {p.name for p in (tmp_path / "a").iterdir()} == names
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)
    assert "asr.seen.en-en" in capsys.readouterr().out
    for wrong, message in (
        (["--modes", "sing"], "unknown mode"),
        (["--targets", "xx"], "unknown language"),
        (["--manifest", "test=x"], "expected NAME=FILE"),
        (["--shots", "3"], "--shots needs"),
        (["--out", str(tmp_path / "a")], "exists"),
    ):
        with pytest.raises(UserError, match=message):
            script("decode_prompts").main([*arguments, "--out", str(tmp_path / "c"), *wrong])
    assert not (tmp_path / "c").exists()
