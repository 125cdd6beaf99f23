"""Small corpora of the true layouts: parquet tables with audio bytes, archives, unpacked folders."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

PROJECT = Path(__file__).resolve().parents[2]
CORPORA = PROJECT / "configs/corpora"


def tone(seconds: float, kind: str = "FLAC", rate: int = 16_000, seed: int = 1) -> bytes:
    """An audio file's bytes."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * rate)) * 0.1
    file = io.BytesIO()
    soundfile.write(file, noise.astype(np.float32), rate, format=kind)
    return file.getvalue()


def table(rows: int, first: int = 0, kind: str = "FLAC", sound: str = "audio", **columns) -> bytes:
    """A parquet file as the hub has them: a struct of audio in the column `sound`, and columns that are functions of
    the row's number."""
    numbers = range(first, first + rows)
    suffix = kind.lower()
    audio = [{"bytes": tone(0.1 + 0.01 * (n % 7), kind, seed=n), "path": f"utterance{n}.{suffix}"} for n in numbers]
    values = {sound: pa.array(audio, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))}
    values |= {name: [make(n) for n in numbers] for name, make in columns.items()}
    file = io.BytesIO()
    pq.write_table(pa.table(values), file, row_group_size=2)
    return file.getvalue()


def archive(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """A tar archive with these members."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def librispeech(parts: int = 2, rows: int = 3) -> dict[str, bytes]:
    """openslr/librispeech_asr, split test.clean."""
    files = {"README.md": b"---\n---\n# LibriSpeech\n"}
    for part in range(parts):
        columns = {
            "id": lambda n: f"1089-134686-{n:04d}",
            "text": lambda n: f"HE HOPED  {n} ",
            "speaker_id": lambda n: 1089,
            "file": lambda n: f"{n}.flac",
        }
        files[f"all/test.clean/{part:04d}.parquet"] = table(rows, part * rows, **columns)
    return files


def description(key: str, folder: Path) -> Path:
    """A copy of a shipped description without what a small corpus cannot have: numbers, checksums, the commit."""
    import yaml

    values = yaml.safe_load((CORPORA / f"{key}.yml").read_text())
    for split in values["splits"].values():
        (split or {}).pop("utterances", None)
    values.pop("checksums", None)
    if len(values.get("revision", "")) == 40:
        values["revision"] = "main"
    path = folder / f"{key}.yml"
    path.write_text(yaml.safe_dump(values))
    return path
