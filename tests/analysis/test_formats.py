"""One small table in every format that people publish tables in, and what is refused."""

import gzip
import json

import pandas as pd
import pytest

from headstart.analysis.tables.results_sources import read_sources
from headstart.analysis.tables.tidy_table import ReadOptions
from refusals import refused

# Model -> dataset -> accuracy in percent; one cell is missing.
CELLS = {"ResNet-50": {"pets": 92.1, "cars": 89.1}, "ViT-B/16": {"pets": 93.25}}
PM = "\N{PLUS-MINUS SIGN}"
WIDE = [{"model": "ResNet-50", "pets": 92.1, "cars": 89.1}, {"model": "ViT-B/16", "pets": 93.25}]
LONG = [
    {"Model": model, "Dataset": dataset, "ACCURACY": value}
    for model, row in CELLS.items()
    for dataset, value in row.items()
]


def cells(source, columns=None, **options) -> dict:
    frame = read_sources([source], columns, ReadOptions(**options)).frame
    rows = zip(frame["model"], frame["dataset"], frame["accuracy"], strict=True)
    found: dict = {}
    for model, dataset, accuracy in rows:
        found.setdefault(model, {})[dataset] = round(100 * accuracy, 9)
    return found


TEXTS = {
    "csv": "model,pets,cars\nResNet-50,92.1,89.1\nViT-B/16,93.25,-\n",
    "semicolons": "model;pets;cars\nResNet-50;92,1;89,1\nViT-B/16;93,25;\n",
    "CRLF and blank lines": "model,pets,cars\r\nResNet-50,92.1,89.1\r\nViT-B/16,93.25,\r\n\r\n\r\n",
    "tabs": "model\tpets\tcars\nResNet-50\t92.1\t89.1\nViT-B/16\t93.25\tN/A\n",
    "bars": "model|pets|cars\nResNet-50|92.1|89.1\nViT-B/16|93.25|?\n",
    "blanks": "model      pets   cars\nResNet-50  92.1   89.1\nViT-B/16   93.25  --\n",
    "comments": "# a paper, 2026\nsep=;\nmodel;pets;cars\nResNet-50;92.1;89.1\nViT-B/16;93.25;\n",
    "commas at the end": "model,pets,cars\nResNet-50,92.1,89.1,\nViT-B/16,93.25,,\n",
    "quotes": '"model","pets","cars"\n"ResNet-50","92.1","89.1"\n"ViT-B/16","93.25",""\n',
    "markdown": "# Results\n\n| Model | Pets \N{UPWARDS ARROW} | **cars** |\n|:--|--:|:-:|\n"
    "| [ResNet-50](https://x.org/a_b) | 92.1 | *89.1* |\n| `ViT-B/16` | **93.25** | - |\n\nEnd.\n",
    "latex": r"""\begin{table}\caption{A & B}
\begin{tabular}{@{}l|c@{\hskip 3pt}c} \toprule % a comment & more
\textbf{Model} & \multicolumn{1}{c}{Pets} & Cars $\uparrow$ \\ \midrule
\multicolumn{3}{l}{\emph{Supervised}} \\
ResNet-50~\cite{he2016} & 92.1 & \textbf{89.1} \\[2pt]
ViT-B/16$^{\ddagger}$ & \underline{93.25}$^*$ & -- \\ \bottomrule
\end{tabular}\end{table}""",
    "latex with stacks": r"""\resizebox{\linewidth}{!}{\begin{tabular*}{\textwidth}{@{}lcc}
Model & \rotatebox{90}{Pets} & \makecell[c]{Cars\\(\%)} \\ \hline \rowcolor{gray!10}
ResNet-50 & \textbf{\textcolor{red}{92.1}} & {\bf 89.1} \tabularnewline
ViT-B/16 & 93.25 & -- \\ \end{tabular*}}""",
    "html": "<html><table class=x><tr><th>Model</th><th>Pets</th><th>Cars</th></tr>"
    "<tr><td>ResNet-50<sup>1</sup><td>92.1<td><b>89.1</b>"
    "<tr><td>ViT-B/16</td><td>93.25</td><td>n.a.</td></tr></table></html>",
    "json records": json.dumps(LONG),
    "json lines": "\n".join(map(json.dumps, LONG)),
    "json columns": json.dumps({"model": list(CELLS), "pets": [92.1, 93.25], "cars": [89.1, None]}),
    "json of pandas": pd.DataFrame(LONG).to_json(),
    "json split": pd.DataFrame(LONG).to_json(orient="split"),
    "json by model": json.dumps(CELLS),
    "json by dataset": json.dumps({"pets": {"ResNet-50": 92.1, "ViT-B/16": 93.25},
                                   "cars": {"ResNet-50": 89.1}}),
    "json by setting": json.dumps({"linear": CELLS}),
    "json with scores": json.dumps({m: {d: {"accuracy": v} for d, v in row.items()}
                                    for m, row in CELLS.items()}),
    "json with remarks": json.dumps({"date": "2026", "results": LONG}),
    "json with results in it": json.dumps([{"model": m, "results": r} for m, r in CELLS.items()]),
    "grid": "+-----------+------+------+\n| Model     | pets | cars |\n"
    "+===========+======+======+\n"
    "| ResNet-50 | 92.1 | 89.1 |\n+-----------+------+------+\n| ViT-B/16  | 93.25|  --  |\n"
    "+-----------+------+------+\n",
    "simple": "=========  =====  ====\nModel      pets   cars\n=========  =====  ====\n"
    "ResNet-50  92.1   89.1\nViT-B/16   93.25\n=========  =====  ====\n",
    "tabulate": "Model        pets    cars\n---------  ------  ------\nResNet-50   92.1     89.1\n"
    "ViT-B/16    93.25\n",
    "psql": " model     | dataset | accuracy\n-----------+---------+----------\n"
    " ResNet-50 | pets    |    92.1\n ResNet-50 | cars    |    89.1\n"
    " ViT-B/16  | pets    |   93.25\n(3 rows)\n",
    "rich": "┏━━━━━━━━━━━┳━━━━━━━┳━━━━━━┓\n┃ Model     ┃ pets  ┃ cars ┃\n"
    "┡━━━━━━━━━━━╇━━━━━━━╇━━━━━━┩\n"
    "│ ResNet-50 │ 92.1  │ 89.1 │\n│ ViT-B/16  │ 93.25 │ -    │\n└───────────┴───────┴──────┘\n",
    "one blank": "Model pets cars\nResNet-50 92.1 89.1\nViT-B/16 93.25 NA\n",
    "R": '"pets" "cars"\n"ResNet-50" 92.1 89.1\n"ViT-B/16" 93.25 NA\n',
    "title": "Table 3: linear probes\n\nmodel,pets,cars\nResNet-50,92.1,89.1\nViT-B/16,93.25,-\n",
    "title with a comma": "Accuracy (%), our runs\n\nmodel,pets,cars\nResNet-50,92.1,89.1\n"
    "ViT-B/16,93.25,-\n",
    "note below": "model,pets,cars\nResNet-50,92.1,89.1\nViT-B/16,93.25,-\n\n* ours, three runs\n",
    "spreads by name": "model,pets,±,cars,±\nResNet-50,92.1,0.1,89.1,0.2\nViT-B/16,93.25,0.1,-,-\n",
    "means and spreads": "model,dataset,mean,std\nResNet-50,pets,92.1,0.1\n"
    "ResNet-50,cars,89.1,0.2\n"
    "ViT-B/16,pets,93.25,0.1\n",
    "aggregated": ",,accuracy,accuracy\n,,mean,std\nmodel,dataset,,\nResNet-50,pets,92.1,0.1\n"
    "ResNet-50,cars,89.1,0.2\nViT-B/16,pets,93.25,0.1\n",
    "unstacked": ",mean,mean,std,std\ndataset,pets,cars,pets,cars\nmodel,,,,\n"
    "ResNet-50,92.1,89.1,0.1,0.2\nViT-B/16,93.25,,0.1,\n",
    "metric and value": "model,dataset,metric,value\nResNet-50,pets,top1,92.1\n"
    "ResNet-50,cars,top1,89.1\nViT-B/16,pets,top1,93.25\n",
    "measures beside names": "model,pets/acc,cars (top-1)\nResNet-50,92.1,89.1\nViT-B/16,93.25,-\n",
    "measures before names": "model,acc_pets,acc_cars\nResNet-50,92.1,89.1\nViT-B/16,93.25,-\n",
    "bullets": "model,● pets,○ cars,● Mean,Δ,pets loss\nResNet-50,92.1,89.1,90.6,0,0.31\n"
    "ViT-B/16,93.25,-,-,1.1,0.25\n",
    "error rates": "model,pets err.,cars err. ↓\nResNet-50,7.9,10.9\nViT-B/16,6.75,-\n",
    "differences": "model,pets,cars\nResNet-50,92.1,89.1¹\nViT-B/16,93.25 ↑1.15,-\n",
    "stacked header": "\\begin{tabular}{lcc}\\toprule\n"
    "Model & \\begin{tabular}[c]{@{}c@{}}pets\\\\ \\end{tabular}"
    " & cars\\\\ \\midrule\nResNet-50 & 92.1 & \\colorbox{red}{89.1}\\\\\nViT-B/16 & 93.25 &\\\\\n"
    "\\end{tabular}",
    "split": json.dumps({"index": ["ResNet-50", "ViT-B/16"], "columns": ["pets", "cars"],
                         "data": [[92.1, 89.1], [93.25, None]]}),
    "index": json.dumps(dict(enumerate(LONG))),
}  # fmt: skip


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
def test_encodings(tmp_path, encoding):
    text = "model,pets\nRésNet,92.1\nVïT,93.25\n"
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert cells(tmp_path / "t.csv") == {"RésNet": {"pets": 92.1}, "VïT": {"pets": 93.25}}


