"""Alignments of others: read as they are meant, refused with file and line, and nothing but UserError, ever."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spire.errors import UserError
from spire.manifest import Utterance
from spiritlm.alignment.ctm import read_ctm
from spiritlm.alignment.foreign_words import ForeignWords, fitted
from spiritlm.alignment.textgrid import read_textgrid, word_tier
from spiritlm.alignment.words import Aligned, read_words

FUZZ = settings(max_examples=80, deadline=None, derandomize=True)
LONG = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0 
xmax = 1.5 
tiers? <exists> 
size = 3 
item []: 
    item [1]:
        class = "IntervalTier" 
        name = "words" 
        xmin = 0 
        xmax = 1.5 
        intervals: size = 3 
        intervals [1]:
            xmin = 0 
            xmax = 0.25 
            text = "" 
        intervals [2]:
            xmin = 0.25 
            xmax = 0.75 
            text = "said" 
        intervals [3]:
            xmin = 0.75 
            xmax = 1.5 
            text = "a ""b"" 7" 
    item [2]:
        class = "TextTier" 
        name = "events" 
        xmin = 0 
        xmax = 1.5 
        points: size = 1 
        points [1]:
            number = 0.5 
            mark = "x" 
    item [3]:
        class = "IntervalTier" 
        name = "phones" 
        xmin = 0 
        xmax = 1.5 
        intervals: size = 0 
'''  # fmt: skip
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
1.5
<exists>
1
"IntervalTier"
"anna - words"
0
1.5
2
0
0.5
"two"
0.5 1.5 "words" ! said slowly
"""


def utterance(text, duration=1.5, name="u1"):
    return Utterance(name, f"audio/{name}.wav", duration, "en", text)


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_long_and_short_textgrids(tmp_path, encoding, newline):
    tiers = read_textgrid(write(tmp_path / "a.TextGrid", LONG.replace("\n", newline), encoding))
    assert [tier.name for tier in tiers] == ["words", "phones"]
    spans = [(i.start, i.end, i.text) for i in word_tier("a", tiers).intervals]
    assert spans == [(0.0, 0.25, ""), (0.25, 0.75, "said"), (0.75, 1.5, 'a "b" 7')]
    tiers = read_textgrid(write(tmp_path / "b.TextGrid", SHORT.replace("\n", newline), encoding))
    assert [(i.text, i.line) for i in word_tier("b", tiers).intervals] == [("two", 15), ("words", 16)]


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('"said"', '"said', 22, "no closing quote"),
        ("xmax = 0.75", "xmax = 0.2", 20, "from 0.25 to 0.2 s is no stretch"),
        ("xmin = 0.25", "xmin = a", 21, "an end in seconds is expected, not 'said'"),
        ('"ooTextFile"', '"other"', 1, 'not "ooTextFile"'),
        ('"TextTier"', '"PitchTier"', 31, "not a class of tiers"),
        ("intervals: size = 3", "intervals: size = 1e99", 14, "1e+99 is not a number of intervals"),
        ("intervals: size = 0", "intervals: size = 2", 41, "ends where"),
    ],
)
def test_wrong_textgrids_name_the_line(tmp_path, old, new, line, message):
    path = write(tmp_path / "a.TextGrid", LONG.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        read_textgrid(path)
    where, found = caught.value.message.split(": ", 1)
    assert message in found
    assert int(where.rpartition(":")[2]) in range(line - 1, line + 2), where


@FUZZ
@given(st.data())
def test_damaged_textgrids_give_tiers_or_an_error(tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from([LONG, SHORT])).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=6))
    path = tmp_path_factory.getbasetemp() / "fuzzed.TextGrid"
    path.write_bytes(bytes(content))
    try:
        for tier in read_textgrid(path):
            for interval in tier.intervals:
                assert interval.start <= interval.end
    except UserError as e:
        assert e.message.startswith(str(path)) and e.hint


def test_ctm(tmp_path):
    text = ";; by hand\nu1 1 0.10 0.20 TWO 0.98\nu2 A 0 1 other\nu1 1 0.35 .5 words\n"
    path = write(tmp_path / "a.ctm", text)
    assert read_ctm(path)["u1"] == [("TWO", 0.1, pytest.approx(0.3)), ("words", 0.35, pytest.approx(0.85))]
    assert set(read_ctm(path, {"u2"})) == {"u2"}
    for line, message in [
        ("u1 1 0.1 0.2", "a.ctm:2: 4 fields"),
        ("u1 1 x 0.2 word", "a.ctm:2: 'x' is not a number of seconds"),
        ("u1 1 0.1 -1 word", "a.ctm:2: '-1' is not"),
        ("u1 1 nan 1 word", "a.ctm:2: 'nan' is not"),
        ("u1 1 0.1 1_0 word", "a.ctm:2: '1_0' is not"),
    ]:
        write(path, f"u1 1 0.2 0.1 first\n{line}\n")
        with pytest.raises(UserError, match=message):
            read_ctm(path)
    write(path, "u1 1 0.2 0.1 b\nu1 1 0.1 0.1 a\n")
    with pytest.raises(UserError, match="a.ctm:2: 'a' starts at 0.1 s, before"):
        read_ctm(path)


