"""Collecting, checking, publishing, plotting, describing: what stands in results/."""

import dataclasses
import json
import runpy
from pathlib import Path

import pytest

from spire.errors import UserError
from spire.scoring.cells import FIELDS, ScoreCell, write_cell
from spire.tables.book import Book
from spire.tables.check import conditions, cost_condition
from spire.tables.collect import read_scores, write_scores
from spire.tables.plots import read_series, smoothed, write_plots
from spire.tables.publish import printed, publish
from spire.tables.run_report import describe_run, run_markdown

PROJECT = Path(__file__).resolve().parents[2]
GOOD = {
    ("spire_full", "asr", "seen", "en-en"): 34.0,
    ("spire_full", "asr", "unseen", "en-en"): 63.0,
    ("spire_full", "asr", "human", "en-en"): 150.0,
    ("spire_full", "shuffled", "seen", "en-en"): 105.0,
    ("spire_full", "shuffled", "unseen", "en-en"): 108.0,
    ("tower_full", "asr", "seen", "en-en"): 79.0,
    ("tower_base", "mt", "test", "en-de"): 66.0,
    ("tower_base", "mt", "test", "en-fr"): 75.0,
    ("spire_full", "mt", "test", "en-de"): 55.0,
    ("spire_full", "mt", "test", "en-fr"): 65.0,
    ("spire_no_blocks", "mt", "test", "en-de"): 5.0,
    ("spire_no_blocks", "mt", "test", "en-fr"): 6.0,
    ("spire_full", "st", "seen", "en-de"): 27.0,
    ("spire_full", "st", "seen", "en-fr"): 30.0,
    ("spire_no_pseudo", "st", "seen", "en-de"): 11.0,
    ("spire_no_pseudo", "st", "seen", "en-fr"): 14.0,
}


def study(**changes) -> list[ScoreCell]:
    """The cells that the check needs; `changes` maps keys joined with `__` to other values, None leaves a cell out."""
    values = dict(GOOD)
    for name, value in changes.items():
        values[tuple(part.replace("to", "-") if i == 3 else part for i, part in enumerate(name.split("__")))] = value
    return [
        ScoreCell(
            "mt" if mode == "mt" else "st" if mode == "st" else "asr", model, test_set, pair, mode,
            "wer" if pair == "en-en" else "bleu", value, value - 1.5, value + 1.5, 200, 'A|b:"c", d',
        )
        for (model, mode, test_set, pair), value in values.items()
        if value is not None
    ]  # fmt: skip


def failures(**changes) -> list[str]:
    return [c.name for c in conditions(Book(study(**changes))) if not c.passed]


def test_a_good_study_passes():
    found = conditions(Book(study()))
    assert len(found) == 12
    assert not [c for c in found if not c.passed]


@pytest.mark.parametrize(
    "changes, failed",
    [
        ({"spire_full__asr__seen__entoen": 38.1}, 1),
        ({"spire_full__asr__seen__entoen": 38.0}, 0),  # limits are inclusive
        ({"spire_full__asr__unseen__entoen": 70.1}, 1),
        ({"spire_full__shuffled__seen__entoen": 94.9}, 1),
        ({"spire_full__asr__human__entoen": 99999.0}, 0),  # reported whatever it is
        ({"spire_full__asr__human__entoen": None}, 1),  # but it must be reported
        ({"tower_base__mt__test__entode": 44.9, "spire_full__mt__test__entode": 44.0}, 1),
        ({"tower_base__mt__test__entofr": 80.1}, 1),  # spire_full loses 15.1
        ({"spire_no_blocks__mt__test__entode": 45.0, "spire_no_blocks__mt__test__entofr": 35.1}, 1),  # loses 19.95
        ({"spire_no_blocks__mt__test__entode": 45.0, "spire_no_blocks__mt__test__entofr": 35.0}, 0),
        ({"spire_no_pseudo__st__seen__entode": 21.1, "spire_no_pseudo__st__seen__entofr": 24.0}, 1),  # loses 5.95
        ({"tower_full__asr__seen__entoen": 58.9}, 1),
        ({"tower_full__asr__seen__entoen": None}, 1),
        ({"spire_no_pseudo__st__seen__entofr": None}, 1),  # a mean over fewer pairs would not compare
        ({"spire_full__mt__test__entode": None}, 2),
    ],
)
def test_each_condition_can_fail(changes, failed):
    assert len(failures(**changes)) == failed


def test_nothing_scored_fails_everything():
    assert all(not c.passed and "missing" in str(c) for c in conditions(Book([])))


