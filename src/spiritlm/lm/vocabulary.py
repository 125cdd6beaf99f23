"""The unified vocabulary: a text vocabulary, two markers and the units of the streams (spiritlm 7).

Guarantees: ids of the base keep their meaning; after them come [Text], [Speech], [Hu0] ..., and in Expressive [Pi0] ...
and [St0] ..., as in the released models; each is one token wherever it stands, in SentencePiece, in tokenizer.json and
so in transformers, in our own code and in vLLM. Matrices have a multiple of 256 rows (32,512 and 32,768 with Llama's
32,000).

Markers and units are user-defined symbols of the SentencePiece model: the release has no other file that could hold
them. A text behind a marker has no word start, so "[Text]The" is [Text] and "The" without a space before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spire.errors import UserError
from spire.vocabulary.extend import extend_model
from spire.vocabulary.layout import Layout
from spire.vocabulary.plain import PlainVocabulary
from spire.vocabulary.tokenizer import Vocabulary
from spiritlm.model.vocabulary import SPEECH, TEXT, UnitIds

ROWS_MULTIPLE = 256
HUBERT_UNITS, PITCH_UNITS, STYLE_UNITS = 501, 64, 100
ASR, TTS = "[ASR]", "[TTS]"  # of the ablations with transcription and synthesis as tasks (papers 2.2)
FORM = "spiritlm"
_MAX_UNITS = 4096  # of a stream; `spiritlm.lm.store` gives a unit 12 bits


@dataclass(frozen=True)
class Units:
    """How many units each stream has (hubert: with the blank class), and whether the tasks' marks are wanted."""

    hubert: int = HUBERT_UNITS
    pitch: int = 0
    style: int = 0
    tasks: bool = False

    def __post_init__(self) -> None:
        for name, least in (("hubert", 1), ("pitch", 0), ("style", 0)):
            if not least <= getattr(self, name) <= _MAX_UNITS:
                raise UserError(f"{getattr(self, name)} {name} units: {least} to {_MAX_UNITS} are possible")
        if bool(self.pitch) != bool(self.style):
            raise UserError("pitch and style units go together", hint="give both (Expressive) or neither (Base)")

    def names(self) -> list[str]:
        """Every new token behind the two markers, in id order."""
        numbers = (("Hu", self.hubert), ("Pi", self.pitch), ("St", self.style))
        units = [f"[{kind}{i}]" for kind, n in numbers for i in range(n)]
        return [*units, ASR, TTS] if self.tasks else units


def unified_vocabulary(old: Vocabulary | PlainVocabulary, units: Units) -> Vocabulary | PlainVocabulary:
    """`old` with markers and units. UserError when it has tokens of these names, or was extended before."""
    if old.layout.specials or old.layout.instruct:
        raise UserError("the vocabulary is extended already", hint="give the text model that it was made from")
    names = units.names()
    layout = Layout(
        base=old.size,
        specials=[TEXT, SPEECH],
        units=units.hubert,
        merged=units.pitch + units.style,
        size=old.size + 2 + len(names),
        padded_size=-(-(old.size + 2 + len(names)) // ROWS_MULTIPLE) * ROWS_MULTIPLE,
        form=FORM,
    )
    if isinstance(old, PlainVocabulary):
        return old.extended([TEXT, SPEECH], names, [], layout)
    # All of them as "specials": those are user-defined symbols, which no merges need to make.
    model, _ = extend_model(old.model, [], specials=(TEXT, SPEECH, *names))
    return Vocabulary(model, layout)


@dataclass(frozen=True)
class Tokens:
    """What rendering needs of a vocabulary, as numbers.

    Attributes: ids (markers and ranges of units); text_opening and speech_opening (what opens a text that begins with
    a marker: `<s>`, with SentencePiece a word start, and the marker); asr and tts (ids of the tasks' marks, None
    without); eos; rows (of the matrices).
    """

    ids: UnitIds
    text_opening: tuple[int, ...]
    speech_opening: tuple[int, ...]
    eos: int
    rows: int
    asr: int | None = None
    tts: int | None = None

    @classmethod
    def of(cls, vocabulary: Vocabulary | PlainVocabulary, where: str = "the vocabulary") -> Tokens:
        """UserError when `vocabulary` is not a unified one."""
        known = {vocabulary.piece(i): i for i in range(vocabulary.layout.base, vocabulary.size)}
        ids = UnitIds.from_vocabulary(known, where)
        return cls(
            ids=ids,
            text_opening=tuple(vocabulary.encode(TEXT, bos=True)),
            speech_opening=tuple(vocabulary.encode(SPEECH, bos=True)),
            eos=vocabulary.eos,
            rows=vocabulary.padded_size,
            asr=known.get(ASR),
            tts=known.get(TTS),
        )

    def is_speech(self, ids: np.ndarray) -> np.ndarray:
        """Which ids are units."""
        return (ids > self.ids.speech) & (ids < self.ids.size)


def text_pieces(vocabulary: Vocabulary | PlainVocabulary) -> list[str]:
    """The pieces below the markers: what the ids of text depend on, the same in Base and Expressive."""
    return [vocabulary.piece(i) for i in range(vocabulary.layout.base)]
