"""Fuzzing: whatever is done to a published file, its reader gives a valid result or a UserError, and runs nothing.

Mutations of the golden files as bytes, of the pickle inside an archive (whose checksums are made right again, so that
the damage reaches the pickle machine), random pickle programs, and, for the sound ones, agreement with Python's pickle.
"""

import pickle
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from foreign_files import archive
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spire.errors import UserError
from spire.foreign.fairseq import VOCABULARY, read_fairseq
from spire.foreign.joblib_kmeans import VOCABULARY as KMEANS_VOCABULARY
from spire.foreign.open import open_kmeans
from spire.foreign.settings import plain
from spire.foreign.source import Source
from spire.foreign.torch_file import TorchFile, tensors_of
from spire.foreign.unpickle import _OPERATIONS, Machine, Vocabulary

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
JOBLIB = (GOLDENS / "spirelm" / "kmeans50_f32.joblib").read_bytes()
CHECKPOINT = GOLDENS / "fairseq" / "hubert_tiny_large_prenorm.pt"
ENCODE = KMEANS_VOCABULARY.calls["_codecs.encode"]
MANY = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
FEWER = settings(MANY, max_examples=60)

_lookups: list[object] | None = None


def _watch(event, arguments):
    if _lookups is not None and event == "pickle.find_class":
        _lookups.append(arguments)


sys.addaudithook(_watch)


@pytest.fixture(scope="module", autouse=True)
def no_name_is_looked_up():
    """Of everything in this file but the comparison with pickle, which reads plain values only."""
    global _lookups
    _lookups = []
    yield
    assert _lookups == []
    _lookups = None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def golden_members():
    with zipfile.ZipFile(CHECKPOINT) as opened:
        return {info.filename.split("/", 1)[1]: opened.read(info) for info in opened.infolist()}


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "insert", "delete", "copy", "cut", "token"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=6,
)
TOKENS = [b"R", b"b", b"\x81", b"\x93", b"h\x01", b"(", b"t", b".", b"0", b"\x95" + b"\xff" * 8, b"cos\nsystem\n", b"N",
          b"}", b"B\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"Q", b"u", b"\x94"]  # fmt: skip


def edited(data, edits):
    data = bytearray(data)
    for kind, place, value, length in edits:
        at = int(place * (len(data) + 1))
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << value % 8
        elif kind == "set" and at < len(data):
            data[at] = value
        elif kind == "insert":
            data[at:at] = bytes([value]) * length
        elif kind == "delete":
            del data[at : at + length]
        elif kind == "copy":
            data[at:at] = data[value : value + length]
        elif kind == "cut" and value % 4 == 0:
            del data[at:]
        elif kind == "token":
            data[at:at] = TOKENS[value % len(TOKENS)]
    return bytes(data)


def read_as_kmeans(data, folder):
    path = folder / "kmeans"
    path.write_bytes(data)
    try:
        kmeans = open_kmeans(path)
    except UserError as e:
        assert str(path) in e.message
        return
    assert kmeans.centroids.ndim == 2 and np.isfinite(kmeans.centroids).all()


def read_as_checkpoint(data, folder):
    path = folder / "checkpoint.pt"
    path.write_bytes(data)
    try:
        with TorchFile(path, VOCABULARY) as file:
            for tensor in read_fairseq(file).tensors.values():
                assert file.array(tensor).shape == tensor.shape
    except UserError as e:
        assert str(path) in e.message


@MANY
@given(edits=EDITS)
def test_damaged_joblib_files(edits, folder):
    read_as_kmeans(edited(JOBLIB, edits), folder)


@FEWER
@given(edits=EDITS, inside=st.booleans())
def test_damaged_compressed_files(edits, inside, folder):
    read_as_kmeans(zlib.compress(edited(JOBLIB, edits)) if inside else edited(zlib.compress(JOBLIB), edits), folder)


@FEWER
@given(edits=EDITS, form=st.sampled_from(["npy", "npz", "safetensors"]))
def test_damaged_matrices(edits, form, folder):
    path = folder / f"sound.{form}"
    if not path.exists():
        from spire.units.kmeans import KMeans, save

        matrix = np.arange(12, dtype=np.float32).reshape(4, 3)
        if form == "safetensors":
            save(path, KMeans(matrix, {"layer": "3"}))
        else:
            (np.save if form == "npy" else np.savez)(path, **{"arr" if form == "npy" else "centroids": matrix})
    read_as_kmeans(edited(path.read_bytes(), edits), folder)


@FEWER
@given(edits=EDITS, whole=st.booleans())
def test_damaged_checkpoints(edits, whole, folder, golden_members):
    if whole:
        read_as_checkpoint(edited(CHECKPOINT.read_bytes(), edits), folder)
        return
    members = dict(golden_members)
    data = edited(members.pop("data.pkl"), edits)
    read_as_checkpoint(archive(data, "a", [(f"a/{name}", content) for name, content in members.items()]), folder)


PROGRAMS = st.lists(
    st.one_of(
        st.sampled_from(sorted(_OPERATIONS)),
        st.sampled_from(TOKENS),
        st.sampled_from([b"cargparse\nNamespace\n", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n",
                         b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy.core.multiarray\nscalar\n",
                         b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"K\x02", b"U\x02f4",
                         b"U\x06latin1", b"K\x01K\x02\x86", b"C\x04abcd", b")", b"\x85", b"\x86", b"\x87"]),
        st.binary(max_size=6),
    ),
    max_size=60,
)  # fmt: skip


@MANY
@given(pieces=PROGRAMS, vocabulary=st.sampled_from([VOCABULARY, KMEANS_VOCABULARY]))
def test_random_programs(pieces, vocabulary):
    try:
        value = Machine(Source([b"".join(pieces) + b"."], "program"), vocabulary).load()
        plain(value, "program")
        tensors_of(value, "program")
    except UserError as e:
        assert e.message.startswith("program: ")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 300), 1 << 300) | st.floats(allow_nan=False) | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(-9, 9), inner),
    max_leaves=20,
)  # fmt: skip


@MANY
@given(value=VALUES, protocol=st.integers(0, 5))
def test_plain_values_are_read_as_pickle_reads_them(value, protocol):
    vocabulary = Vocabulary({"_codecs.encode": ENCODE, "__builtin__.bytes": lambda machine, args: b""})
    assert Machine(Source([pickle.dumps(value, protocol)], "value"), vocabulary).load() == value


@pytest.mark.parametrize("size", range(0, len(JOBLIB), 97))
def test_every_cut_is_noticed(size, folder):
    path = folder / "cut"
    for data in (JOBLIB[:size], zlib.compress(JOBLIB)[: size // 2]):
        path.write_bytes(data)
        with pytest.raises(UserError):
            open_kmeans(path)
