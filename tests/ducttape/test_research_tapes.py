"""Tapes in the manner of published research (spec 16), through the command line: what they list, what they make.

The tapes lie in `research/`: units_lm (one clause a line, imports in configs), decoding (functions, nested points in
globals, packages), nmt (own versioners and submitters, configs), pretraining (grafts on params), course (small ones).
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tapes_by_hand import command, environment

RESEARCH = Path(__file__).parent / "research"
CONFIGURE = """#!/usr/bin/env bash
to=${1#--prefix=}/bin
mkdir -p "$to"
printf '#!/usr/bin/env bash\\ntr a-z A-Z\\n' > "$to/tok"
chmod +x "$to/tok"
"""


class Project:
    """A copy of one project with its config."""

    def __init__(self, folder: Path, name: str, *config: str):
        self.folder = folder / name
        shutil.copytree(RESEARCH / name, self.folder)
        self.config = [word for path in config for word in ("-C", path)]

    def run(self, *arguments, tape: str = "main.tape") -> subprocess.CompletedProcess:
        done = subprocess.run(
            command(tape, *self.config, *arguments),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            env=environment(),
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def make(self, *arguments) -> str:
        done = self.run("-y", "-j", "2", *arguments)
        assert done.returncode == 0, done.stderr
        assert "nothing to do" in self.run(*arguments).stderr
        return done.stderr

    def list(self, *arguments) -> list[str]:
        done = self.run("list", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()


def test_units_lm(tmp_path):
    project = Project(tmp_path, "units_lm", "tconf/exp.tconf")
    assert project.list("-p", "Data") == [
        f"{task} {name}"
        for task in ("SplitShards", "LabelUnits")
        for name in ("Baseline.baseline", "ShardNumber.2", "ShardNumber.3")
    ]
    assert project.list("-p", "TrainAll")[7:] == [
        "Train Baseline.baseline",
        "Train ModelSize.13b",
        "Train Seed.2",
        "Train ModelSize.13b+Seed.2",
        "Decode Baseline.baseline",
        "Decode Beam.5",
    ]
    project.make()
    assert project.read("results/Decode/Beam.5/hyp").splitlines()[:2] == ["beam 5", "size=7b lr=1e-5 seed=1"]
    assert project.read("results/MergeUnits/Baseline.baseline/merged").splitlines() == [
        text for i in (1, 2, 3) for text in ("22 dev.txt", f"line {i}", f"shard {i} of /opt/repo")
    ]
    full = project.folder / "results/Decode/Beam.5+Clusters.k500+LR.low+ModelSize.7b+Seed.1"
    assert os.readlink(full) == "Beam.5"


def test_decoding(tmp_path):
    project = Project(tmp_path, "decoding", "tconf/iwslt.tconf")
    assert project.list("-p", "Baselines")[-6:] == [
        "EvalTest Baseline.baseline",
        "EvalTest Model.large",
        "EvalTest Task.wmt",
        "EvalTest Task.wmt+Year.2020",
        "EvalTest Strategy.sample",
        "EvalTest Model.large+Strategy.sample",
    ]
    assert "TuneWeights" not in " ".join(project.list("-p", "Baselines"))
    said = project.make()
    assert "warning" not in said, "num_cands is read in a for (( ))"
    weights = project.read("runs/iwslt/TuneWeights/Metrics.all+Strategy.sample/weights")
    assert weights == "metrics: bleu comet chrf\none small sample 1.0 0\n2\n"
    table = project.run("summary").stdout.splitlines()
    assert table[0] == "# Constant branch point: Temp=Temp.warm"
    assert table[2].split("\t") == [
        *("Metrics", "Model", "Rescore", "Strategy", "Task", "Year"),
        *("BLEU", "FirstWord", "Lines"),
    ]
    assert "--\tsmall\tnone\tbeam\twmt\t2020\t20\tone\t1" in table and len(table) == 3 + 8


def test_nmt(tmp_path):
    project = Project(tmp_path, "nmt", "exp.conf")
    toolkit = tmp_path / "toolkit"
    toolkit.mkdir()
    (toolkit / "configure").write_text(CONFIGURE)
    (toolkit / "configure").chmod(0o755)
    name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*name, "commit", "-qm", "first"]):
        subprocess.run(["git", *arguments], cwd=toolkit, check=True)
    assert project.list("-p", "quick") == [
        "tokenize Baseline.baseline",
        "tokenize Side.trg",
        "learn_bpe Baseline.baseline",
        "all_sides Baseline.baseline",
        "train Baseline.baseline",
        "eval Baseline.baseline",
    ]
    project.make()
    assert project.read("work/learn_bpe/Merges.32k/codes").endswith("E F\nsub-word-nmt==0.3.8\n32000\n")
    assert project.read("work/train/Where.cluster/submitted.txt") == "queue=gpu.q job=train.Where.cluster.exp\n"
    assert not (project.folder / "work/train/Baseline.baseline/submitted.txt").exists()
    assert (project.folder / "work/.packages/bpe/HEAD").read_text().startswith("0.3.8-")


def test_pretraining(tmp_path):
    project = Project(tmp_path, "pretraining", "tconf/fr.tconf")
    # A glob takes all corpora together, on params too; the thresholds stay apart.
    assert project.list("-p", "Tokenizers", "Mix") == ["Mix Baseline.baseline", "Mix Threshold.0.7"]
    project.make()
    lines = project.read("here/Mix/Threshold.0.7/mix").splitlines()
    assert lines[:3] == ["wiki 0.5 wiki 0.5", "books 0.3 books 0.3", "code 0.2 code 0.2"]
    assert lines[3:] == ["first 0.5 sample wiki 0.5 one.txt", "two.txt"]
    job = project.read("here/Mix/Baseline.baseline/ducttape_job.sh")
    assert "#SBATCH -p gpu -N 2\n#SBATCH -C a100\n" in job and "\n# names=wiki books code\n" in job
    assert "-C" not in project.read("here/FilterCorpus/Corpus.code/ducttape_job.sh").split("# text=")[0]


@pytest.mark.parametrize(
    ("tape", "code", "text"),
    [
        ("1.tape", 0, "2 made"),
        ("2.tape", 0, "2 made"),
        ("3.tape", 1, "3.tape:4:34: error"),
        ("4.tape", 1, "4.tape:4:16: error: task 'a' has no output 'oo'"),
    ],
)
def test_course(tmp_path, tape, code, text):
    project = Project(tmp_path, "course")
    done = project.run("-y", tape=tape)
    assert done.returncode == code and text in done.stderr, done.stderr