def test_binary_formats(tmp_path):
    frame = pd.DataFrame(WIDE)
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(TEXTS["csv"].encode()))
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    pd.DataFrame(LONG).to_feather(tmp_path / "t.feather")
    for name in ("t.parquet", "t.csv.gz", "t.xlsx", "t.feather"):
        assert cells(tmp_path / name) == CELLS, name
    assert cells(frame) == cells(frame.set_index("model")) == CELLS


def test_excel_sheets_titles_merged_cells_and_percent(tmp_path):
    from openpyxl import Workbook

    book = Workbook()
    page = book.active
    for row in (["Table 3"], ["model", "setting", "pets", "cars"], ["a", "linear", 0.921, 0.5],
                [None, "finetune", 0.93, 0.51]):  # fmt: skip
        page.append(row)
    for name in ("C3", "D3", "C4", "D4"):
        page[name].number_format = "0.0%"
    page.merge_cells("A3:A4")
    other = book.create_sheet("other")
    other.append(["model", "pets"])
    other.append(["b", 80])
    other.append(["c", "=40+41"])
    book.save(tmp_path / "t.xlsx")
    frame = read_sources([tmp_path / "t.xlsx"]).frame
    assert frame.model.tolist() == ["a"] * 4
    assert frame.accuracy.tolist() == pytest.approx([0.921, 0.5, 0.93, 0.51])
    # Openpyxl calculates nothing: a formula without a stored value is no missing cell.
    with refused("table.formulas", cells=["B3"]):
        read_sources([f"{tmp_path}/t.xlsx?sheet:=other"])


