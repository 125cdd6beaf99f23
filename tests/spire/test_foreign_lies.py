"""Files that lie: bombs, wrong shapes, values that are not finite, damage. Refused quickly, in little memory."""

import bz2
import io
import lzma
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from foreign_files import archive, as_setting, called, name, npz, quickly, stream, text

from spire.errors import UserError
from spire.foreign.fairseq import VOCABULARY
from spire.foreign.open import encoder_directory, open_kmeans
from spire.foreign.settings import plain
from spire.foreign.source import Source
from spire.foreign.torch_file import TorchFile
from spire.foreign.unpickle import Limits, Machine

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
JOBLIB = GOLDENS / "spirelm" / "kmeans50_f32.joblib"
CHECKPOINT = GOLDENS / "fairseq" / "hubert_tiny_large_prenorm.pt"
DOUBLED = b")" + b"2\x86" * 200  # a pair of a pair of ..., each twice the same: 2^200 leaves


@pytest.mark.parametrize(
    "body",
    {
        "shared pairs": DOUBLED,
        "shared lists": b"]\x94" + b"".join(b"0]\x94h" + bytes([i]) + b"ah" + bytes([i]) + b"a" for i in range(200)),
        "deep": b")" + b"\x85" * 50_000,
        "a list in itself": b"]\x942a",
        "a dictionary in itself": b"}\x94" + text("k") + b"h\x00s",
    }.items(),
    ids=lambda item: item[0],
)
def test_structures_that_explode_when_walked_are_refused(body, tmp_path):
    path = tmp_path / "laughs.pt"
    path.write_bytes(archive(as_setting(b"\x80\x02" + body[1] + b".")))
    with quickly(), pytest.raises(UserError, match="values or 32 levels|neither cfg nor args"):
        encoder_directory(path, cache_dir=tmp_path)
    with pytest.raises(UserError, match="values or 32 levels"):
        plain(Machine(Source([body[1] + b"."], "x"), VOCABULARY).load(), "x")


@pytest.mark.parametrize("key", [DOUBLED, b")" + b"\x85" * 50_000], ids=["doubled", "deep"])
def test_keys_that_take_forever_to_hash_are_refused(key):
    for program in (b"}" + key + b"Ns.", b"(" + key + b"\x91.", b"(" + key + b"Nd."):
        with quickly(), pytest.raises(UserError, match="dictionary key"):
            Machine(Source([program], "x"), VOCABULARY).load()


def test_operations_nesting_and_memory_are_limited():
    with quickly(), pytest.raises(UserError, match="nests its data"):
        Machine(Source([b"(" * 5000], "x"), VOCABULARY).load()
    with pytest.raises(UserError, match="pickle operations"):
        Machine(Source([b"N0" * 600 + b"N."], "x"), VOCABULARY, Limits(operations=1000)).load()
    with pytest.raises(UserError, match="pickle operations"):
        Machine(Source([b"(" + b"N" * 600 + b"t."], "x"), VOCABULARY, Limits(operations=1000)).load()
    with quickly(), pytest.raises(UserError, match="the limit is 1000"):
        Machine(Source([b"B" + struct.pack("<I", 1 << 31) + b"."], "x", limit=1000), VOCABULARY).load()
    with pytest.raises(UserError, match="ends in the middle"):
        Machine(Source([b"B" + struct.pack("<I", 1 << 20) + b"."], "x"), VOCABULARY).load()


