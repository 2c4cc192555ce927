import io
import re

import pandas as pd
import pytest

import headstart as hs
from headstart.report import csv_table, csv_text, latex_tables
from headstart.report.model_tables import leaderboard, means_table
from headstart.report.page_model import names_of
from headstart.report.result_tables import comparison_tables, result_tables
from report.results import empty, made

FORMULAS = ("=cmd()", "+1", "-1+1", "@SUM(A1)")
SPECIAL = ("a_b & c%", "x{y}$#", r"back\slash ~ ^ < > |")


def test_the_long_table_has_every_accuracy_and_every_mean():
    subject = made()
    table = csv_table(subject)
    assert list(table.columns) == [
        *("setting", "model", "row", "dataset", "value", "unit", "low", "high"),
        *("n_seeds", "seed_sd", "best", "not_different", "difference"),
        *("difference_low", "difference_high"),
    ]
    assert len(table) == len(subject.cells) + 2 * len(subject.model_means)
    means = table[table.row == "mean"]
    assert means.dataset.isna().all()
    assert set(means.unit) == {"log odds"}
    assert sorted(means.value) == sorted(subject.model_means["mean"])
    hundred = table[table.row == "mean_accuracy"]
    assert set(hundred.unit) == {"proportion"}
    by_model = subject.cells.groupby(["setting", "model"]).accuracy.mean()
    assert sorted(hundred.value) == pytest.approx(sorted(by_model))
    assert set(table[table.row == "cell"].unit) == {"proportion"}
    assert csv_table(empty()).empty


def test_latex_marks_the_best_and_what_is_not_different_from_it():
    subject = made(n_models=5, n_datasets=5, settings=("linear",))
    latex = latex_tables(subject)
    accuracies = latex.split(r"\end{table}")[0]
    assert accuracies.count(r"\textbf{") == 6  # five datasets and the mean
    same = subject.cells["not_different"].astype(bool) & ~subject.cells["best"]
    same_means = subject.model_means["not_different"].astype(bool) & ~subject.model_means["best"]
    assert accuracies.count(r"\underline{") == same.sum() + same_means.sum()
    first = subject.model_means.sort_values("mean").iloc[-1]
    assert rf"\textbf{{{first['mean']:.2f}}} $\pm$ {first.se:.2f}" in accuracies
    mean = subject.cells[subject.cells.model == first.model].accuracy.mean()
    assert rf"& {100 * mean:.1f} & \textbf{{{first['mean']:.2f}}}" in accuracies
    assert "95 \\% intervals of the difference over datasets" in accuracies
    assert "corrected for multiple comparisons" in accuracies
    assert "Top-1 accuracy." in accuracies
    assert r"Pearson\\$r$, log\\odds" in latex
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 2


def test_latex_marks_digitised_sources():
    subject = made()
    subject.sources[0]["digitised"] = True
    assert "Made for tests (digitised)" in latex_tables(subject)


@pytest.mark.parametrize("digits", [1, 2])
def test_latex_has_as_many_decimals_as_asked(digits):
    row = next(r for r in latex_tables(made(), digits).splitlines() if r.startswith(r"net\_00"))
    assert re.search(rf"& \d\d\.\d{{{digits}}} &", row)


def test_latex_escapes_names():
    subject = made(models=SPECIAL, datasets=("50% & more", "b_c"))
    latex = latex_tables(subject)
    assert r"a\_b \& c\%" in latex
    assert r"x\{y\}\$\#" in latex
    assert r"back\textbackslash{}slash \textasciitilde{} \textasciicircum{}" in latex
    assert re.search(r"50\\%.{1,3}\\&.{1,2}more", latex)


