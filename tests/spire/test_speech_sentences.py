"""The generated corpus: right sizes, no leak between parts in any language, grammar that is not word by word."""

import json
import random
import runpy
from dataclasses import astuple
from pathlib import Path

import pytest

from spire.errors import UserError
from spire.speech.grammar import LANGUAGES, TEMPLATES, Sentence, Template
from spire.speech.grammar_lexicon import PLACES, THINGS, Word
from spire.speech.sentences import SentenceSource, Sizes, count_words, generate, read_sentences

main = runpy.run_path(str(Path(__file__).parents[2] / "scripts/data_sentences.py"))["main"]

MINI = Sizes(speech_test=200, speech_dev=100, speech_train=4000, parallel=16000, mono=4000)
SMALL = Sizes(speech_test=20, speech_dev=10, speech_train=50, parallel=60, mono=31)


@pytest.fixture(scope="module")
def mini():
    return generate(MINI, seed=1)


def texts_of(rows, language):
    """All texts of one language in a part; "mono" rows have one language each."""
    if rows and "lang" in rows[0]:
        return [row["text"] for row in rows if row["lang"] == language]
    return [row[language] for row in rows]


def test_sizes_are_exact(mini):
    assert {part: len(rows) for part, rows in mini.items()} == vars(MINI)
    ids = [row["id"] for part, rows in mini.items() if part != "mono" for row in rows]
    assert len(set(ids)) == len(ids)
    assert [row["lang"] for row in mini["mono"][:4]] == ["en", "de", "fr", "en"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_test_or_dev_sentence_is_in_training_text_of_any_kind(mini, language):
    held_out = {part: set(texts_of(mini[part], language)) for part in ("speech_test", "speech_dev")}
    assert not held_out["speech_test"] & held_out["speech_dev"]
    for part in ("speech_train", "parallel", "mono"):
        for name, texts in held_out.items():
            assert not texts & set(texts_of(mini[part], language)), f"{name} leaks into {part} in {language}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_occurs_once(mini, language):
    texts = [text for rows in mini.values() for text in texts_of(rows, language)]
    assert len(set(texts)) == len(texts)


def test_test_words_are_known_from_training(mini):
    for language in LANGUAGES:
        known = {word for text in texts_of(mini["speech_train"], language) for word in text.split()}
        assert {word for text in texts_of(mini["speech_test"], language) for word in text.split()} <= known


def test_vocabulary_and_length_stay_tiny(mini):
    for counts in count_words(mini["speech_train"]).values():
        assert 200 <= counts["types"] <= 250 and 7 <= counts["words_per_sentence"] <= 9


def test_every_template_is_used_evenly(mini):
    starts = ("there are", "please", "where are", "the new number")
    for start in starts:
        share = sum(row["en"].startswith(start) for row in mini["speech_train"]) / 4000
        assert 0.02 < share < 0.12, start


def test_the_seed_decides_and_training_sizes_do_not_move_the_test_set():
    first = generate(SMALL, 1)
    assert first == generate(SMALL, 1)
    assert first["speech_test"] != generate(SMALL, 2)["speech_test"]
    larger = generate(Sizes(20, 10, 500, 600, 310), 1)
    assert larger["speech_test"] == first["speech_test"] and larger["speech_dev"] == first["speech_dev"]
    assert larger["speech_train"][:20] == first["speech_train"][:20]


def test_the_grammar_is_large_enough_and_says_so_when_it_is_not():
    assert SentenceSource().remaining > 30_000
    nouns = tuple(Word(f"e{i}", f"d{i}", f"f{i}") for i in range(10))
    tiny = (Template({"x": nouns}, "{x.en}", "{x.de}", "{x.fr}"),)
    assert len(generate(Sizes(1, 1, 1, 1, 1), 1, tiny)["mono"]) == 1
    with pytest.raises(UserError, match="6 sentences asked for, but the grammar gives 5"):
        generate(Sizes(1, 1, 1, 1, 2), 1, tiny)
    with pytest.raises(UserError, match="--mono -1"):
        generate(Sizes(1, 1, 1, 1, -1), 1)


def test_sentences_equal_in_one_language_only_are_not_drawn_twice():
    ambiguous = tuple(Word(f"e{i}", f"d{i // 3}", f"f{i}") for i in range(12))
    source = SentenceSource((Template({"x": ambiguous}, "{x.en}", "{x.de}", "{x.fr}"),))
    drawn = [source.draw(random.Random(i)) for i in range(4)]
    assert len({s.de for s in drawn}) == 4
    with pytest.raises(UserError, match="no sentence left"):
        source.draw(random.Random(1))


def test_every_index_gives_well_formed_text_once():
    for template in TEMPLATES:
        step = max(1, template.size // 400)
        sentences = [template.sentence(i) for i in range(0, template.size, step)]
        assert len({s.en for s in sentences}) == len(sentences)
        for text in (text for sentence in sentences for text in astuple(sentence)):
            assert text == " ".join(text.split()) and "{" not in text and "|" not in text
            assert not any(c.isdigit() or c in ".,!;" for c in text), text
        with pytest.raises(IndexError):
            template.sentence(template.size)


def test_german_and_french_are_not_word_by_word():
    def find(en):
        for template in TEMPLATES:
            for i in range(min(template.size, 20_000)):
                if template.sentence(i).en == en:
                    return template.sentence(i)
        raise AssertionError(en)

    assert find("my brother bought two small apples at the market") == Sentence(
        "my brother bought two small apples at the market",
        "mein Bruder hat auf dem Markt zwei kleine Äpfel gekauft",
        "mon frère a acheté deux petites pommes au marché",
    )
    assert find("where are the old dogs of Anna?").fr == "où sont les vieux chiens d'Anna?"
    assert find("my brother says that Oliver must open the window") == Sentence(
        "my brother says that Oliver must open the window",
        "mein Bruder sagt dass Oliver das Fenster öffnen muss",
        "mon frère dit qu'Oliver doit ouvrir la fenêtre",
    )


def test_french_noun_phrases_agree_and_german_has_two_endings():
    phrases = {things.en: things for things in THINGS}
    assert phrases["green flowers"].fr == "fleurs vertes" and phrases["green dogs"].fr == "chiens verts"
    assert phrases["new keys"].fr == "nouvelles clés" and phrases["new tickets"].fr == "nouveaux billets"
    assert phrases["red books"].de == "rote Bücher" and phrases["red books"].de_weak == "roten Bücher"
    assert len(phrases) == len(THINGS) and len({p.en for p in PLACES}) == len(PLACES)


def test_script_writes_the_files_and_repeats_itself(tmp_path, capsys):
    sizes = ["--speech-train", "30", "--speech-dev", "5", "--speech-test", "6", "--parallel", "20", "--mono", "9"]
    for name in ("a", "b"):
        assert main(["--out", str(tmp_path / name), "--seed", "3", *sizes]) == 0
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == ["mono.jsonl", "parallel.jsonl", "speech_dev.jsonl", "speech_test.jsonl", "speech_train.jsonl"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert len(read_sentences(tmp_path / "a/speech_train.jsonl")) == 30
    assert "speech_test: 6 lines" in capsys.readouterr().out


def test_a_bad_sentence_file_is_named(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text(json.dumps({"id": "a", "en": "x", "de": "y", "fr": "z"}) + '\n{"id": "b", "en": "x"}\n')
    with pytest.raises(UserError, match=r"s\.jsonl:2: no de, fr"):
        read_sentences(path)
    path.write_text("nonsense\n")
    with pytest.raises(UserError, match=r"s\.jsonl:1: not JSON"):
        read_sentences(path)
