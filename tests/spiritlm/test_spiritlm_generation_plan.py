"""Generation in the tape: the published plan has what the tables need, and a job of Slurm shares its items."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from spiritlm_checkpoints import write_vocoder
from spiritlm_tiny_lm import write_tiny_lm
from test_spiritlm_generation import PROJECT, place

from ducttape.plan.planner import make_plan
from ducttape.workflow.loader import load
from spire.manifest import read_manifest, write_manifest
from spire.textfiles import read_jsonl, write_jsonl

# What configs/spiritlm.tconf says of corpora and places.
OWN = """config {{
  {empty}
  part=(Part: 1..1)
  parts=1
  submitter=shell
  spiritlm_stsp_folder={here}
  spiritlm_speech_classifier={here}
  spiritlm_text_classifier={here}
  spiritlm_fluent_folder={here}
  spiritlm_write_gpus=""
  spiritlm_one_gpu=""
}}
plan written {{
  reach spiritlm_continue via (Spirit: base expressive)
  reach spiritlm_stsp via (Spirit: base expressive) * (StspSet: *)
  reach spiritlm_fewshot_score via (Spirit: base asr_tts) * (Fewshot: *)
}}
"""
EMPTY = "librispeech fleurs covost2 voxpopuli gigaspeech mls peoples_speech spgispeech common_voice common_voice_4"
EMPTY += " europarl_st vctk limit revision mem time target"


def planned(folder, *more):
    """Parameters of the realized tasks by name."""
    empty = "\n  ".join(f'{name}=""' for name in EMPTY.split())
    (folder / "own.tconf").write_text(OWN.format(empty=empty, here=folder))
    configs = [PROJECT / f"configs/{name}.tconf" for name in ("spiritlm_smoke", "spiritlm_generation", *more)]
    workflow = load(PROJECT / "main.tape", [*configs, folder / "own.tconf"], user_file=False)
    found = {}
    for task in make_plan(workflow, ["written"]).tasks.values():
        found.setdefault(task.key.task, []).append({p.name: str(p.value) for p in task.params})
    return found


def test_the_published_plan(tmp_path):
    found = planned(tmp_path)
    generated = found["spiritlm_stsp_generate"]
    # Two models; spoken items of two sets and written ones of one, two directions each, four numbers of examples.
    assert len(generated) == 2 * 3 * 2 * 4 and len(found["spiritlm_stsp"]) == 2 * 3
    assert {(g["direction"], g["new"]) for g in generated} == {
        ("s-s", "300"),
        ("s-t", "50"),
        ("t-t", "50"),
        ("t-s", "200"),
    }
    assert {g["shots"] for g in generated} == {"0", "3", "6", "9"} and {g["runs"] for g in generated} == {"3"}
    asked = {(f["what"], f["set"], f["shots"], f["context"]) for f in found["spiritlm_fewshot"]}
    assert asked == {
        ("asr", "asr_clean", "10", "1024"),
        ("asr", "asr_other", "10", "1024"),
        ("tts", "tts_clean", "10", "2048"),
        ("tts", "tts_other", "10", "2048"),
        ("ic", "ic", "30", "0"),
    }
    assert len(found["spiritlm_evaluation_units"]) == 5  # no corpus is encoded twice


def test_the_released_models_are_evaluated_without_training(tmp_path):
    found = planned(tmp_path, "spiritlm_released")
    assert len(found["spiritlm_released"]) == 2 and len(found["spiritlm_stsp"]) == 2 * 3
    trained = {name for name in found if name.endswith(("_train", "_vocoder", "_hubert", "_quantizer", "_style"))}
    # The row with ASR and TTS data was not released.
    assert trained <= {"spiritlm_train"} and len(found.get("spiritlm_train", [])) == 1


TAPE = """global {{
  ducttape_experimental_packages=true
  ducttape_experimental_submitters=true
  spiritlm_evaluated_model=$model@spiritlm_train
  {more}
}}
task spiritlm_train > model {{ cp -r {here}/model model; }}
{tasks}
plan shared {{
  reach spiritlm_stsp_generate
}}
"""


def generation() -> str:
    """The package and the task of tasks/spiritlm_generation.tape, without the tasks beside them."""
    text = (PROJECT / "tasks" / "spiritlm_generation.tape").read_text()
    package = next(line for line in text.splitlines() if line.startswith("package spiritlm_stsp_generate "))
    task = text[text.index("task spiritlm_stsp_generate\n") :]
    return package.replace("../scripts", f"{PROJECT}/scripts") + "\n}\n" + task[: task.index("\n}\n") + 3]


@pytest.mark.slow
def test_a_job_of_slurm_shares_the_items(real_slurm, tmp_path, monkeypatch):
    for name, value in real_slurm.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "place").mkdir()
    place(tmp_path / "place", expressive=False)
    write_tiny_lm(tmp_path / "model")
    write_vocoder(tmp_path / "vocoder")
    stsp = tmp_path / "stsp"
    stsp.mkdir()
    write_jsonl(stsp / "items.jsonl", [{"id": f"u/{i}", "sentiment": "neutral", "text": "the cat"} for i in range(3)])
    write_jsonl(stsp / "shots.jsonl", [])
    write_manifest(stsp / "manifest.jsonl", read_manifest(tmp_path / "place" / "manifest.jsonl"))
    found = {}
    for submitter, launcher, processes in (("shell", "python", 1), ("slurm", "srun --kill-on-bad-exit=1 python", 2)):
        values = {"voice": tmp_path / "vocoder", "stsp": stsp, "stsp_direction": "s-s", "stsp_shots": 0}
        values |= {"stsp_speech": tmp_path / "place", "stsp_streams": tmp_path / "place" / "streams.jsonl"}
        values |= {"stsp_example_speech": tmp_path / "place", "stsp_runs": 2, "stsp_new": 8, "temperature": 0.8}
        values |= {"stsp_example_streams": tmp_path / "place" / "streams.jsonl", "top_p": 0.95, "speaker": 2}
        values |= {"write_flags": "", "write_launcher": launcher, "write_tasks": processes, "write_gpus": ""}
        values |= {"write_mem": "1G", "write_time": "5:00"}
        more = "\n  ".join(f'spiritlm_{name}="{value}"' for name, value in values.items())
        more += f"\n  seed=1\n  ducttape_default_submitter={submitter}\n  ducttape_default_mem=1G"
        tape = tmp_path / f"{submitter}.tape"
        tape.write_text(TAPE.format(tasks=generation(), here=tmp_path, more=more))
        command = [Path(sys.executable).parent / "ducttape", tape, "-p", "shared", "-O", tmp_path / submitter, "-y"]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            list(map(str, command)), env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, done.stderr[-3000:]
        (out,) = (tmp_path / submitter / "spiritlm_stsp_generate").glob("*/generations")
        found[submitter] = {p.name: p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
        assert len(read_jsonl(out / "generations.jsonl")) == 6
    assert found["slurm"] == found["shell"]