def test_spans_of_latex_and_html(tmp_path):
    (tmp_path / "t.tex").write_text(r"""\begin{tabular}{llcccc}
 & & \multicolumn{2}{c}{Linear} & \multicolumn{2}{c}{Fine-tuned} \\ \cmidrule(lr){3-4}
Arch & Pretraining & Pets & Cars & Pets & Cars \\ \midrule
\multirow{2}{*}{ResNet} & IN1k & 1.5 & 2.5 & 3.5 & 4.5 \\
 & MoCo & 5.5 & 6.5 & 7.5 & 8.5 \\
\end{tabular}""")
    (tmp_path / "t.html").write_text(
        "<table><thead><tr><th rowspan=2>Arch<th rowspan=2>Pretraining<th colspan=2>Linear"
        "<th colspan=2>Fine-tuned<tr><th>Pets<th>Cars<th>Pets<th>Cars</thead>"
        "<tr><td rowspan=2>ResNet<td>IN1k<td>1.5<td>2.5<td>3.5<td>4.5"
        "<tr><td>MoCo<td>5.5<td>6.5<td>7.5<td>8.5</table>"
    )
    for name in ("t.tex", "t.html"):
        frame = read_sources([tmp_path / name], "model=Arch+Pretraining").frame
        rows = frame.set_index(["model", "setting", "dataset"]).accuracy.mul(100).round(9)
        assert rows["ResNet IN1k", "Linear", "Cars"] == 2.5
        assert rows["ResNet MoCo", "Fine-tuned", "Pets"] == 7.5
        assert len(rows) == 8


