"""The published likelihood tests, small and in their true layouts, from the hub or a folder to items and accuracies."""

import csv
import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

sys.path.append(str(Path(__file__).parents[1] / "hub"))
from corpora_made import CORPORA, table, tone  # noqa: E402
from server import Hub  # noqa: E402
from text_made import parquet  # noqa: E402

from spire.datasets.catalog import read_facts  # noqa: E402
from spire.datasets.prepare import prepare  # noqa: E402
from spire.datasets.sources import open_source  # noqa: E402
from spire.datasets.text_catalog import read_text_facts  # noqa: E402
from spire.datasets.text_prepare import prepare_text  # noqa: E402
from spire.datasets.text_readers import Request  # noqa: E402
from spire.errors import UserError  # noqa: E402
from spire.manifest import read_manifest  # noqa: E402
from spire.textfiles import read_jsonl, write_jsonl  # noqa: E402
from spiritlm.evaluation.cutting import cut_time, cut_units, shared_beginning  # noqa: E402
from spiritlm.evaluation.items import read_test_sets, write_test_set  # noqa: E402
from spiritlm.evaluation.published import questions, whole_stories, written_stories, zerospeech  # noqa: E402

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with Hub() as hub:
        hub.use(monkeypatch, tmp_path)
        yield hub


def csv_bytes(rows):
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def put(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def units_of(name):
    return {"hubert": " ".join(str(ord(c) % 20) for c in name)}


def small(kind, key, folder, **changes):
    """A copy of a shipped description without the numbers that a small corpus cannot have."""
    values = yaml.safe_load((CORPORA / f"{kind}{key}.yml").read_text()) | changes
    for name, facts in values["splits"].items():
        values["splits"][name] = {k: v for k, v in (facts or {}).items() if k not in ("rows", "utterances")} or None
    path = folder / f"{key}.yml"
    path.write_text(yaml.safe_dump(values))
    return path


# ---- ZeroSpeech 2021

LEXICAL = [
    {
        "filename": f"{letter}{voice}",
        "id": i,
        "voice": voice,
        "frequency": f,
        "word": w,
        "phones": "",
        "length": 3,
        "correct": c,
    }
    for letter, i, f, w, c in (
        ("a", 1, 12, "brick", 1),
        ("b", 1, "", "blick", 0),
        ("c", 2, 0, "cat", 1),
        ("d", 2, "", "cet", 0),
    )
    for voice in ("v1", "v2")
]
SYNTACTIC = [
    {
        "filename": f"{i}{voice}{correct}",
        "id": i,
        "voice": voice,
        "type": kind,
        "subtype": "s",
        "transcription": "dogs eat meat, now" if correct else "dogs eats meat, now",
        "correct": correct,
    }
    for i, kind in ((7, "agreement"), (7, "anaphor agreement"))
    for voice in ("A", "B")
    for correct in (1, 0)
]


@pytest.fixture
def sleeping_words(tmp_path):
    """The folder of the data set, both parts."""
    root = tmp_path / "sLM21"
    for task, rows in (("lexical", LEXICAL), ("syntactic", SYNTACTIC)):
        names = {row["filename"] for row in rows}
        put(root / task / "dev", {"gold.csv": csv_bytes(rows), **{f"{n}.wav": tone(0.2, "WAV") for n in names}})
    return root


def prepared(key, split, out, source, tmp_path, **changes):
    facts = read_facts(small("", key, tmp_path, **changes))
    prepare(facts, open_source(facts, split, folder=source), out)
    return read_manifest(out / "manifest.jsonl")


def test_zerospeech_speech_is_prepared_and_meets_its_gold(sleeping_words, tmp_path):
    found = prepared("zerospeech2021", "lexical.dev", tmp_path / "words", sleeping_words, tmp_path)
    assert [(u.id, u.text, u.speaker) for u in found][:2] == [("av1", "brick", "v1"), ("av2", "brick", "v2")]
    sentences = open_source(read_facts(small("", "zerospeech2021", tmp_path)), "syntactic.dev", folder=sleeping_words)
    assert [r.text for part in sentences.parts for r in part.records(tmp_path)][0] == "dogs eat meat, now"
    streams = {u.id: units_of(u.id) for u in found}
    speech, text = zerospeech(sleeping_words / "lexical/dev/gold.csv", "lexical", streams)
    assert (speech.name, speech.direction, text.direction) == ("wuggy", "s-s", "t-t")
    right, wrong = speech.items[:2]
    assert right.right and right.ending[0].streams == units_of("av1") and wrong.ending[0].streams == units_of("bv1")
    assert [i.subset for i in speech.items[::2]] == ["inter", "inter", "oov", "oov"]
    assert len({i.group for i in speech.items}) == 2 and len({i.pair for i in speech.items}) == 4
    # A text has no voices: every pair of words once.
    assert [i.ending[0].text for i in text.items] == ["brick", "blick", "cat", "cet"]


def test_sblimp_ids_count_within_their_type(sleeping_words):
    streams = {row["filename"]: units_of(row["filename"]) for row in SYNTACTIC}
    speech, text = zerospeech(sleeping_words / "syntactic/dev/gold.csv", "syntactic", streams)
    assert speech.name == "blimp" and {i.subset for i in speech.items} == {"agreement", "anaphor_agreement"}
    assert len({i.group for i in speech.items}) == 2 and len(speech.items) == 8 and len(text.items) == 4


def test_incomplete_gold_is_refused(sleeping_words, tmp_path):
    gold = sleeping_words / "lexical/dev/gold.csv"
    streams = {row["filename"]: units_of(row["filename"]) for row in LEXICAL}
    with pytest.raises(UserError, match="no units of the utterance 'bv1'"):
        zerospeech(gold, "lexical", streams | {"bv1": {"hubert": " "}})
    gold.write_bytes(csv_bytes(LEXICAL[:-1]))
    with pytest.raises(UserError, match="2 has 1 right and 0 wrong in the voice v2"):
        zerospeech(gold, "lexical", streams)
    gold.write_bytes(csv_bytes([{k: v for k, v in row.items() if k != "voice"} for row in LEXICAL]))
    with pytest.raises(UserError, match="no column 'voice'"):
        zerospeech(gold, "lexical", streams)
    gold.unlink()
    with pytest.raises(UserError, match="no such gold file") as e:
        zerospeech(gold, "lexical", streams)
    assert "not published" in e.value.hint
    facts = read_facts(small("", "zerospeech2021", tmp_path))
    with pytest.raises(UserError, match="no such folder of ZeroSpeech"):
        open_source(facts, "lexical.dev", folder=tmp_path)


# ---- StoryCloze

HEADER = ["InputStoryid", *(f"InputSentence{n}" for n in (1, 2, 3, 4))]
HEADER += ["RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2", "AnswerRightEnding"]


def storycloze(rows):
    return csv_bytes([dict(zip(HEADER, row, strict=True)) for row in rows])


STORIES = [
    ["a-1", "He ran.", 'He "fell", twice.', "It hurt.", "He sat down.", "He cried.", "He  won.", "1"],
    ["b-2", "She sang.", "She danced.", "She ate.", "She slept.", "She flew.", "She woke up.", "2"],
    ["c-3", "We left.", "We drove.", "We stopped.", "We looked.", "We saw it.", "We were blind.", "1"],
]
NAME = "cloze_test_test__spring2016 - cloze_test_ALL_test.csv"


def test_storycloze_of_a_folder_as_text(tmp_path):
    put(tmp_path / "source", {NAME: b"\xef\xbb\xbf" + storycloze(STORIES).replace(b"\n", b"\r\n")})
    facts = read_text_facts(small("text/", "storycloze", tmp_path))
    prepare_text(facts, tmp_path / "out", Request(), tmp_path / "source")
    rows = read_jsonl(tmp_path / "out/test.jsonl")
    assert rows[0]["sentences"][1] == 'He "fell", twice.' and rows[0]["endings"] == ["He cried.", "He won."]
    assert [row["answer"] for row in rows] == [0, 1, 0]
    own, topical = written_stories(rows, seed=1)
    assert (own.name, topical.name) == ("sc", "tsc") and written_stories(rows, seed=1) == [own, topical]
    right, wrong = own.items[2:4]
    assert right.context[0].text == "She sang. She danced. She ate. She slept."
    assert (right.ending[0].text, wrong.ending[0].text) == (" She woke up.", " She flew.")
    for right, wrong in zip(topical.items[::2], topical.items[1::2], strict=True):
        assert wrong.ending[0].text in {" He cried.", " She woke up.", " We saw it."} - {right.ending[0].text}
    with pytest.raises(UserError, match="two stories"):
        written_stories(rows[:1], seed=1)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (storycloze([[*STORIES[0][:-1], "3"]]), ":2: the answer is 3"),
        (storycloze([[*STORIES[0][:4], " ", *STORIES[0][5:]]]), ":2: no sentence4"),
        (storycloze([STORIES[0], STORIES[0]]), "'a-1' occurs twice"),
        (storycloze(STORIES).replace(b"AnswerRightEnding", b"Answer"), "no column 'AnswerRightEnding'"),
        (",".join(HEADER).encode(), "test has 0 rows"),
    ],
)
def test_other_csv_files_are_refused(tmp_path, content, match):
    put(tmp_path / "source", {NAME: content})
    facts = read_text_facts(small("text/", "storycloze", tmp_path))
    with pytest.raises(UserError, match=match):
        prepare_text(facts, tmp_path / "out", Request(), tmp_path / "source")
    assert not (tmp_path / "out/test.jsonl").exists()