def wrapped_array(
    shape, dtype=b"f4", data=b"", subclass="ndarray", state=b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
):
    """A KMeans whose centroids are joblib's array of `shape`; `data` are its bytes."""
    kind = called(name("numpy", "dtype"), text(dtype), b"\x89", b"\x88") + state
    sizes = b"(" + b"".join(b"\x8a\x08" + size.to_bytes(8, "little", signed=True) for size in shape) + b"t"
    fields = {
        "subclass": name("numpy", subclass), "shape": sizes, "order": text("C"), "dtype": kind, "allow_mmap": b"\x89",
    }  # fmt: skip
    wrapper = name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}("
    wrapper += b"".join(text(key) + value for key, value in fields.items()) + b"ub"
    model = b"\x80\x04" + name("sklearn.cluster._kmeans", "KMeans") + b")\x81}" + text("cluster_centers_")
    return model + wrapper + data + b"sb."


def test_the_helper_makes_a_valid_kmeans(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    (tmp_path / "k").write_bytes(wrapped_array((2, 3), data=values.tobytes()))
    assert np.array_equal(open_kmeans(tmp_path / "k").centroids, values)


@pytest.mark.parametrize(
    "data",
    {
        "no data": wrapped_array((1 << 20, 1 << 19)),
        "overflowing sizes": wrapped_array((1 << 39, 1 << 39)),
        "negative size": wrapped_array((-1, 4), data=b"\0" * 64),
        "many dimensions": wrapped_array((1,) * 40, data=b"\0" * 64),
        "one dimension": wrapped_array((4,), data=b"\0" * 16),
        "three dimensions": wrapped_array((1, 2, 2), data=b"\0" * 16),
        "no clusters": wrapped_array((0, 4)),
        "no features": wrapped_array((4, 0)),
        "integers": wrapped_array((2, 2), b"i4", b"\0" * 16),
        "half precision": wrapped_array((2, 2), b"f2", b"\0" * 8),
        "objects": wrapped_array((2, 2), b"O8", pickle.dumps(np.zeros((2, 2), object))),
        "texts": wrapped_array((2, 2), b"U1", b"\0" * 16),
        "records": wrapped_array((2, 2), b"V8", b"\0" * 32),
        "a field list as type": wrapped_array((2, 2), b"f4,f4", b"\0" * 32),
        "a structured state": wrapped_array(
            (1, 2), data=b"\0" * 8, state=b"(K\x03U\x01<N)}J\xff\xff\xff\xffK\x00K\x00tb"
        ),
        "memory map": wrapped_array((2, 2), data=b"\0" * 16, subclass="memmap"),
        "matrix": wrapped_array((2, 2), data=b"\0" * 16, subclass="matrix"),
        "nan": wrapped_array((1, 2), data=struct.pack("<2f", 1, float("nan"))),
        "infinite": wrapped_array((1, 2), data=struct.pack("<2f", 1, float("inf"))),
        "no state": b"\x80\x04" + name("sklearn.cluster._kmeans", "KMeans") + b")\x81.",
        "another object": pickle.dumps({"cluster_centers_": 1}),
        "text": b"hello world, this is no k-means at all\n",
        "empty": b"",
        "a web page": b"\n<!DOCTYPE html><html>404</html>",
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        "zlib of nothing": zlib.compress(b""),
        "broken zlib": zlib.compress(JOBLIB.read_bytes())[:500] + b"\xff" * 100,
        "cut xz": lzma.compress(JOBLIB.read_bytes())[:1000],
        "cut bz2": bz2.compress(JOBLIB.read_bytes())[:1000],
        "lz4": b"\x04\x22\x4d\x18" + b"\0" * 100,
        "zlib in zlib": zlib.compress(zlib.compress(JOBLIB.read_bytes())),
        "lzma with a dictionary of 2 GiB": b"\x5d\0\0\0\x80" + lzma.compress(b"x" * 999, lzma.FORMAT_ALONE)[5:],
        "zlib bomb": zlib.compress(wrapped_array((4096, 4096), data=bytes(64 << 20)), 9),
        "bz2 bomb": bz2.compress(wrapped_array((4096, 4096), data=bytes(64 << 20))),
        "lzma bomb": lzma.compress(wrapped_array((4096, 4096), data=bytes(64 << 20)), preset=0),
        "bomb of text": zlib.compress(b"\x80\x04" + text(bytes(64 << 20)) + b".", 9),
    }.items(),
    ids=lambda item: item[0],
)
def test_kmeans_that_lie_are_refused(data, tmp_path):
    (tmp_path / "kmeans").write_bytes(data[1])
    with quickly(), pytest.raises(UserError, match="kmeans"):
        open_kmeans(tmp_path / "kmeans")


def npy(array, shape=None, descr=None):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    data = buffer.getvalue()
    for old, new in (((str(array.shape), shape),) if shape else ()) + (((array.dtype.str, descr),) if descr else ()):
        assert old in data.decode("latin-1")
        size = int.from_bytes(data[8:10], "little")
        head = data[10 : 10 + size].rstrip().replace(old.encode(), new.encode())
        data = data[:8] + struct.pack("<H", len(head) + 1) + head + b"\n" + data[10 + size :]
    return data


ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    "data",
    {
        "shape of a terabyte": npy(ONES, "(1048576, 262144)"),
        "negative shape": npy(ONES, "(-2, 3)"),
        "code in the header": npy(ONES, "__import__('os')"),
        "objects": npy(np.array([[{}]], dtype=object)),
        "integers": npy(np.ones((2, 3), np.int64)),
        "a vector": npy(np.ones(3, np.float32)),
        "nan": npy(ONES * np.nan),
        "cut": npy(ONES)[:-1],
        "cut header": npy(ONES)[:20],
        "unknown version": b"\x93NUMPY\x09\x09" + npy(ONES)[8:],
        "npz without centroids": npz([("labels.npy", npy(ONES))]),
        "npz with objects": npz([("centroids.npy", npy(np.array([[{}]], dtype=object)))]),
        "npz bomb": npz([("centroids.npy", npy(np.zeros((4096, 4096), np.float32)))]),
        "cut npz": npz([("centroids.npy", npy(ONES))])[:-30],
        "safetensors without centroids": struct.pack("<Q", 16) + b'{"a": 1}        ',
        "safetensors with a huge header": struct.pack("<Q", 50 << 20) + b"{" + b" " * 99,
        "safetensors with broken JSON": struct.pack("<Q", 16) + b'{"centroids": [[',
    }.items(),
    ids=lambda item: item[0],
)
def test_matrices_that_lie_are_refused(data, tmp_path):
    (tmp_path / "matrix").write_bytes(data[1])
    with quickly(), pytest.raises(UserError, match="matrix"):
        open_kmeans(tmp_path / "matrix")


# torch files.
STORAGE = b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + b"K\x04tQ"
REBUILD = name("torch._utils", "_rebuild_tensor_v2")


def long(value):
    return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)


