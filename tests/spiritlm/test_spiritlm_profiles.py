"""The profiles of SpiRit-LM: what they plan without -p, and what the published size asks of a cluster."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ducttape.plan.lint import lint
from ducttape.plan.planner import make_plan
from ducttape.workflow.loader import load

PROJECT = Path(__file__).resolve().parents[2]
PLANS = ("stsp", "comprehension", "fewshot", "spirit_ablations", "resynthesis", "normalization", "spirit_models")
ROWS = 10  # Base, Expressive and the rows of Table 6, without the one that is Base


def profile(*names: str):
    return load(PROJECT / "main.tape", [PROJECT / f"configs/{name}.tconf" for name in names], user_file=False)


@pytest.fixture(scope="module")
def workflows():
    return {name: profile(name) for name in ("spiritlm_mini", "spiritlm_smoke", "spiritlm")}


@pytest.mark.parametrize("name", ["spiritlm_mini", "spiritlm_smoke", "spiritlm"])
def test_nothing_is_wrong(workflows, name):
    assert not [d.render() for d in lint(workflows[name]) if d.severity == "error"]


@pytest.mark.parametrize("name", ["spiritlm_mini", "spiritlm_smoke"])
def test_without_p_the_spiritlm_study_alone_is_made(workflows, name):
    tasks = {task.key.task for task in make_plan(workflows[name]).tasks.values()}
    assert all(task.startswith("spiritlm_") for task in tasks)
    assert tasks >= {"spiritlm_publish", "spiritlm_checkpoints", "spiritlm_vocoder", "spiritlm_quantizer"}
    for plan in PLANS:
        assert {t.key.task for t in make_plan(workflows[name], [plan]).tasks.values()} <= tasks


def test_the_smoke_profile_has_the_graph_of_mini(workflows):
    mini, smoke = (list(map(str, make_plan(workflows[name]).tasks)) for name in ("spiritlm_mini", "spiritlm_smoke"))
    assert mini == smoke


def test_spire_is_as_it_was(workflows):
    workflow = load(PROJECT / "main.tape", user_file=False)
    assert not [task for task in make_plan(workflow).tasks if task.task.startswith("spiritlm_")]


def test_the_published_size(workflows):
    plan = make_plan(workflows["spiritlm"])
    counts = Counter(task.task for task in plan.tasks)
    assert counts["spiritlm_train"] == counts["spiritlm_comprehension"] == ROWS
    assert counts["spiritlm_encode_part"] == counts["spiritlm_align_parts"] == 6 * 128
    assert not {"spiritlm_speak", "spiritlm_ctc", "spiritlm_base"} & set(counts)
    on_gpus = ["train", "vocoder", "hubert", "encode_part", "align_parts", "vqvae", "style"]
    for_hours = ["f0", "encode", "prosody_report", "resynthesize", "resynthesis_f0", "resynthesis_scores", "transcribe"]
    for task in plan.tasks.values():
        given = {param.name: param.value for param in task.params if param.dot}
        name = task.key.task.removeprefix("spiritlm_")
        if name in on_gpus:
            assert int(given["gpus"]) >= 1, task.key
        if name in (*on_gpus, *for_hours):
            assert given["mem"] and given["time"], task.key
        flags = next((param.value for param in task.params if param.name == "flags"), "")
        if name in ("hubert", "vqvae", "style", "vocoder"):
            assert "--device cuda" in flags, task.key
        if task.key.task == "spiritlm_train":
            assert int(given["nodes"]) * int(given["gpus"]) == 64


@pytest.mark.parametrize("plan", [name for name in PLANS if name != "spirit_models"])
def test_released_weights_are_evaluated_and_nothing_is_trained(plan):
    tasks = Counter(task.task for task in make_plan(profile("spiritlm", "spiritlm_released"), [plan]).tasks)
    trained = {"train", "vocoder", "hubert", "kmeans", "quantizer", "vqvae", "style", "ctc", "base", "documents_part"}
    assert not {f"spiritlm_{name}" for name in trained} & set(tasks)
    scored = {"stsp": 6, "comprehension": 2, "fewshot_score": 10, "resynthesis_scores": 1}
    wanted = {"spirit_ablations": "comprehension", "normalization": "comprehension", "fewshot": "fewshot_score"}
    wanted |= {"resynthesis": "resynthesis_scores"}
    name = wanted.get(plan, plan)
    assert tasks[f"spiritlm_{name}"] == scored[name]