def test_recordings_of_whole_stories_in_twists_layout(tmp_path):
    files = {f"tSC/{n}_{kind}.wav": tone(0.2, "WAV") for n in (2, 10, 1) for kind in ("correct", "incorrect")}
    put(tmp_path / "source", files)
    for kind in ("correct", "incorrect"):
        found = prepared("spoken_storycloze", f"tSC.{kind}", tmp_path / kind, tmp_path / "source", tmp_path)
        assert [(u.id, u.text) for u in found] == [("1", ""), ("2", ""), ("10", "")]
        assert found[0].audio_path.name == f"1_{kind}.wav"
    right = {name: units_of("r" + name) for name in ("1", "2", "10")}
    test = whole_stories("tsc", right, {name: units_of("w" + name) for name in right})
    assert test.file == "tsc.s-s.jsonl" and len(test.items) == 6 and not test.items[0].context
    with pytest.raises(UserError, match="1 stories have no counterpart"):
        whole_stories("tsc", right, {"1": units_of("a"), "2": units_of("b")})
    with pytest.raises(UserError, match="no file is called as 12_correct.wav"):
        prepared("spoken_storycloze", "sSC.correct", tmp_path / "no", tmp_path / "source", tmp_path)


def speak(text, seconds=0.4):
    """Word times and units of a text: each word lasts as long, its first unit tells its length."""
    words = [[w, i * seconds, (i + 1) * seconds - 0.1] for i, w in enumerate(text.split())]
    count = int(len(words) * seconds * 24.99)
    hubert = [len(words[min(int(i / 24.99 / seconds), len(words) - 1)][0]) for i in range(count)]
    return words, {"hubert": " ".join(map(str, hubert)), "pitch": "1 2 3", "style": "0"}


