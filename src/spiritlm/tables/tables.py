"""SpiRit-LM's Tables 3, 4, 5, 6, 9 and 10 from measures, each beside the published numbers.

Models are branches of Spirit; `spiritlm_BRANCH` is the published counterpart. Base is the model that others are
compared with, on the same items.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from spire.errors import UserError
from spire.tables.layout import Number, Table
from spire.tables.published import Published, PublishedColumn
from spiritlm.tables.beside import Asked, System, beside, marked, notes
from spiritlm.tables.collected import Collected, Part
from spiritlm.tables.parts import part_tables

REFERENCE = "base"
PROMPTS = "prompt_classifier"
"""What the classifiers of STSP make of the prompts themselves, which no model has continued."""
MAIN = ("base", "expressive")
"""Models of Table 4; those of Table 6 are all others, beside Base."""
PER_TOKEN, RAW = "accuracy", "accuracy_raw"
DIRECTIONS = {"t-t": "text to text", "t-s": "text to speech", "s-s": "speech to speech", "s-t": "speech to text"}
CHANCE = "Guessing scores 50 % (MMLU 25 %)."
SUBSETS = ("wuggy_", "blimp_")
"""Parts of test sets, by how often a word is written or what is wrong with a sentence: measured, but no columns."""
SHOTS = re.compile(r"(?P<name>.+)_(?P<shots>[0-9]+)shot")
SOURCES = {
    "original": "original audio",
    "base": "Base units",
    "expressive": "Expressive units",
    "shuffled": "units of another utterance (control)",
}
RESYNTHESIS = (
    Asked("bits", "bits a second", "bits_per_second", 0),
    Asked("mel", "mel distance", "mel_distance", 2),
    Asked("wer", "WER %", "wer"),
    Asked("style", "style units kept %", "style_accuracy"),
    Asked("emotion", "emotion accuracy %", "emotion_accuracy"),
    Asked("f0", "F0 frame error %", "f0_error"),
)


def comprehension_tables(found: Collected, published: Published, generated: bool) -> list[Table]:
    """Table 4; `UserError` when nothing of the task comprehension was measured."""
    return [_comprehension("comprehension", "Comprehension (SpiRit-LM, Table 4)", MAIN, found, published, generated)]


def ablation_tables(found: Collected, published: Published, generated: bool) -> list[Table]:
    """Table 6: Base and all models that are not in Table 4."""
    others = [m for m in found.models(task="comprehension") if m not in MAIN]
    title = "Ablations (SpiRit-LM, Table 6)"
    return [_comprehension("spirit_ablations", title, (REFERENCE, *others), found, published, generated, "ablations")]


def normalization_tables(found: Collected, published: Published, generated: bool) -> list[Table]:
    """Table 10: raw beside token-normalized log-likelihoods."""
    asked, parts = _columns(found, published.columns["comprehension"], "comprehension", {PER_TOKEN})
    names = {RAW: "raw", PER_TOKEN: "per token"}
    models = [m for m in MAIN if m in found.models(task="comprehension")]
    systems = [
        System(f"{_named(published, _key(model))}, {names[metric]}", f"{model} {metric}")
        for model in models
        for metric in names
    ]

    def ours(system: System, column: Asked) -> Number | None:
        model, metric = system.model.split()
        return found.mean(model, "comprehension", parts[column.key], metric)

    title = "Raw and token-normalized likelihoods (SpiRit-LM, Table 10)"
    # Published rows differ by metric, which is no part of a row elsewhere: they are added by hand.
    table = beside("normalization", title, asked, systems, ours, published, True, only=lambda key: False)
    keys = {column.title: column.key for column in asked}
    table.rule()
    for metric, words in names.items():
        cells = [
            published.number("comprehension", _key(REFERENCE), "", metric, keys[column.title])
            for column in table.columns[1:]
        ]
        table.add(f"{published.label(_key(REFERENCE))}, {words} (published)", *cells)
    about = "raw: the ending with the higher sum of log-probabilities counts; per token: the higher mean."
    table.notes = notes(table, published, generated, "", about, CHANCE) + published.source_notes("comprehension")
    return [table]


def fewshot_tables(found: Collected, published: Published, generated: bool) -> list[Table]:
    """Table 5: recognition, speaking, intents, from examples in the prompt."""
    metrics = {"asr": "wer", "tts": "cer", "ic": "accuracy"}
    columns = published.columns["generation"]
    asked, parts = _columns(found, columns, "fewshot", set(metrics.values()), lambda name: metrics[name.split("_")[0]])
    systems = _systems(found, published, "fewshot", mode="10-shot")
    ours = _compared(found, "fewshot", parts)
    title = "Recognition, speaking and intents from examples (SpiRit-LM, Table 5)"
    table = beside("fewshot", title, asked, systems, ours, published, generated, table="generation")
    about = "WER and CER: lower is better. CER of spoken answers is that of their transcripts."
    table.notes = notes(table, published, generated, _label(published), about) + published.source_notes("generation")
    return [table]


def stsp_tables(found: Collected, published: Published, generated: bool) -> list[Table]:
    """Table 3: whether a continuation keeps the sentiment; one row a model and number of examples, and one of the
    prompts themselves, over the same test sets."""
    wanted = [m for m in found.select(task="stsp", metric="accuracy") if m.model != PROMPTS]
    if not wanted:
        raise UserError("no measure of the task stsp in any folder", "run the plan stsp")
    shots: dict[int, dict[str, list[Part]]] = {}
    prompts: dict[str, list[Part]] = {}
    for test_set, direction in sorted({(m.test_set, m.direction) for m in wanted}):
        match = SHOTS.fullmatch(test_set)
        of_shots = shots.setdefault(int(match["shots"]) if match else 0, {})
        of_shots.setdefault(direction, []).append((test_set, direction))
        part = (f"{match['name']}_0shot" if match else test_set, direction)
        prompts[direction] = sorted({*prompts.get(direction, []), part})
    asked = [Asked(d.replace("-", "."), title, "accuracy") for d, title in DIRECTIONS.items()]
    asked.append(Asked("average", "average", "accuracy"))
    models = published.order([_key(m) for m in {m.model for m in wanted}])
    systems = [
        System(_named(published, key), _branch(key), f"{count}-shot", key) for key in models for count in sorted(shots)
    ]
    systems.append(System(_named(published, _key(PROMPTS)), PROMPTS, "", _key(PROMPTS)))

    def ours(system: System, column: Asked) -> Number | None:
        by_direction = prompts if system.model == PROMPTS else shots[int(system.mode.split("-")[0])]
        if column.key != "average":
            return found.mean(system.model, "stsp", by_direction.get(column.key.replace(".", "-"), []), "accuracy")
        if set(by_direction) != set(DIRECTIONS) or system.model == PROMPTS:
            return None
        means = [found.mean(system.model, "stsp", parts, "accuracy") for parts in by_direction.values()]
        return Number(sum(m.value for m in means) / len(means)) if all(means) else None

    title = "Sentiment preserved, accuracy in percent (SpiRit-LM, Table 3)"
    table = beside("stsp", title, asked, systems, ours, published, generated, modes=lambda mode: mode)
    about = "A direction is the plain mean over its test sets; guessing scores 33 %. No answer is a wrong answer."
    if any(row[0] == _named(published, _key(PROMPTS)) for row in table.rows):
        about += " The last of our rows: the classifiers on the prompts, before anything is continued."
    table.notes = notes(table, published, generated, "", about) + published.source_notes("stsp")
    return [table]


def resynthesis_tables(found: Collected, published: Published, generated: bool) -> list[Table]:
    """Table 9: audio to units and back, by source of the audio."""
    present = {test_set for test_set, _ in found.parts(task="resynthesis")}
    if not present:
        raise UserError("no measure of the task resynthesis in any folder", "run the plan resynthesis")
    counterparts = {"original": "original audio", "base": _key("base"), "expressive": _key("expressive")}
    order = [s for s in SOURCES if s in present] + sorted(present - set(SOURCES))
    systems = [System(SOURCES.get(s, s.replace("_", " ")), s, "", counterparts.get(s, "")) for s in order]

    def ours(system: System, column: Asked) -> Number | None:
        for m in found.select(task="resynthesis", test_set=system.model, metric=column.metric):
            return found.mean(m.model, "resynthesis", [(m.test_set, m.direction)], column.metric, column.digits)
        return None

    title = "Resynthesis (SpiRit-LM, Table 9)"
    table = beside("resynthesis", title, RESYNTHESIS, systems, ours, published, generated)
    about = (
        "Lower is better except for style and emotion. Bits a second are those of the units. Style units are those of "
        "the original, second by second; what the paper gives is a classifier's accuracy in emotions. WER is that of "
        "transcripts by the study's own recognizer, against the spoken text; an F0 frame is wrong when its voicing is, "
        "or when it is off by over 20 %."
    )
    table.notes = notes(table, published, generated, "", about) + published.source_notes("resynthesis")
    return [table]


TABLES: dict[str, Callable[[Collected, Published, bool], list[Table]]] = {
    "stsp": stsp_tables,
    "comprehension": comprehension_tables,
    "fewshot": fewshot_tables,
    "ablations": ablation_tables,
    "resynthesis": resynthesis_tables,
    "normalization": normalization_tables,
    "parts": part_tables,
}
"""By name: of the paper's Tables 3, 4, 5, 6, 9, 10, and one of our own."""