def tensor(offset=0, shape=(2, 2), stride=(2, 1), storage=STORAGE):
    sizes = [b"(" + b"".join(map(long, values)) + b"t" for values in (shape, stride)]
    return called(REBUILD, storage, long(offset), *sizes, b"\x89", name("collections", "OrderedDict") + b")R")


def tensors(*values):
    items = b"".join(text(f"t{i}") + value for i, value in enumerate(values))
    return b"\x80\x02}(" + items + b"u."


DATA = ("archive/data/0", np.arange(4, dtype="<f4").tobytes())


def test_the_helper_makes_a_valid_archive(tmp_path):
    (tmp_path / "t.pt").write_bytes(archive(tensors(tensor()), extra=[DATA]))
    with TorchFile(tmp_path / "t.pt") as file:
        assert np.array_equal(file.array(file.root["t0"]), [[0, 1], [2, 3]])


def compressed_archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("archive/data.pkl", tensors(tensor()))
        made.writestr("archive/data/0", bytes(64 << 20))
    return buffer.getvalue()


def overlapping_archive():
    """Two hundred names in the table of contents for the same bytes of the file."""
    data = bytearray(archive(tensors(tensor()), extra=[("archive/data/0", bytes(1 << 20))]))
    end = data.rindex(b"PK\x05\x06")
    start = struct.unpack("<I", data[end + 16 : end + 20])[0]
    entry = bytes(data[data.rindex(b"PK\x01\x02") : end])
    copies = b"".join(entry.replace(b"archive/data/0", b"archive/%06d" % i) for i in range(200))
    directory = bytes(data[start:end]) + copies
    record = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 202, 202, len(directory), start, 0)
    return bytes(data[:start]) + directory + record


def long_directory():
    data = archive(b"N.")
    end = data.rindex(b"PK\x05\x06")
    start = struct.unpack("<I", data[end + 16 : end + 20])[0]
    directory = data[start:end] * 200_000
    return data[:start] + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), start, 0)


def twice():
    with pytest.warns(UserWarning, match="Duplicate name"):
        return archive(tensors(tensor()), extra=[DATA, DATA])


def flagged(data):
    """The archive with the encryption bit set in its table of contents."""
    data = bytearray(data)
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def evil_storage(kind=None, key=None, count=None, head="storage", more=b""):
    kind = kind or name("torch", "FloatStorage")
    return b"(" + text(head) + kind + (key or text("0")) + text("cpu") + (count or b"K\x04") + more + b"tQ"


