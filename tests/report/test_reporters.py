"""Output formats of an analysis: found by name or suffix, own ones and those of packages."""

import json
from pathlib import Path

import pandas as pd
import pytest

import headstart as hs
from headstart.figures.figure import canonical_pdf
from headstart.report import write_report
from processes import forked_command, installed_in

QUICK = ("kornblith2019", "--resamples", "200")
HEADS = {
    "html": ("<!doctype html>", ".html", ".HTM"),
    "latex": (r"% \usepackage{booktabs", ".tex"),
    "csv": ("setting,model,row,dataset", ".csv"),
    "json": ('{\n "counts": [', ".json"),
    "notebook": ("<div><h4>kornblith2019: does ImageNet top-1",),
}
CASES = [(name, head, end) for name, (head, *ends) in HEADS.items() for end in (*ends, ".any")]


@pytest.fixture(scope="module")
def analysis():
    return hs.analyze("kornblith2019", resamples=200)


@pytest.mark.parametrize(("name", "head", "end"), CASES)
def test_the_format_is_that_of_the_suffix_or_the_one_named(analysis, tmp_path, name, head, end):
    target = tmp_path / f"out{end}"
    assert write_report(analysis, target, name if end == ".any" else None) == target
    assert target.read_text().lower().startswith(head.lower())
    assert list(tmp_path.iterdir()) == [target]


def test_json_has_every_table(analysis, tmp_path):
    content = json.loads(write_report(analysis, tmp_path / "a.json").read_text())
    assert set(content) == {*analysis.tables(), "sources", "options"}
    cells = pd.DataFrame(content["cells"])
    assert cells.accuracy.tolist() == pytest.approx(analysis.cells.accuracy.tolist(), rel=1e-14)


def test_the_command_line_names_its_file_by_the_format(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = cli("report", *QUICK, "--format", "latex")
    assert (outcome.code, outcome.out) == (0, f"LaTeX: {tmp_path / 'report.tex'}\n")


def test_a_card_and_latex_with_intervals(cli, tmp_path):
    outcome = cli("report", *QUICK, "--out", tmp_path / "t.tex", "--intervals",
                  "--card", tmp_path / "card")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert r"\scriptsize 78.1 to 79.1" in (tmp_path / "t.tex").read_text()
    magic = {"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<"}
    files = {file.name: file.read_bytes() for file in (tmp_path / "card").iterdir()}
    names = ("table", "table-fine-tuned", "table-random-initialization", "figure")
    assert set(files) == {f"{name}.{end}" for name in names for end in magic}
    for name, content in files.items():
        assert content.startswith(magic[name[-3:]])
        # The same results give the same bytes.
        assert not name.endswith("pdf") or canonical_pdf(content) == content
    card = files["table.svg"].decode()
    assert "Best 10 of 16 models. Bold: best." in card
    # What models are ranked by.
    assert card.count(' font-weight="bold">1.59 ') == 1


@pytest.mark.parametrize(
    ("options", "code", "values"),
    [
        (("--out", "a.pdf"), "report.suffix",
         {"target": "a.pdf", "suffix": ".pdf",
          "known": [".html", ".htm", ".tex", ".csv", ".json"]}),
        (("--out", "page"), "report.suffix", {"suffix": ""}),
        (("--intervals",), "command.missing", {"name": "--intervals"}),
        (("--images",), "command.conflict", {"option": "--images"}),
        (("--images", "--out", "a.csv"), "command.missing", {"name": "--images"}),
        (("--format", "latx"), "name.unknown", {"kind": "reporter", "near": ["latex"]}),
        (("--out", "a.html", "--card", "photos"), "report.card_folder", {"folder": "photos"}),
        (("--out", "photos.html"), "storage.no_file_name", {"path": "photos.html"}),
    ],
)  # fmt: skip
def test_unknown_formats_are_refused_before_the_work(
    cli, monkeypatch, tmp_path, options, code, values
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos.html").mkdir()
    monkeypatch.setattr("headstart.analysis.analyze", lambda *_, **__: pytest.fail("began"))
    outcome = cli("report", *QUICK, *options)
    assert (outcome.code, outcome.error.code, outcome.err.count("\n")) == (2, code, 1)
    assert outcome.error.values | values == outcome.error.values


def test_an_analysis_in_a_notebook(analysis):
    """Escaped and short."""
    assert repr(analysis).splitlines()[0] == (
        "Analysis of kornblith2019: 16 models, 12 datasets, 3 settings, 576 cells"
    )
    html = analysis._repr_html_()
    assert html.count("<tr>") == 1 + 3 * 10
    assert "best 10 of each setting" in html
    hostile = hs.analyze(pd.DataFrame({"model": ["<b>x"], "dataset": "d", "accuracy": 0.5}))
    assert "<b>x" not in hostile._repr_html_()


COUNTS = """
from headstart.files import replaced

class Counts:
    label = "Counts"
    suffixes = (".counts",)

    def write(self, analysis, target):
        with replaced(target) as temporary:
            temporary.write_text(str(len(analysis.tables()["cells"])))
"""


def test_a_format_of_an_installed_package(tmp_path, monkeypatch):
    """Found by its entry point: by its suffix, by `--format`, and listed."""
    info = tmp_path / "headstart_counts-0.1.dist-info"
    info.mkdir()
    (tmp_path / "headstart_counts.py").write_text(COUNTS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: headstart-counts\nVersion: 0.1")
    (info / "entry_points.txt").write_text(
        "[headstart.reporter]\ncounts = headstart_counts:Counts\n"
    )
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        process = forked_command(*arguments, before=installed_in(tmp_path))
        out, err = process.communicate()
        assert process.returncode == 0, err
        return out

    out = Path("n.counts")
    assert run("report", *QUICK, "--out", str(out)) == f"Counts: {tmp_path / out}\n"
    run("report", *QUICK, "--out", "n.txt", "--format", "counts")
    assert [(tmp_path / name).read_text() for name in (out, "n.txt")] == ["576", "576"]
    listed = json.loads(run("plugins", "--json"))
    assert {"kind": "reporter", "name": "counts", "place": "headstart_counts:Counts",
            "package": "headstart-counts 0.1"} in listed  # fmt: skip
    assert {one["name"] for one in listed if one["kind"] == "reporter"} == {
        *HEADS,
        "card",
        "counts",
    }