RIGHT, WRONG = "He ran. He fell. He cried a lot.", "He ran. He fell. He won."


def test_the_beginning_that_two_stories_share_ends_with_a_sentence():
    assert shared_beginning(RIGHT, WRONG) == 4
    for a, b in (("He ran", "She ran"), ("He ran.", "He ran. He fell."), ("", "")):
        with pytest.raises(UserError, match="share"):
            shared_beginning(a, b)


def test_units_are_cut_in_the_middle_between_two_words():
    words, streams = speak(RIGHT)
    at = cut_time(words, 4, "x")
    assert at == pytest.approx(4 * 0.4 - 0.05)
    before, behind = cut_units(streams, at, "x")
    assert f"{before['hubert']} {behind['hubert']}" == streams["hubert"]
    assert len(before["hubert"].split()) == 40  # units 0 to 38 stand before 1.55 s, and the next is the same
    same = {"hubert": " ".join(["4"] * 60), "pitch": "1 2 3", "style": "0"}
    assert len(cut_units(same, at, "x")[0]["hubert"].split()) == 39  # a run to the very end is cut all the same
    assert (before["pitch"], behind["pitch"], before["style"], behind["style"]) == ("1 2 3", "3", "0", "0")
    with pytest.raises(UserError, match="8 aligned words, the context has 8"):
        cut_time(words, 8, "x")
    with pytest.raises(UserError, match="no units on one side"):
        cut_units(streams, 99.0, "x")


