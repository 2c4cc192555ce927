"""Folders of tables and figures; reference lines."""

import re
from pathlib import Path

import pandas as pd
import pytest

import headstart as hs
from headstart.analysis import read_references
from refusals import ended, refused

PUBLISHED = Path(__file__).parent / "published"
SOTA = PUBLISHED / "kornblith2019_fig6_sota_digitised.csv"


def test_a_folder_of_tables_and_figures(cli, tmp_path):
    out = tmp_path / "out"
    outcome = cli("analyze", "kornblith2019", "--resamples", "200", "--out", out,
                  "--references", SOTA)  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert len(pd.read_csv(out / "model_means.csv")) == 48
    names = {"correlation", "datasets", "models", "settings", "finetune-vs-scratch", "ranks",
             "heatmap"}  # fmt: skip
    for kind, magic in (("png", b"\x89PNG"), ("svg", b"<svg"), ("pdf", b"%PDF")):
        files = {file.stem: file for file in (out / "figures").glob(f"*.{kind}")}
        assert set(files) == names
        for file in files.values():
            assert file.read_bytes().startswith(magic)
    assert not list(out.rglob("*.tmp"))


def test_references_need_a_folder(cli):
    outcome = cli("analyze", "kornblith2019", "--references", SOTA)
    ended(outcome, "command.missing", name="--out")


def test_places_are_proven_before_the_work(cli, tmp_path, monkeypatch):
    from headstart.cli import analyze_command

    def never(*_):
        raise AssertionError("the analysis began")

    monkeypatch.setattr(analyze_command, "_analysis", never)
    (tmp_path / "file").write_text("")
    for arguments in (("analyze", "kornblith2019", "--json"), ("analyze", "kornblith2019", "--out"),
                      ("report", "kornblith2019", "--out")):  # fmt: skip
        outcome = cli(*arguments, tmp_path / "file" / "x")
        assert outcome.code == 2
        assert outcome.err.count("\n") == 1


def test_a_report_makes_its_folder(cli, tmp_path):
    out = tmp_path / "new" / "report.html"
    outcome = cli("report", "kornblith2019", "--resamples", "200", "--out", out,
                  "--latex", tmp_path / "t.tex", "--csv", tmp_path / "t.csv")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[0] == f"Report: {out}"
    assert out.stat().st_size < 5e6
    assert "\\toprule" in (tmp_path / "t.tex").read_text()
    table = pd.read_csv(tmp_path / "t.csv")
    assert (table.row == "cell").sum() == 576
    assert (table.row == "mean").sum() == 48


def test_json_to_no_file(cli, tmp_path):
    outcome = cli("analyze", "kornblith2019", "--resamples", "200", "--json", tmp_path)
    assert outcome.code == 2
    assert str(tmp_path) in outcome.err


def test_figures_of_digitised_numbers_say_so(tmp_path):
    analysis = hs.analyze("kornblith2019", resamples=200)
    analysis.figure("ranks").savefig(tmp_path / "ranks.svg")
    words = re.findall(r"<text[^>]*>([^<]+)<", (tmp_path / "ranks.svg").read_text())
    assert "Digitised values: Kornblith, Shlens, Le" in " ".join(words)


def test_figures_that_cannot_be(table):
    analysis = hs.analyze(table, resamples=200)
    with refused("name.unknown", kind="figure", near=["heatmap"]):
        analysis.figure("heatmapp")
    with refused("figure.settings_missing", figure="finetune-vs-scratch"):
        analysis.figure("finetune-vs-scratch")


def test_references_a_column_a_line():
    found = read_references(SOTA)
    assert found.label.nunique() == 2
    first = found[found.dataset == "Birdsnap"].accuracy.tolist()
    assert first == pytest.approx([0.802, 0.819])
    # Eight cells of the second column are empty.
    assert len(found) == 16


def test_references_with_labels(tmp_path):
    file = tmp_path / "r.csv"
    file.write_text("dataset,accuracy,label\nset0,0.9,ours\n")
    assert read_references(file).to_dict("records") == [
        {"dataset": "set0", "accuracy": 0.9, "label": "ours"}
    ]


@pytest.mark.parametrize(("text", "code"), [
    ("name,accuracy\na,0.9\n", "table.references"), ("dataset,best\na,101\n", "table.range"),
    ("dataset,best\na,good\n", "table.cells"),
])  # fmt: skip
def test_references_that_cannot_be(tmp_path, text, code):
    file = tmp_path / "r.csv"
    file.write_text(text)
    with refused(code):
        read_references(file)