@FUZZ
@given(st.binary(max_size=60) | st.text("u1 .-e9\n\t;", max_size=60).map(str.encode))
def test_any_ctm_gives_words_or_an_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.ctm"
    path.write_bytes(content)
    try:
        for words in read_ctm(path).values():
            assert all(0 <= start <= end for _, start, end in words)
    except UserError as e:
        assert e.message.startswith(f"{path}:")


def test_jsonl_forms(tmp_path):
    objects = '{"id": "u2", "words": [{"word": "b", "start": 0, "end": 1}, {"text": "c", "start": 1, "end": 2}]}'
    path = write(tmp_path / "w.jsonl", f'{{"id": "u1", "words": [["a", 0, 0.5]]}}\n\n{objects}\n')
    first, second = read_words(path)
    assert first == Aligned("u1", (("a", 0.0, 0.5),)) and second.words[1] == ("c", 1.0, 2.0)
    assert json.loads(first.line()) == {"id": "u1", "words": [["a", 0.0, 0.5]]}
    for line, message in [
        ("{", "w.jsonl:1: Expecting"),
        ('{"id": 3, "words": []}', 'w.jsonl:1: an object with "id"'),
        ('{"id": "u"}', 'w.jsonl:1: "words" must be a list'),
        ('{"id": "u", "words": [["a", 1, 0]]}', "w.jsonl:1: 'a' ends at 0.0 before"),
        ('{"id": "u", "words": [["a", -1, 0]]}', "w.jsonl:1: 'a' starts at -1.0 before"),
        ('{"id": "u", "words": [["a", 0, NaN]]}', "w.jsonl:1: nan is not a number"),
        ('{"id": "u", "words": [["a", 1, true]]}', "w.jsonl:1: True is not a number"),
        ('{"id": "u", "words": [["a", 0]]}', "w.jsonl:1: .* is not .word, start, end."),
        ('{"id": "u1", "words": []}\n{"id": "u1", "words": []}', "w.jsonl:2: id 'u1' is there twice"),
    ]:
        write(path, line)
        with pytest.raises(UserError, match=message):
            list(read_words(path))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["word", "start", "end", "id"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@FUZZ
@given(JSON | JSON.map(lambda words: {"id": "u", "words": words}) | JSON.map(lambda w: {"id": "u", "words": [w]}))
def test_any_jsonl_gives_ordered_words_or_an_error(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "fuzzed.jsonl"
    path.write_text(json.dumps(value))
    try:
        for aligned in read_words(path):
            times = [start for _, start, _ in aligned.words]
            assert times == sorted(times) and all(0 <= s <= e for _, s, e in aligned.words)
    except UserError as e:
        assert e.message.startswith(f"{path}:1: ")


def test_words_keep_the_spelling_of_the_text():
    spans = [("<eps>", 0, 0.1), ("MR", 0.1, 0.3), ("<unk>", 0.3, 0.6), ("o'clock", 0.6, 1.0), ("sil", 1.0, 1.5)]
    found = fitted("Mr. Brzk - O\N{RIGHT SINGLE QUOTATION MARK}CLOCK!", spans, 1.5)
    assert found == (
        ("Mr.", 0.1, 0.3),
        ("Brzk", 0.3, 0.6),
        ("-", 0.6, 0.6),
        ("O\N{RIGHT SINGLE QUOTATION MARK}CLOCK!", 0.6, 1.0),
    )
    assert fitted("late", [("late", 1.0, 1.55)], 1.5) == (("late", 1.0, 1.5),)
    for text, message in [
        ("mr brzk", 'the text has 2 words, the alignment goes on with "o\'clock"'),
        ("mr brzk o'clock sharp", "has 3 words, the text goes on with 'sharp'"),
        ("mrs brzk o'clock", "word 1 is 'MR', in the text 'mrs'"),
    ]:
        with pytest.raises(ValueError, match=message):
            fitted(text, spans, 1.5)
    with pytest.raises(ValueError, match="ends at 2 s, the utterance at 1.5 s"):
        fitted("late", [("late", 1.0, 2.0)], 1.5)


def test_folders_of_textgrids_and_what_is_missing(tmp_path):
    write(tmp_path / "anna" / "u1.TextGrid", SHORT)
    write(tmp_path / "anna" / "u2.TextGrid", SHORT.replace('"two"', '"two'))
    words = ForeignWords(tmp_path)
    assert words.find(utterance("Two words.")).words == (("Two", 0.0, 0.5), ("words.", 0.5, 1.5))
    assert "u2.TextGrid:15" in words.find(utterance("two words", name="u2")).reason
    assert words.find(utterance("two words", name="u3")).reason.endswith("no u3.TextGrid below it")
    assert "word 2 is 'words', in the text 'swords'" in words.find(utterance("two swords")).reason
    write(tmp_path / "ben" / "u1.TextGrid", SHORT)
    with pytest.raises(UserError, match="has the same name"):
        ForeignWords(tmp_path)
    with pytest.raises(UserError, match="no alignment in a form that is known"):
        ForeignWords(tmp_path / "anna" / "u1.TextGrid")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no TextGrid file below it"):
        ForeignWords(tmp_path / "none")


def test_tiers_are_chosen_by_name(tmp_path):
    tiers = read_textgrid(write(tmp_path / "a.TextGrid", LONG))
    with pytest.raises(UserError, match="0 tiers are called 'word'; there are: 'words', 'phones'"):
        word_tier("a", tiers, "word")
    assert word_tier("a", tiers, "Phones").intervals == ()