def script(name):
    spec = importlib.util.spec_from_file_location(name, PROJECT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_multispeaker_stories_of_the_hub_in_all_directions(hub, tmp_path):
    columns = {
        "id": lambda n: 100 + n,
        "correct_text": lambda n: RIGHT.replace("He", f"Tom{n}"),
        "negative_text": lambda n: WRONG.replace("He", f"Tom{n}"),
    }
    content = {"README.md": b"", "sSC/am/train-00000-of-00001.parquet": b"another voice"}
    whole = pq.read_table(io.BytesIO(table(3, **columns)))
    audio = whole.column("audio")
    whole = whole.drop_columns(["audio"]).append_column("correct_audio", audio).append_column("negative_audio", audio)
    file = io.BytesIO()
    pq.write_table(whole, file)
    content["sSC/bm/train-00000-of-00001.parquet"] = file.getvalue()
    hub.commit("slprl/multispeaker-storycloze", content)
    arguments = ["--cut", "sc"]
    for side, key in (("right", "correct"), ("wrong", "negative")):
        facts = read_facts(small("", f"multispeaker_storycloze_{key}", tmp_path))
        summary = prepare(facts, open_source(facts, "sSC"), tmp_path / side)
        assert summary["utterances"] == 3
        found = {u.id: speak(u.text) for u in read_manifest(tmp_path / side / "manifest.jsonl")}
        assert list(found) == ["100", "101", "102"]
        write_jsonl(tmp_path / f"{side}.jsonl", ({"id": i, **streams} for i, (_, streams) in found.items()))
        write_jsonl(tmp_path / f"{side}.words.jsonl", ({"id": i, "words": words} for i, (words, _) in found.items()))
        arguments += [f"--{side}", str(tmp_path / f"{side}.jsonl"), f"--{side}-speech", str(tmp_path / side)]
        arguments += [f"--{side}-words", str(tmp_path / f"{side}.words.jsonl")]
    script("spiritlm_items").main([*arguments, "--out", str(tmp_path / "items")])
    sets = {t.direction: t.items for t in read_test_sets(tmp_path / "items")}
    assert set(sets) == {"t-t", "s-s", "t-s", "s-t"} and {len(items) for items in sets.values()} == {6}
    right, wrong = sets["t-t"][2:4]
    assert right.context[0].text == "Tom1 ran. Tom1 fell." and right.ending[0].text == " Tom1 cried a lot."
    assert wrong.ending[0].text == " Tom1 won." and sets["s-t"][2].ending[0].text == "Tom1 cried a lot."
    assert sets["s-s"][0].context == sets["s-t"][1].context and sets["t-s"][0].ending == sets["s-s"][0].ending
    write_jsonl(tmp_path / "wrong.words.jsonl", ({"id": i, "words": words[1:]} for i, (words, _) in found.items()))
    with pytest.raises(UserError, match="100: 5 aligned words, the transcript has 6"):
        script("spiritlm_items").main([*arguments, "--out", str(tmp_path / "no")])
    with pytest.raises(UserError, match="--cut needs"):
        script("spiritlm_items").main(
            [*arguments[:6], "--wrong", str(tmp_path / "wrong.jsonl"), "--out", str(tmp_path / "no")]
        )


# ---- MMLU


def mmlu(dev=5, answer=lambda n: n % 4):
    def rows(count, first):
        return parquet(
            2 * count,
            question=lambda n: f"What is {first + n}?\n",
            subject=lambda n: ("abstract_algebra", "anatomy")[n % 2],
            choices=lambda n: [f"{n}", f"{n + 1}", f"{n + 2}", f"{n + 3}"],
            answer=answer,
        )

    files = {"README.md": b"", "all/dev-00000-of-00001.parquet": rows(dev, 0), "abstract_algebra/dev.parquet": b""}
    return files | {"all/test-00000-of-00001.parquet": rows(2, 100), "all/auxiliary_train-0.parquet": b"no parquet"}


def test_mmlu_of_the_hub_with_five_examples(hub, tmp_path):
    hub.commit("cais/mmlu", mmlu())
    facts = read_text_facts(small("text/", "mmlu", tmp_path, commit=""))
    summary = prepare_text(facts, tmp_path / "out", Request())
    assert {name: o["rows"] for name, o in summary["outputs"].items()} == {"dev.jsonl": 10, "test.jsonl": 4}
    assert not hub.asked("auxiliary_train")
    asked = read_jsonl(tmp_path / "out/test.jsonl")
    assert asked[1] == {
        "id": "test.1",
        "subject": "anatomy",
        "question": "What is 101?\n",
        "choices": ["1", "2", "3", "4"],
        "answer": 1,
    }
    script("spiritlm_items").main(["--mmlu", str(tmp_path / "out"), "--out", str(tmp_path / "items")])
    (test,) = read_test_sets(tmp_path / "items")
    assert test.file == "mmlu.t-t.jsonl" and len(test.items) == 16
    assert [i.right for i in test.items[4:8]] == [False, True, False, False]
    assert [i.ending[0].text for i in test.items[4:8]] == [" A", " B", " C", " D"]
    texts = [segment.text for segment in test.items[4].context]
    assert (
        texts[0] == "The following are multiple choice questions (with answers) about anatomy.\n\n" and len(texts) == 7
    )
    assert texts[1] == "What is 1?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: B\n\n"
    assert texts[-1] == "What is 101?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
    with pytest.raises(UserError, match="abstract_algebra has 5 examples, 6 are wanted"):
        questions(read_jsonl(tmp_path / "out/dev.jsonl"), asked, 6)


def test_mmlu_of_another_form_is_refused(hub, tmp_path):
    facts = read_text_facts(small("text/", "mmlu", tmp_path, commit=""))
    for number, (answer, match) in enumerate(
        ((lambda n: 4, "the answer is 4 of 4"), (lambda n: None, "the answer is None"))
    ):
        hub.commit("cais/mmlu", mmlu(answer=answer))
        with pytest.raises(UserError, match=match):
            prepare_text(facts, tmp_path / f"out{number}", Request())
    hub.commit("cais/mmlu", mmlu(answer=lambda n: "ABCD"[n % 4]))
    prepare_text(facts, tmp_path / "letters", Request())
    assert read_jsonl(tmp_path / "letters/test.jsonl")[3]["answer"] == 3
    values = yaml.safe_load((CORPORA / "text/mmlu.yml").read_text()) | {"commit": ""}
    (tmp_path / "mmlu.yml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match="dev has 10 rows, but it should have 285"):
        prepare_text(read_text_facts(tmp_path / "mmlu.yml"), tmp_path / "counted", Request())


def test_folders_of_items_are_put_into_one(tmp_path, sleeping_words):
    streams = {row["filename"]: units_of(row["filename"]) for row in (*LEXICAL, *SYNTACTIC)}
    for task in ("lexical", "syntactic"):
        for test in zerospeech(sleeping_words / task / "dev/gold.csv", task, streams):
            write_test_set(tmp_path / task, test)
    folders = [str(tmp_path / task) for task in ("lexical", "syntactic")]
    main = script("spiritlm_items").main
    main(["--join", *folders, "--out", str(tmp_path / "all")])
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == [
        f"{name}.{d}.jsonl" for name in ("blimp", "wuggy") for d in ("s-s", "t-t")
    ]
    with pytest.raises(UserError, match="in two of the folders"):
        main(["--join", *folders, folders[0], "--out", str(tmp_path / "twice")])
    write_jsonl(tmp_path / "s.jsonl", ({"id": name, **units} for name, units in streams.items()))
    gold = ["--zerospeech", str(sleeping_words / "lexical/dev/gold.csv"), "--streams", str(tmp_path / "s.jsonl")]
    main([*gold, "--out", str(tmp_path / "again")])
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (tmp_path / "all" / path.name).read_bytes()


def test_the_published_tests_are_planned_down_to_one_folder_of_items(tmp_path):
    plan = tmp_path / "plan.tconf"
    plan.write_text("plan published {\n  reach spiritlm_comprehension via (Spirit: base)\n}\n")
    configs = ["configs/spiritlm_smoke.tconf", "configs/spiritlm_comprehension.tconf", plan]
    by_hand = [f"{name}={tmp_path}" for name in ("spiritlm_zerospeech", "spiritlm_twist")]
    command = [sys.executable, "-m", "ducttape", "main.tape", "--dry-run", "-p", "published", "-O", tmp_path / "out"]
    command += [part for config in configs for part in ("-C", config)]
    command += [part for value in (*by_hand, "spiritlm_score_gpus=") for part in ("-D", value)]
    done = subprocess.run([str(part) for part in command], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    planned = dict(re.findall(r"RUN: spiritlm_(\w+) +(\d+) realization", done.stdout + done.stderr))
    wanted = {"likelihood_corpus": 10, "likelihood_units": 10, "likelihood_words": 4, "zerospeech_items": 2}
    wanted |= {"story_items": 2, "twist_items": 2, "mmlu_items": 1, "published_items": 1, "comprehension": 1}
    assert {name: int(planned.get(name, 0)) for name in wanted} == wanted and "test_items" not in planned