@pytest.mark.parametrize(("name", "printed"), [
    ("[CLS] probe", "{[}CLS{]} probe"), ("* best", "{*} best"), ("a\nb", "a b"),
    ("$x_1$ & 50%", r"\$x\_1\$ \& 50\%"), ("\u202eabc\u202c\u200f\x00", "abc"),
    ("vit--base", "vit-{}-base"), (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
])  # fmt: skip
def test_latex_prints_hostile_names_and_does_nothing_else(name, printed):
    latex = latex_tables(made(models=(name, "b", "c"), datasets=("x", "y")))
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert any(row.startswith(f"{printed} & ") for row in rows)


def test_a_spreadsheet_runs_no_name():
    lines = csv_text(made(models=FORMULAS, datasets=("a\nb", 'c"d,e'), settings=("linear",)))
    table = pd.read_csv(io.StringIO(lines), dtype=str)
    assert set(table.model) == {f"'{name}" for name in FORMULAS}
    assert set(table.dataset.dropna()) == {"a\nb", 'c"d,e'}
    assert table.value.astype(float).notna().all()


def test_latex_columns_agree_in_number():
    blocks = latex_tables(made(n_datasets=4)).split(r"\toprule")[1:]
    assert blocks
    for block in blocks:
        body = block.split(r"\bottomrule")[0]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1


def test_latex_folds_twelve_datasets_and_names_metrics_and_the_standard_error():
    names = (
        *("Food-101", "CIFAR-10", "CIFAR-100", "Birdsnap", "SUN397", "Stanford Cars"),
        *("FGVC Aircraft", "VOC2007", "DTD", "Oxford-IIIT Pets", "Caltech-101", "102 Flowers"),
    )
    subject = made(5, settings=("linear",), datasets=names)
    subject.cells.loc[subject.cells.dataset == "DTD", "metric"] = "mean-per-class"
    table = latex_tables(subject, intervals=True).split(r"\end{table}")[0]
    assert "resizebox" not in table
    panels = table.split(r"\begin{tabular}{l")[1:]
    # Fourteen intervals of 40 pt and names would make two panels of 359 pt, a line has 345.
    assert [panel.partition("}")[0] for panel in panels] == ["rrrrr", "rrrrr", "rrrr"]
    without = latex_tables(subject).split(r"\end{table}")[0].split(r"\begin{tabular}{l")[1:]
    assert [panel.partition("}")[0] for panel in without] == ["rrrrrrr"] * 2
    for panel, n in zip(panels, (3, 5, 4), strict=True):
        # Each model again, its intervals below.
        rows = panel.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
        assert [row.startswith("net") for row in rows] == [True, False] * 5
        assert all(row.count(r"\scriptsize") == n for row in rows[1::2])
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
    cell = subject.cells.iloc[0]
    assert rf"\scriptsize {100 * cell.low:.1f} to {100 * cell.high:.1f}" in table
    assert "; mean per-class accuracy for DTD. Means over datasets" in table


def test_latex_of_nothing_has_no_table():
    assert r"\begin" not in latex_tables(empty())


def test_a_dataset_called_mean_is_no_mean():
    table = csv_table(made(datasets=("mean", "other")))
    assert set(table[table.dataset == "mean"].row) == {"cell"}


def test_latex_claims_no_test_and_no_error_that_is_not_there():
    latex = latex_tables(untested(made(2, 1, settings=("linear",))))
    assert "Bold: best. Differences from the best were not tested." in latex
    assert "standard error" not in latex
    assert "intervals of the difference" not in latex
    latex = latex_tables(untested(made(5, 5, settings=("linear",)), cells_only=True))
    assert "intervals of the difference over datasets" in latex
    assert "Single datasets were not tested." in latex
    assert "Cousineau-Morey within-dataset standard error" in latex


def untested(subject, cells_only=False):
    """Leave verdicts to the best alone, who do not differ from themselves."""
    for table in (subject.cells,) if cells_only else (subject.cells, subject.model_means):
        table["not_different"] = table["best"].map({True: True, False: None}).astype(object)
    return subject


def test_latex_correlations_are_not_rounded_to_one():
    subject = made()
    subject.correlations["estimate"] = 0.99981
    subject.correlations["low"], subject.correlations["high"] = -0.99997, 0.99999
    latex = latex_tables(subject)
    assert "$> 0.999$" in latex
    assert "$< -0.999$ to $> 0.999$" in latex
    assert "1.000" not in latex


def test_labels_of_settings_differ():
    latex = latex_tables(made(settings=("knn_20", "knn 20", "knn-20")))
    found = re.findall(r"\\label\{(.*?)\}", latex)
    assert len(found) == len(set(found)) >= 3


def test_long_tables_come_in_parts():
    latex = latex_tables(made(47, 2, settings=("linear",)))
    assert "Part 1 of 2." in latex
    assert "Part 2 of 2." in latex
    assert latex.count(r"net\_") == 47


@pytest.mark.parametrize(
    ("name", "needed"), [("plain", False), ("Šárka é ö", False), ("模型", True), ("αβ", True)]
)
def test_latex_states_which_engine_its_letters_need(name, needed):
    latex = latex_tables(made(models=(name, "b", "c"), settings=("linear",)))
    assert ("xelatex or lualatex" in latex) == needed


def labels(table):
    return [column.label for column in table.columns]


@pytest.mark.parametrize("datasets", [1, 5])
def test_the_page_has_each_column_of_the_means_once(datasets):
    subject = made(n_datasets=datasets)
    names = names_of(subject)
    (means,) = [table for table in result_tables(subject, names) if table.key == "means"]
    board, whole = leaderboard(subject, names)[0], means_table(subject, names)
    beside = {column.second for column in board.columns}
    assert {"Model"} <= set(labels(board)) & set(labels(means)) <= {"Model", "Mean log odds"}
    assert {"Odds ratio to best", "Family"} <= set(labels(means))
    left_out = set(labels(whole)) - set(labels(means))
    # Of one dataset the leaderboard has the accuracy under the name of the dataset.
    here = {*labels(board), "Mean" if datasets == 1 else ""}
    ranks = {"Rank, 95 % interval"} if "95 % interval of the rank" in beside else set()
    assert left_out - here - ranks <= {"Difference from best"}
    assert len(means.rows) == len(whole.rows)


def test_the_tables_of_one_dataset_do_not_count_it_in_every_row():
    subject = made(6, 1)
    tables = {table.key: table for table in result_tables(subject, names_of(subject))}
    for key in ("means", "correlations"):
        headings = {column.heading for column in tables[key].columns}
        assert not headings & {"Datasets", "Dataset group", "Mean log odds"}
    # Of one dataset, the whole and each group are the same numbers.
    assert len(tables["correlations"].rows) == 2 == subject.cells.setting.nunique()


def test_sources_that_are_equal_have_no_tables_of_zeros():
    subject = hs.analyze("kornblith2019", against="kornblith2019-public", resamples=100)
    tables = comparison_tables(subject, names_of(subject))
    assert [table.key for table in tables] == ["model-sets"]