@pytest.mark.parametrize(
    "record, passed, text",
    [
        ({"cpu_s": 1500}, True, "1500.0"),
        ({"cpu_s": 1500.2}, False, "FAIL"),
        ({"cpu_s": 3, "cpu_unknown": 2}, False, "not measured: 2"),
    ],
)
def test_cost(tmp_path, record, passed, text):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(record))
    condition = cost_condition(path)
    assert condition.passed is passed and text in str(condition)


@pytest.mark.parametrize("text", ["[]", "{}", '{"cpu_s": "x"}', '{"cpu_s": NaN}', "{"])
def test_cost_needs_a_total(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match="run.json"):
        cost_condition(tmp_path / "run.json")


def script(name: str, *arguments: object) -> int:
    """Run a script's main in this process and return its status."""
    return runpy.run_path(str(PROJECT / "scripts" / name))["main"]([str(a) for a in arguments])


def test_collect_and_check_from_the_command_line(tmp_path, capsys):
    for cell in study():
        write_cell(tmp_path / cell.model, cell)
    out = tmp_path / "scores.csv"
    assert script("results_collect.py", "--scores", *sorted(p for p in tmp_path.iterdir()), "--out", out) == 0
    assert (
        out.read_text().splitlines()[0]
        == "table,model,test_set,language_pair,mode,metric,value,ci_low,ci_high,n,signature"
    )
    assert script("results_check.py", "--scores", out) == 0
    assert "12 of 12 conditions hold" in capsys.readouterr().out
    out.write_text(out.read_text().replace(",34,", ",39,"))
    assert script("results_check.py", "--scores", out) == 1
    printed_lines = capsys.readouterr().out.splitlines()
    assert printed_lines[0].startswith("FAIL  spire_full WER, seen voices") and "39.0  (<= 38 %)" in printed_lines[0]


def test_csv_round_trip_in_the_order_of_tables(tmp_path):
    cells = study()
    write_scores(tmp_path / "a.csv", cells)
    write_scores(tmp_path / "b.csv", cells[::-1])
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert sorted(map(dataclasses.astuple, read_scores(tmp_path / "a.csv"))) == sorted(map(dataclasses.astuple, cells))
    tables = [line.split(",")[0] for line in (tmp_path / "a.csv").read_text().splitlines()[1:]]
    assert tables == sorted(tables, key=["asr", "mt", "st"].index)


@pytest.mark.parametrize(
    "text, message",
    [
        ("table,model\n", ":1: no column test_set"),
        (",".join(FIELDS) + "\nasr,m,seen,en-en,asr,wer,x,1,2,3,s\n", ":2: value is 'x', not a finite number"),
        (",".join(FIELDS) + "\nasr,m,seen,en-en,asr,wer,1,1,2,3\n", ":2: no value for signature"),
        (",".join(FIELDS) + "\nasr,m,seen,en-en,asr,wer,1,1,2,2.5,s\n", ":2: n is '2.5'"),
    ],
)
def test_broken_score_files(tmp_path, text, message):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(UserError) as caught:
        read_scores(tmp_path / "scores.csv")
    assert f"scores.csv{message}" in caught.value.message


