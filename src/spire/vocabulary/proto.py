"""Read and append pieces of a SentencePiece ModelProto without protobuf.

The file is a sequence of (tag, payload) fields: `pieces` = 1, then trainer, normalizer and other specs, which are
copied byte for byte. So what is not touched cannot change, whatever version of SentencePiece wrote it, and the result
equals what Google's library would serialize.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from spire.errors import UserError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
PIECES, TRAINER_SPEC, NORMALIZER_SPEC = 1, 2, 3
# field numbers inside TrainerSpec and NormalizerSpec
TRAINER_MODEL_TYPE, TRAINER_VOCAB_SIZE, TRAINER_SUFFIX = 3, 4, 24
CHARACTER_MAP, DUMMY_PREFIX, EXTRA_SPACES, ESCAPE_SPACES = 2, 3, 4, 5
UNIGRAM, BPE = 1, 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Piece:
    """One vocabulary entry: text, score (a float32) and type."""

    text: str
    score: float
    type: int = NORMAL


def read_pieces(model: bytes) -> list[Piece]:
    """All pieces in id order. Raises UserError when the bytes are no ModelProto."""
    return [_piece(model[start:end]) for number, _, start, end in _fields(model) if number == PIECES]


@dataclass(frozen=True)
class Normalization:
    """What SentencePiece does to text before it looks for pieces.

    Attributes: bpe (merges pairs; else another algorithm), prefix (puts a space before the text), plain (no character
    is replaced, no space removed, and `▁` stands for a space, before a word).
    """

    bpe: bool
    prefix: bool
    plain: bool


def normalization(model: bytes) -> Normalization:
    """The settings of a model, absent ones by SentencePiece's defaults."""
    trainer, normalizer = _numbers(model, TRAINER_SPEC), _numbers(model, NORMALIZER_SPEC)
    return Normalization(
        bpe=trainer.get(TRAINER_MODEL_TYPE, UNIGRAM) == BPE,
        prefix=bool(normalizer.get(DUMMY_PREFIX, 1)),
        plain=not normalizer.get(CHARACTER_MAP, 0)
        and not normalizer.get(EXTRA_SPACES, 1)
        and bool(normalizer.get(ESCAPE_SPACES, 1))
        and not trainer.get(TRAINER_SUFFIX, 0),
    )


def trainer_vocab_size(model: bytes) -> int | None:
    """The vocabulary size the trainer recorded (None when it recorded none)."""
    return _numbers(model, TRAINER_SPEC).get(TRAINER_VOCAB_SIZE)


def _numbers(model: bytes, spec: int) -> dict[int, int]:
    """Field number -> value of the integers in a part of the model; of texts and bytes, the length."""
    found: dict[int, int] = {}
    for number, _, start, end in _fields(model):
        if number == spec:
            part = model[start:end]
            for inner, kind, at, stop in _fields(part):
                if kind in (VARINT, BYTES):
                    found[inner] = _varint(part, at)[0] if kind == VARINT else stop - at
    return found


def append_pieces(model: bytes, new: list[Piece]) -> bytes:
    """The model with `new` after its last piece; every other byte stays."""
    end = 0
    for number, _, _, stop in _fields(model):
        if number == PIECES:
            end = stop
    if not end:
        raise UserError("not a SentencePiece model: it has no pieces")
    return model[:end] + b"".join(_field(PIECES, _serialize(p)) for p in new) + model[end:]


def _piece(payload: bytes) -> Piece:
    text, score, kind = "", 0.0, NORMAL
    for number, _, start, end in _fields(payload):
        if number == 1:
            text = payload[start:end].decode("utf-8")
        elif number == 2:
            (score,) = struct.unpack("<f", payload[start:end])
        elif number == 3:
            kind = _varint(payload, start)[0]
    return Piece(text, score, kind)


def _serialize(piece: Piece) -> bytes:
    return (
        _field(1, piece.text.encode("utf-8"))
        + bytes([2 << 3 | FIXED32])
        + struct.pack("<f", piece.score)
        + bytes([3 << 3 | VARINT])
        + _to_varint(piece.type)
    )


def _field(number: int, payload: bytes) -> bytes:
    return _to_varint(number << 3 | BYTES) + _to_varint(len(payload)) + payload


def _to_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, position after it)."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise UserError(f"not a SentencePiece model: broken number at byte {at}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, start, end) of each payload."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        start = at
        if kind == VARINT:
            _, at = _varint(data, at)
        elif kind == BYTES:
            length, start = _varint(data, at)
            at = start + length
        elif kind in (FIXED32, FIXED64):
            at += 4 if kind == FIXED32 else 8
        else:
            raise UserError(f"not a SentencePiece model: wire type {kind} at byte {at}")
        if at > len(data) or number == 0:
            raise UserError(f"not a SentencePiece model: a field ends after the file ({at} > {len(data)} bytes)")
        yield number, kind, start, at