@pytest.mark.parametrize(
    "make",
    {
        "stride bomb": lambda: archive(tensors(tensor(shape=(1 << 39, 2), stride=(0, 1))), extra=[DATA]),
        "beyond the storage": lambda: archive(tensors(tensor(offset=1)), extra=[DATA]),
        "far offset": lambda: archive(tensors(tensor(offset=1 << 60)), extra=[DATA]),
        "negative offset": lambda: archive(tensors(tensor(offset=-1)), extra=[DATA]),
        "negative stride": lambda: archive(tensors(tensor(stride=(-2, 1))), extra=[DATA]),
        "huge stride": lambda: archive(tensors(tensor(stride=(1 << 39, 1))), extra=[DATA]),
        "strides of another number": lambda: archive(tensors(tensor(stride=(1,))), extra=[DATA]),
        "missing storage": lambda: archive(tensors(tensor())),
        "short storage": lambda: archive(tensors(tensor()), extra=[("archive/data/0", b"\0" * 15)]),
        "storage of a call": lambda: archive(tensors(tensor(storage=evil_storage(kind=REBUILD))), extra=[DATA]),
        "storage of text": lambda: archive(
            tensors(tensor(storage=evil_storage(kind=text("torch.FloatStorage")))), extra=[DATA]
        ),
        "path as storage": lambda: archive(tensors(tensor(storage=evil_storage(key=text("../../x")))), extra=[DATA]),
        "huge storage": lambda: archive(tensors(tensor(storage=evil_storage(count=long(1 << 50)))), extra=[DATA]),
        "negative storage": lambda: archive(tensors(tensor(storage=evil_storage(count=long(-4)))), extra=[DATA]),
        "another persistent id": lambda: archive(tensors(tensor(storage=evil_storage(head="module"))), extra=[DATA]),
        "two descriptions": lambda: archive(
            tensors(tensor(), tensor(storage=evil_storage(kind=name("torch", "ByteStorage")))), extra=[DATA]
        ),
        "tensor without storage": lambda: archive(tensors(called(REBUILD, b"N", b"K\x00", b")", b")"))),
        "compressed": compressed_archive,
        "overlapping": overlapping_archive,
        "long directory": long_directory,
        "twice": twice,
        "encrypted": lambda: flagged(archive(tensors(tensor()), extra=[DATA])),
        "two pickles": lambda: archive(b"N.", extra=[("other/data.pkl", b"N.")]),
        "no pickle": lambda: npz([("x", b"")]),
        "big-endian": lambda: archive(tensors(tensor()), extra=[DATA, ("archive/byteorder", b"big")]),
        "big-endian stream": lambda: stream(tensors(), {"little_endian": False}),
        "stream without magic": lambda: pickle.dumps({"model": {}}, 2),
        "stream with unused keys": lambda: stream(tensors())[: -len(pickle.dumps([], 2))] + pickle.dumps(["7"], 2),
        "stream with missing data": lambda: (
            stream(tensors(tensor()))[: -len(pickle.dumps([], 2))] + pickle.dumps(["0"], 2)
        ),
        "a web page": lambda: b"<html>",
        "safetensors": lambda: struct.pack("<Q", 16) + b'{"a": 1}        ',
        "tar": lambda: b"x" * 257 + b"ustar" + b"\0" * 800,
        "script": lambda: archive(b"\x80\x02" + name("__torch__.Model", "Model") + b")\x81."),
        "cut": lambda: CHECKPOINT.read_bytes()[:-100],
        "half": lambda: CHECKPOINT.read_bytes()[:100_000],
        "empty": lambda: b"",
    }.items(),
    ids=lambda item: item[0],
)
def test_checkpoints_that_lie_are_refused(make, tmp_path):
    path = tmp_path / "lie.pt"
    path.write_bytes(make[1]())
    with quickly(), pytest.raises(UserError, match="lie.pt"), TorchFile(path, VOCABULARY) as file:
        for value in file.root.values():
            file.array(value)
    with pytest.raises(UserError):
        encoder_directory(path, cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_members_never_leave_the_archive(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    data = archive(
        tensors(tensor()), "..", [("../data/0", DATA[1]), ("/etc/evil", b"x"), ("..\\x", b"x"), ("../evil", b"x")]
    )
    (inner / "t.pt").write_bytes(data)
    with TorchFile(inner / "t.pt") as file:
        assert file.array(file.root["t0"]).shape == (2, 2)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["inner", "t.pt"]


def test_tensors_cannot_multiply_their_data(tmp_path):
    big = ("archive/data/0", bytes(1 << 22))
    whole = evil_storage(count=long(1 << 20))
    other = evil_storage(count=long(1 << 20), key=text("1"))
    copies = tensors(*[tensor(storage=whole, shape=(1 << 20,), stride=(1,))] * 50)
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    (tmp_path / "pytorch_model.bin").write_bytes(archive(copies, extra=[big]))
    with quickly(), pytest.raises(UserError, match="tensors of 209715200 bytes in"):
        encoder_directory(tmp_path, cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*safetensors"))
    alternating = tensors(*[tensor(storage=storage) for storage in [whole, other] * 50])
    (tmp_path / "pytorch_model.bin").write_bytes(archive(alternating, extra=[big, ("archive/data/1", big[1])]))
    with quickly(), pytest.raises(UserError, match="over and over"):
        encoder_directory(tmp_path, cache_dir=tmp_path / "cache")


def test_a_damaged_storage_is_found_by_its_checksum(tmp_path):
    data = bytearray(CHECKPOINT.read_bytes())
    with zipfile.ZipFile(CHECKPOINT) as opened:
        member = max(opened.infolist(), key=lambda member: member.file_size)
    data[member.header_offset + 2000] ^= 1
    (tmp_path / "damaged.pt").write_bytes(data)
    with pytest.raises(UserError, match="cannot be read"):
        encoder_directory(tmp_path / "damaged.pt", cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.partial"))
