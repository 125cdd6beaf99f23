"""Documents, spans and formats: every word once, in order, cut where words are, as the tokenizer would write it."""

import json
import shutil

import numpy as np
import pytest
from spiritlm_lm_files import UNITS, write_documents, write_model, write_speech, write_text_model

from spire.errors import UserError
from spire.vocabulary.tokenizer import Vocabulary
from spiritlm.lm.cutting import mark_repeats, merged_units, units_of_words, word_frames
from spiritlm.lm.documents import Inputs, build
from spiritlm.lm.extend import extend_model_folder
from spiritlm.lm.render import FORMATS, Renderer
from spiritlm.lm.shuffle import Shuffle
from spiritlm.lm.spans import SPEECH, TEXT, Limits, draw_spans
from spiritlm.lm.store import Corpus, DocumentStore
from spiritlm.lm.vocabulary import Tokens
from spiritlm.unit_strings import units_to_string

LIMITS = Limits((2, 4), (1, 3))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, vocabulary, tokens, speech documents, text documents)."""
    folder = tmp_path_factory.mktemp("lm")
    vocabulary = Vocabulary.load(write_model(folder))
    speech, text = write_documents(folder, vocabulary)
    return folder, vocabulary, Tokens.of(vocabulary), DocumentStore(speech, vocabulary), DocumentStore(text, vocabulary)


def story(folder, number):
    """(words, streams, alignments) of the utterances of a story, read from the files that it was made of."""
    lines = [(folder / f"train.{kind}.jsonl").read_text().splitlines() for kind in ("streams", "words")]
    rows = [[json.loads(line) for line in part[3 * number : 3 * number + 3]] for part in lines]
    return [w[0] for row in rows[1] for w in row["words"]], rows[0], [row["words"] for row in rows[1]]


def test_a_shuffle_has_everything_once():
    for count in (1, 2, 3, 17, 64, 1000):
        assert sorted(Shuffle(count, 1, 0)[i] for i in range(count)) == list(range(count))
    orders = [[Shuffle(100, 7, epoch)[i] for i in range(100)] for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1] and orders[0] != list(range(100))
    far = Shuffle(300_000_000, 1)
    assert len({far[i] for i in range(2000)}) == 2000 and np.mean([far[i] for i in range(2000)]) > 1.3e8


def test_spans_are_within_their_limits():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        words = int(rng.integers(1, 90))
        spans = draw_spans(words, LIMITS, rng)
        assert [i for _, a, b in spans for i in range(a, b)] == list(range(words))
        assert all(x[0] != y[0] for x, y in zip(spans, spans[1:], strict=False))
        for kind, start, stop in spans[:-1]:
            least, most = LIMITS.speech if kind == SPEECH else LIMITS.text
            assert least <= stop - start <= most
    assert {draw_spans(5, LIMITS, np.random.default_rng(i))[0][0] for i in range(9)} == {TEXT, SPEECH}
    assert Limits() == Limits((10, 30), (5, 15)) and Limits.parse("2-4") == (2, 4)
    for wrong in ("", "3", "a-b"):
        with pytest.raises(UserError):
            Limits.parse(wrong)
    with pytest.raises(UserError):
        Limits(text=(4, 2))


def test_units_are_cut_between_words():
    words = [("a", 0.1, 0.2), ("b", 0.3, 0.5), ("c", 0.5, 0.8)]
    cuts = word_frames(words, 25)
    assert cuts.tolist() == [0, 7, 13, 25]  # 0.25 s and 0.5 s are between units 6 and 7, 12 and 13 of 24.99 a second
    assert word_frames(words, 2) is None and word_frames([], 5) is None
    crowded = word_frames([("a", 0.0, 0.0), ("b", 0.0, 9.0), ("c", 0.5, 0.1)], 4)
    assert crowded[0] == 0 and crowded[-1] == 4 and (np.diff(crowded) >= 1).all()
    streams = {"hubert": " ".join(["3"] * 25), "pitch": " ".join("1" * 12), "style": "2"}
    units = merged_units(streams, {"hubert": 4, "pitch": 2, "style": 3}, expressive=True)
    counts = units_of_words(units, cuts)
    assert counts.sum() == len(units) == 38
    ends = np.cumsum(counts)[:-1]
    assert all(units[e - 1] >> 12 == 0 for e in ends), "a word ends with a phonetic unit"
    with pytest.raises(UserError, match="hubert unit 3"):
        merged_units(streams, {"hubert": 3}, expressive=False)


def test_the_store_has_what_the_files_have(made):
    folder, vocabulary, _, speech, text = made
    assert len(speech) == 8 and len(text) == 20 and speech.index["left_out"] == {}
    for number in range(len(speech)):
        document = speech[number]
        words, streams, _ = story(folder, number)
        assert len(document.words) == len(words) and document.words["speech"].sum() == len(document.speech)
        assert vocabulary.decode(document.text[: len(document.first)].tolist()).replace(" ", "") == "".join(words)
        hubert = document.speech[(document.speech & 0x3000) == 0] & 0x0FFF
        assert hubert.tolist() == [int(i) for row in streams for i in row["hubert"].split()]
    both = Corpus([speech.folder, text.folder], vocabulary)
    assert len(both) == 28 and (both[8].text == text[0].text).all() and (both[7].speech == speech[7].speech).all()


def test_parts_are_the_whole(made, tmp_path):
    folder, vocabulary, _, speech, text = made
    inputs = (folder / "train.streams.jsonl", folder / "train.words.jsonl", folder / "train.manifest.jsonl", "story")
    for part in (1, 2, 3):
        build(Inputs(*inputs, expressive=True, part=(part, 3)), vocabulary, tmp_path / f"speech{part}")
        build(Inputs(text=(folder / "train.texts.jsonl",), part=(part, 3)), vocabulary, tmp_path / f"text{part}")
    for name, whole in (("speech", speech), ("text", text)):
        parts = [DocumentStore(tmp_path / f"{name}{part}") for part in (1, 2, 3)]
        assert sum(map(len, parts)) == len(whole)
        for number in range(len(whole)):
            found, expected = parts[number % 3][number // 3], whole[number]
            assert all((getattr(found, n) == getattr(expected, n)).all() for n in ("speech", "words", "text"))
    with pytest.raises(UserError):
        Inputs(*inputs, part=(4, 3))


def parse(text):
    """[(marker, content)] of a row written out."""
    parts = text.replace("[Text]", "\0[Text]\1").replace("[Speech]", "\0[Speech]\1").split("\0")
    return [tuple(part.split("\1")) for part in parts[1:]]


def written(row, vocabulary):
    return vocabulary.decode(row[1:].tolist(), skip_special=False)


@pytest.mark.parametrize("expressive", [False, True], ids=["base", "expressive"])
@pytest.mark.parametrize("length", [4096, 40], ids=["whole", "cut"])
def test_every_word_is_there_once_in_one_form(made, expressive, length):
    folder, vocabulary, tokens, speech, _ = made
    renderer, cut = Renderer(tokens, length, LIMITS, expressive), 0
    for number, seed in ((n, s) for n in range(len(speech)) for s in range(4)):
        words, streams, aligned = story(folder, number)
        rows = renderer.rows(speech[number], "interleaved", np.random.default_rng(seed))
        spans = draw_spans(len(words), LIMITS, np.random.default_rng(seed))
        assert all(len(row) <= length for row in rows)
        assert rows[-1][-1] == tokens.eos and not any(tokens.eos in row for row in rows[:-1])
        cut += len(rows) > 1
        text, units = [], []
        for row in rows:
            string = written(row, vocabulary).removesuffix("</s>").removeprefix(" ")
            # The ids are those of the tokenizer for the same string.
            assert vocabulary.encode(string, bos=True) == row[row != tokens.eos].tolist()
            runs = parse(string)
            assert string.startswith("[") and all(content for _, content in runs)
            assert all(a[0] != b[0] for a, b in zip(runs, runs[1:], strict=False))
            for marker, content in runs:
                if marker == "[Text]":
                    assert "[" not in content
                    text += content.split()
                else:
                    units += [int(t[3:]) for t in content.split("]") if t.startswith("[Hu")]
        assert text == [w for kind, start, stop in spans if kind == TEXT for w in words[start:stop]]
        frames, borders = frames_of(streams, aligned)
        said = [[*frames[borders[a] : borders[b]]] for kind, a, b in spans if kind == SPEECH]
        if length == 4096:
            assert units == [u for span in said for u in _runs(span)]
        else:
            assert _runs(units) == _runs([u for span in said for u in span])
    assert (cut > 0) == (length == 40)


def _runs(units):
    """`units` without repetitions."""
    return [u for i, u in enumerate(units) if not i or units[i - 1] != u]


def frames_of(streams, aligned):
    """(phonetic units of a story, the unit that each word begins with, and their number at the end)."""
    lengths = [len(row["hubert"].split()) for row in streams]
    cuts = [
        word_frames(words, n)[:-1] + sum(lengths[:i]) for i, (words, n) in enumerate(zip(aligned, lengths, strict=True))
    ]
    return [int(u) for row in streams for u in row["hubert"].split()], [*np.concatenate(cuts).tolist(), sum(lengths)]


def test_a_span_of_speech_reads_as_if_its_audio_were_alone(made):
    """Base: the units between the cuts, without repetitions. Expressive: style and pitch that hold stand first."""
    folder, vocabulary, tokens, speech, _ = made
    _, streams, aligned = story(folder, 0)
    frames, borders = frames_of(streams, aligned)
    base = Renderer(tokens, 4096, Limits((1, 1), (1, 1)), expressive=False)
    rich = Renderer(tokens, 4096, Limits((1, 1), (1, 1)))
    for seed in range(2):
        runs = [
            parse(written(r.rows(speech[0], "interleaved", np.random.default_rng(seed))[0], vocabulary)[:-4])
            for r in (base, rich)
        ]
        spans = draw_spans(len(borders) - 1, Limits((1, 1), (1, 1)), np.random.default_rng(seed))
        for plain, full, (kind, start, stop) in zip(*runs, spans, strict=True):
            if kind == TEXT:
                continue
            alone = {"hubert": " ".join(map(str, frames[borders[start] : borders[stop]]))}
            assert plain[1] == units_to_string(alone)
            assert full[1].startswith("[St") and full[1].split("]")[1].startswith("[Pi")
            assert "".join(t for t in full[1].replace("]", "]\n").split() if t.startswith("[Hu")) == plain[1]


def test_whole_speech_is_what_the_tokenizer_writes(made):
    folder, vocabulary, tokens, speech, _ = made
    streams = story(folder, 1)[1]
    (row,) = Renderer(tokens, 4096).rows(speech[1], "speech", np.random.default_rng(0))
    units = mark_repeats(
        np.concatenate([merged_units(s, {"hubert": 21, "pitch": 8, "style": 4}, True) for s in streams])
    )
    assert len(row) == (units & 0x8000 == 0).sum() + 4
    first = units_to_string(streams[0], has_pitch=True, has_style=True)
    assert written(row, vocabulary).removeprefix(" ").startswith(f"[Speech]{first}")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("length", [4096, 40])
def test_formats(made, form, length):
    folder, vocabulary, tokens, speech, text = made
    renderer, strings = Renderer(tokens, length, LIMITS, expressive=False), []
    for seed in range(8):
        rows = renderer.rows(speech[2], form, np.random.default_rng(seed))
        again = renderer.rows(speech[2], form, np.random.default_rng(seed))
        assert all((a == b).all() for a, b in zip(rows, again, strict=True)) and max(map(len, rows)) <= length
        strings.append("".join(written(row, vocabulary) for row in rows))
    words = story(folder, 2)[0]
    ways = len(set(strings))
    if form in ("speech", "text"):
        assert ways == 1
    elif form != "interleaved":
        assert ways == 2
    if form == "text" and length == 4096:
        assert strings[0].strip() == f"[Text]{' '.join(words)}</s>"
    if form == "pairs":
        assert all(("[ASR]" in s) != ("[TTS]" in s) for s in strings)
        said = [s.split("[ASR]")[1].split("</s>")[0] for s in strings if "[ASR]" in s and length == 4096]
        assert all(s == " ".join(words) for s in said)
    if form == "word_level" and length == 4096:
        assert strings[0].count("[Text]") == strings[0].count("[Speech]") == len(words)
        assert [c for m, c in parse(strings[0].removesuffix("</s>")) if m == "[Text]"] == words
    if form == "text":
        (row,) = Renderer(tokens, 4096).rows(text[0], form, np.random.default_rng(0))
        assert vocabulary.encode(written(row, vocabulary).strip().removesuffix("</s>"), bos=True) == row[:-1].tolist()


def test_a_word_longer_than_a_row_is_cut_between_units(made):
    folder, vocabulary, tokens, _, _ = made
    stream = {"id": "a", "hubert": " ".join(str(i % 20) for i in range(100))}
    (folder / "long.jsonl").write_text(json.dumps(stream) + "\n")
    (folder / "long.words.jsonl").write_text(json.dumps({"id": "a", "words": [["dog", 0, 4.0]]}) + "\n")
    for words in (folder / "long.words.jsonl", None):
        build(Inputs(folder / "long.jsonl", words), vocabulary, folder / "long")
        rows = Renderer(tokens, 32, expressive=False).rows(DocumentStore(folder / "long")[0], "speech", None)
        assert len(rows) == 4 and all(row[:3].tolist() == list(tokens.speech_opening) for row in rows)
        units = [i - tokens.ids.hubert.start for row in rows for i in row if i in tokens.ids.hubert]
        assert units == [i % 20 for i in range(100)]


def test_what_cannot_be_used_is_left_out_or_refused(made, tmp_path):
    _, vocabulary, tokens, speech, text = made
    streams, words, manifest = write_speech(tmp_path, 3)
    rows = [json.loads(line) for line in words.read_text().splitlines()]
    rows[1]["words"][0][0] = "[Hu3]"
    words.write_text("".join(json.dumps(row) + "\n" for row in rows))
    index = build(Inputs(streams, words), vocabulary, tmp_path / "out")
    assert index["counts"]["documents"] == 2 and list(index["left_out"].values()) == [1]
    cases = [
        (Inputs(streams, words, manifest, "story"), "others.jsonl", "same order"),
        (Inputs(streams, tmp_path / "short.jsonl"), "short.jsonl", "same number of lines"),
    ]
    (tmp_path / "short.jsonl").write_text(words.read_text().splitlines()[0] + "\n")
    manifest.write_text(manifest.read_text().replace("train1", "other"))
    for inputs, _, message in cases:
        with pytest.raises(UserError) as caught:
            build(inputs, vocabulary, tmp_path / "never")
        assert message in str(caught.value.message) + str(caught.value.hint)
        assert not (tmp_path / "never").exists()
    for form in ("speech", "interleaved", "nonsense"):
        with pytest.raises(UserError):
            Renderer(tokens, 64).rows(text[0], form, np.random.default_rng(0))
    with pytest.raises(UserError):
        Inputs()
    (tmp_path / "out" / "words").write_bytes(b"")
    with pytest.raises(UserError, match="0 bytes"):
        DocumentStore(tmp_path / "out")


def test_a_base_that_is_a_tokenizer_json_alone(made, tmp_path):
    """As Llama 3: markers and units are added tokens, and rows still have the tokenizer's ids."""
    folder, _, _, speech, _ = made
    shutil.copytree(folder / "text", tmp_path / "text")
    for name in ("tokenizer.model", "spire_vocabulary.json"):
        (tmp_path / "text" / name).unlink()
    extend_model_folder(tmp_path / "text", tmp_path / "model", UNITS, seed=1)
    vocabulary = Vocabulary.load(tmp_path / "model")
    with pytest.raises(UserError, match="another text vocabulary"):
        DocumentStore(speech.folder, Vocabulary.load(write_text_model(tmp_path / "other", size=300)))
    streams, words = folder / "train.streams.jsonl", folder / "train.words.jsonl"
    build(Inputs(streams, words, expressive=True), vocabulary, tmp_path / "documents")
    renderer, rng = Renderer(Tokens.of(vocabulary), 4096, LIMITS), np.random.default_rng(0)
    for number in range(6):
        document = DocumentStore(tmp_path / "documents", vocabulary)[number]
        said, units, _ = (part[number % 3] if i else part for i, part in enumerate(story(folder, number // 3)))
        offset = [len(line["words"]) for line in map(json.loads, words.read_text().splitlines())]
        said = said[sum(offset[number // 3 * 3 : number]) :][: offset[number]]
        (row,) = renderer.rows(document, "text", rng)
        assert vocabulary.encode(f"[Text]{' '.join(said)}", bos=True) == row[:-1].tolist()
        (row,) = renderer.rows(document, "speech", rng)
        expected = f"[Speech]{units_to_string(units, has_pitch=True, has_style=True)}"
        assert vocabulary.encode(expected, bos=True) == row[:-1].tolist()
        for row in renderer.rows(document, "interleaved", rng):
            markers = [i for i in row if i in (renderer.tokens.ids.text, renderer.tokens.ids.speech)]
            assert len(markers) > 1 and all(a != b for a, b in zip(markers, markers[1:], strict=False))