def _comprehension(
    name: str,
    title: str,
    models: tuple[str, ...],
    found: Collected,
    published: Published,
    generated: bool,
    theirs: str = "",
) -> Table:
    asked, parts = _columns(found, published.columns["comprehension"], "comprehension", {PER_TOKEN})
    systems = [s for s in _systems(found, published, "comprehension") if s.model in models]
    ours = _compared(found, "comprehension", parts)
    table = beside(name, f"{title}: accuracy in percent", asked, systems, ours, published, generated, theirs)
    about = "The ending with the higher log-probability per token counts; raw sums are in the table normalization."
    table.notes = notes(table, published, generated, _label(published), about, CHANCE)
    table.notes += published.source_notes(theirs or name)
    return table


def _columns(
    found: Collected,
    columns: list[PublishedColumn],
    task: str,
    metrics: set[str],
    metric_of: Callable[[str], str] = lambda name: PER_TOKEN,
) -> tuple[list[Asked], dict[str, list[Part]]]:
    """The published columns, then test sets of ours that no column has; and the parts behind each. `UserError` when
    nothing of the task was measured."""
    measured = [
        part
        for part in found.parts(task=task)
        if any(found.select(task=task, test_set=part[0], metric=m) for m in metrics)
    ]
    if not measured:
        raise UserError(f"no measure of the task {task} in any folder", f"run the plan {task}")
    asked, parts = [], {}
    for column in columns:
        parts[column.key] = list(column.cells)
        asked.append(Asked(column.key, column.title, metric_of(column.cells[0][0])))
    covered = {part for of_column in parts.values() for part in of_column}
    for test_set, direction in measured:
        if (test_set, direction) not in covered and not test_set.startswith(SUBSETS):
            key = f"{test_set}.{direction}"
            parts[key] = [(test_set, direction)]
            title = f"{test_set.replace('_', ' ')}, {DIRECTIONS[direction]}"
            asked.append(Asked(key, title, metric_of(test_set)))
    return asked, parts


def _systems(found: Collected, published: Published, task: str, mode: str = "") -> list[System]:
    keys = published.order([_key(model) for model in found.models(task=task)])
    return [System(_named(published, key), _branch(key), mode, key) for key in keys]


def _compared(found: Collected, task: str, parts: dict[str, list[Part]]) -> Callable[[System, Asked], Number | None]:
    """Means, with the difference from the reference model on the same items."""

    def ours(system: System, column: Asked) -> Number | None:
        number = found.mean(system.model, task, parts[column.key], column.metric)
        if number is None or system.model == REFERENCE:
            return number
        return marked(number, found.gap(system.model, REFERENCE, task, parts[column.key], column.metric))

    return ours


def _key(branch: str) -> str:
    return f"spiritlm_{branch}"


def _branch(key: str) -> str:
    return key.removeprefix("spiritlm_")


def _named(published: Published, key: str) -> str:
    """The label of a model; one that the file does not know keeps the name of its branch."""
    return published.label(key) if key in published.models else _branch(key)


def _label(published: Published) -> str:
    return published.label(_key(REFERENCE))