def test_one_table_of_several_is_chosen(tmp_path):
    file = tmp_path / "t.md"
    file.write_text("|model|pets|\n|-|-|\n|a|90|\n\n|model|pets|\n|--|--|\n|a|80|\n")
    with refused("table.several", found=2):
        cells(file)
    assert cells(f"{file}?table:=2") == {"a": {"pets": 80}}


@pytest.mark.parametrize(("content", "code"), [
    (b"\xd0\xcf\x11\xe0" + bytes(600), "table.xls"),
    (b"PK\x03\x04" + bytes(60), "table.excel_damaged"), (b"PAR1" + bytes(60), "table.parquet"),
    (b"\x1f\x8b" + bytes(60), "table.gzip"), (bytes(range(256)), "table.not_text"),
    (b"[1, 2]", "table.json_shape"), (b'{"a": 1}', "table.json_shape"),
    (b'{"a": [1], "b": [1, 2]}', "table.json_lengths"), (b'{"a": ', "table.json"),
    (b"<!DOCTYPE html><html><p>no table</p></html>", "table.none"),
    (b"\\documentclass{article}", "table.none"), (b"\n\n", "table.empty"),
    (b"resnet50:\n  pets: 91\n", "table.yaml"),
    (b"# mine\nresnet50: {pets: 91, cars: 90}\n", "table.yaml"),
    (b"---\n- model: resnet50\n  dataset: pets\n  accuracy: 91\n", "table.yaml"),
])  # fmt: skip
def test_what_holds_no_table(tmp_path, content, code):
    (tmp_path / "t").write_bytes(content)
    with refused(code):
        cells(tmp_path / "t")


@pytest.mark.parametrize("kind", TEXTS)
def test_a_table_as_programs_and_papers_print_it_is_read(tmp_path, kind):
    (tmp_path / "table").write_bytes(TEXTS[kind].encode())
    found = {model: {name.lower(): value for name, value in row.items() if value == value}
             for model, row in cells(tmp_path / "table").items()}  # fmt: skip
    assert found == CELLS


CAPTIONED = {
    "csv": "Error rates (%) of linear probes\nmodel,pets,cars\nResNet-50,7.9,10.9\nViT,6.75,9\n",
    "latex": "\\begin{table}\\caption{Top-1 error (\\%).}\\begin{tabular}{lrr}\n"
    "model & pets & cars\\\\ "
    "\\midrule\nResNet-50 & 7.9 & 10.9\\\\\nViT & 6.75 & 9\\\\\n\\end{tabular}\\end{table}",
    "markdown": "Test errors:\n\n|model|pets|cars|\n|-|-|-|\n|ResNet-50|7.9|10.9|\n|ViT|6.75|9|\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", CAPTIONED)
def test_a_caption_that_speaks_of_errors_is_asked_about(kind, tmp_path):
    path = tmp_path / "table.txt"
    path.write_text(CAPTIONED[kind])
    with refused("table.caption_error"):
        cells(path)
    assert cells(path, measure="error")["ResNet-50"] == {"pets": 92.1, "cars": 89.1}
    assert cells(path, measure="accuracy")["ResNet-50"] == {"pets": 7.9, "cars": 10.9}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        # What is no accuracy in a column of a known dataset is said, not passed over.
        ("model,CIFAR-10,pets\na,9612/10000,90\nb,9700/10000,91\n", "table.cells"),
        ("model,CIFAR-10,pets\na,True,90\nb,False,91\n", "table.cells"),
        # The second row of differences from the first is no row of accuracies.
        ("model,CIFAR-10,pets\na,96.1,90\nb,+1.9,+1.4\n", "table.cells"),
        # Losses alone are no accuracies; spreads alone neither.
        ("model,CIFAR-10 loss,pets loss\na,0.12,0.3\nb,0.1,0.2\n", "table.column_missing"),
        ("model,WikiText ppl ↓,PTB ppl ↓\na,20.1,30.2\nb,18.1,28.2\n", "table.column_missing"),
        ("model,std\na,0.1\nb,0.2\n", "table.column_missing"),
    ],
)
def test_what_is_no_accuracy_is_refused(text, code, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with refused(code):
        cells(path)