def test_publish_copies_prints_and_keeps_strangers(tmp_path, capsys):
    for name, text in (
        ("mt/mt.md", "# MT\n"),
        ("asr/asr.md", "# ASR\n"),
        ("asr/asr.csv", "x\n"),
        ("scores.csv", "y\n"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    results, listed = tmp_path / "results", tmp_path / "published.txt"
    results.mkdir()
    (results / "README.md").write_text("stays")
    sources = [tmp_path / "mt", tmp_path / "asr", tmp_path / "scores.csv"]
    assert script("results_publish.py", "--from", *sources, "--to", results, "--list", listed) == 0
    assert capsys.readouterr().out == "# ASR\n\n# MT\n"
    assert sorted(p.name for p in results.iterdir()) == ["README.md", "asr.csv", "asr.md", "mt.md", "scores.csv"]
    assert [line.split()[1] for line in listed.read_text().splitlines()] == ["asr.csv", "asr.md", "mt.md", "scores.csv"]


def test_publish_copies_nothing_when_anything_is_wrong(tmp_path):
    for name in ("a/x.md", "b/x.md"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    for sources, message in (
        ([tmp_path / "a", tmp_path / "b"], "same name"),
        ([tmp_path / "a", tmp_path / "c"], "no such file"),
        ([tmp_path], "not a plain file"),
    ):
        with pytest.raises(UserError, match=message):
            publish(sources, tmp_path / "results")
        assert not (tmp_path / "results").exists()


def test_tables_are_printed_in_reading_order(tmp_path):
    names = ["st.md", "zebra.md", "asr.md", "scores.csv", "units.md", "ablations.md", "mt.md"]
    for name in names:
        (tmp_path / name).write_text(name + "\n")
    assert printed(tmp_path, names).split() == ["asr.md", "mt.md", "st.md", "ablations.md", "units.md", "zebra.md"]


TASKS = [
    {"task": "score", "realization": "Model.a", "cpu_s": 1.25, "wall_s": 1.5, "peak_bytes": 2**27},
    {"task": "train", "realization": "Baseline.baseline", "cpu_s": 400.0, "wall_s": 410.0, "peak_bytes": 2**30},
    {"task": "score", "realization": "Model.b", "cpu_s": 1.0, "wall_s": None, "peak_bytes": None},
]


def test_the_run_is_described(tmp_path):
    report = tmp_path / "report.json"
    report.write_text(json.dumps(TASKS))
    assert script("results_run.py", "--report", report, "--date", "2026-01-02", "--out", tmp_path) == 0
    run = json.loads((tmp_path / "run.json").read_text())
    assert (run["cpu_s"], run["cpu_unknown"], run["date"]) == (402.25, 0, "2026-01-02")
    assert run["machine"]["cores"] >= 1 and run["machine"]["memory_gib"] > 0 and run["machine"]["cpu"]
    assert run["versions"]["sacrebleu"]
    lines = (tmp_path / "run.md").read_text().splitlines()
    table = [[c.strip() for c in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert table[2] == ["train", "1", "400.0", "410.0", "1024"]
    assert table[3] == ["score", "2", "2.2", "1.5", "128"]
    assert table[4] == ["all", "3", "402.2", "411.5", "1024"]
    assert cost_condition(tmp_path / "run.json").passed


def test_unmeasured_tasks_are_said():
    run = describe_run([*TASKS, {"task": "adopted", "realization": "x"}], "2026-01-02")
    assert run["cpu_unknown"] == 1
    assert "1 of them not measured" in run_markdown(run)


def test_the_engines_own_names_and_the_day_of_the_last_task():
    task = {"task": "score", "realization": "Model.a", "cpu_seconds": 1.5, "wall_seconds": 2.0, "peak_memory_bytes": 10}
    run = describe_run([task | {"end": 86400.0 * 3 + 5, "host": "a"}, task | {"end": 86400.0, "notes": []}])
    assert (run["cpu_s"], run["wall_s"], run["peak_bytes"], run["cpu_unknown"]) == (3.0, 4.0, 10, 0)
    assert run["date"] == "1970-01-04"


@pytest.mark.parametrize(
    "tasks", [{}, [], [{}], [{"task": "x", "cpu_s": "1"}], [{"task": "x", "cpu_s": float("nan")}], [3]]
)
def test_reports_of_another_form(tasks):
    with pytest.raises(UserError):
        describe_run(tasks, "2026-01-02")


@pytest.fixture
def logs(tmp_path):
    log, probes = tmp_path / "log.jsonl", tmp_path / "probes.jsonl"
    log.write_text(
        "".join(
            json.dumps({"step": s, "loss": 5 / s, "blocks": {"asr.units": 4 / s}, "lr": 0.1}) + "\n"
            for s in range(1, 120)
        )
    )
    probes.write_text("".join(json.dumps({"step": s, "wer": 100 - s}) + "\n" for s in (10, 20, 30)))
    return log, probes


def test_series(logs, tmp_path):
    series = read_series(logs[0], ("loss", "blocks "))
    assert list(series) == ["loss", "blocks asr.units"]
    assert series["loss"][1] == (2, 2.5)
    assert read_series(logs[1], ("wer",)) == {"wer": [(10, 90.0), (20, 80.0), (30, 70.0)]}
    assert smoothed([1.0, 3.0, 5.0], 2) == [1.0, 2.0, 4.0]
    for line, message in (
        ('{"loss": 1}', "step is None"),
        ('{"step": 1, "loss": NaN}', "loss is nan"),
        ('{"step": 1}', "no number in a field"),
    ):
        (tmp_path / "bad.jsonl").write_text(line + "\n")
        with pytest.raises(UserError, match=message):
            read_series(tmp_path / "bad.jsonl", ("loss",))


def test_plots_are_the_same_bytes_twice(logs, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_plots(*logs, tmp_path / name)
    files = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert files == ["cpt_loss.png", "cpt_loss.svg", "cpt_wer.png", "cpt_wer.svg"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one/cpt_wer.png").read_bytes().startswith(b"\x89PNG")
