"""The same table as markdown, LaTeX and CSV."""

import csv
import io
import re

import pytest

from spire.tables.layout import Column, Number, Table
from spire.tables.render import csv_text, latex, markdown


@pytest.fixture
def table():
    columns = [
        Column("model", label=True),
        Column("seen", "WER %"),
        Column("human", "WER %"),
        Column("FLEURS", "published"),
    ]
    table = Table("asr", "A title & more_", columns, notes=["100 % sure | ± 1"])
    table.add("Full", Number(33.94, 30.0, 38.0, 200), Number(80.0, 70.0, 91.0, 98), None)
    table.rule()
    table.add("No_Pseudo", Number(25.06, 20.0, 31.0, 200, delta=-8.88), Number(70.0, 60.0, 79.0, 97), Number(10.7))
    return table


def test_markdown_is_aligned_and_says_n_once_where_it_is_one(table):
    text = markdown(table)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == [
        "model",
        "WER % seen (n=200)",
        "WER % human",
        "published FLEURS",
    ]
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["Full", "33.9 ±4.0", "80.0 ±10.5 (n=98)", ""]
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == [
        "No_Pseudo",
        "25.1 ±5.5 (-8.9)",
        "70.0 ±9.5 (n=97)",
        "10.7",
    ]
    assert text.startswith("# A title & more_\n\n") and text.endswith("\n- 100 % sure | ± 1\n")


def test_latex_is_balanced_and_escaped(table):
    text = latex(table)
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    assert {line.count(" & ") for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line} == {
        3
    }
    assert r"\caption{A title \& more\_}" in text and r"100 \% sure \textbar{} $\pm$ 1" in text
    assert r"\multicolumn{2}{c}{WER \%} & \multicolumn{1}{c}{published}" in text
    assert r"\cmidrule(lr){2-3}\cmidrule(lr){4-4}" in text
    assert body.count(r"\midrule") == 2
    assert r"$25.1 \pm 5.5$ ($-8.9$)" in text
    assert text.count(r"\begin") == text.count(r"\end")
    unescaped = re.sub(r"\\[&%_]", "", text)
    assert "%" not in unescaped and "_" not in unescaped


def test_csv_has_intervals_and_unrounded_numbers(table):
    header, full, pseudo = list(csv.reader(io.StringIO(csv_text(table))))
    record = dict(zip(header, pseudo, strict=True))
    assert len(header) == len(full)
    assert record["WER % seen"] == "25.06" and record["WER % seen low"] == "20" and record["WER % seen n"] == "200"
    assert record["WER % seen delta"] == "-8.88" and record["published FLEURS"] == "10.7"
    assert "published FLEURS low" not in header


def test_the_same_bytes_twice(table):
    assert (markdown(table), latex(table), csv_text(table)) == (markdown(table), latex(table), csv_text(table))


def test_pipes_do_not_break_rows():
    table = Table("x", "x", [Column("a|b", label=True)])
    table.add("c|d")
    assert markdown(table).splitlines()[2:] == ["| a\\|b |", "|------|", "| c\\|d |"]


def test_rows_must_fit_their_headings(table):
    with pytest.raises(ValueError, match="2 cells for 4 columns"):
        table.add("Full", None)


def test_an_empty_table_still_has_its_headings():
    text = markdown(Table("x", "x", [Column("model", label=True), Column("n")]))
    assert "| model |   n |" in text
