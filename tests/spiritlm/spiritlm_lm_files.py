"""Small models and documents for the tests of the language model."""

import json

import numpy as np

from spiritlm.lm.documents import Inputs, build
from spiritlm.lm.extend import extend_model_folder
from spiritlm.lm.text import corpus_lines, train_vocabulary
from spiritlm.lm.vocabulary import Units

WORDS = [
    "the",
    "dog",
    "saw",
    "a",
    "red",
    "house",
    "and",
    "ran",
    "to",
    "Anna",
    "had",
    "three",
    "cats",
    "on",
    "it",
    "today",
]
UNITS = Units(21, 8, 4, tasks=True)


def sentences(count, seed, least=4, most=12):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, int(rng.integers(least, most)))) for _ in range(count)]


def write_texts(path, count=120, seed=0):
    said = sentences(3 * count, seed)
    rows = [{"sentences": said[3 * i : 3 * i + 3]} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_text_model(folder, shape=(16, 2, 2, 32), seed=1, size=320):
    """A text model of random weights with a vocabulary of the words, at folder/text."""
    from spire.training.checkpoint import new_directory, new_model, write_model
    from spire.training.llama import LlamaShape
    from spire.vocabulary.tokenizer import Vocabulary

    folder.mkdir(exist_ok=True)
    texts = write_texts(folder / "texts.jsonl")
    (folder / "text.model").write_bytes(train_vocabulary([texts], size))
    vocabulary = Vocabulary.load(folder / "text.model")
    hidden, layers, heads, ffn = shape
    model = new_model(LlamaShape(vocabulary.padded_size, hidden, layers, heads, ffn), seed)
    with new_directory(folder / "text") as out:
        write_model(model, vocabulary, out, vocabulary.eos)
    return folder / "text"


def write_model(folder, units=UNITS, **how):
    """The extended model at folder/model."""
    extend_model_folder(write_text_model(folder), folder / "model", units, seed=2, **how)
    return folder / "model"


def write_speech(folder, count=24, seed=3, name="train"):
    """Streams, words and a manifest of utterances in stories of three; returns the three paths."""
    rng = np.random.default_rng(seed)
    rows = {"streams": [], "words": [], "manifest": []}
    for number, said in enumerate(sentences(count, seed)):
        words, at = [], 0.05
        for word in said.split():
            end = at + 0.12 + 0.3 * rng.random()
            words.append([word, round(at, 3), round(end, 3)])
            at = end + (0.1 if rng.random() < 0.3 else 0.0)
        seconds = at + 0.1
        stream = {
            "id": f"{name}{number}",
            "hubert": _runs(rng, 21, seconds * 24.99),
            "pitch": _runs(rng, 8, seconds * 12.5),
        }
        rows["streams"].append(stream | {"style": _runs(rng, 4, np.ceil(seconds))})
        rows["words"].append({"id": f"{name}{number}", "words": words})
        rows["manifest"].append({"id": f"{name}{number}", "story": f"s{number // 3}"})
    paths = []
    for kind, lines in rows.items():
        paths.append(folder / f"{name}.{kind}.jsonl")
        paths[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))
    return paths


def _runs(rng, units, count):
    ids = np.repeat(rng.integers(0, units, int(count) + 1), rng.integers(1, 4, int(count) + 1))[: int(count)]
    return " ".join(map(str, ids))


def write_documents(folder, vocabulary, expressive=True, count=24, name="train"):
    """Folders of speech documents and of text documents."""
    streams, words, manifest = write_speech(folder, count, name=name)
    speech, text = folder / f"{name}.speech", folder / f"{name}.text"
    build(Inputs(streams, words, manifest, "story", expressive=expressive), vocabulary, speech)
    build(Inputs(text=(write_texts(folder / f"{name}.texts.jsonl", 20, seed=5),)), vocabulary, text)
    return speech, text


def write_corpus(path, texts):
    path.write_text("".join(json.dumps(line) + "\n" for line in corpus_lines([texts])))
    return path
