"""What the documents say is what the code does."""

import ast
import csv
import re
import tomllib
from pathlib import Path

import pytest
import typer
from sklearn.datasets import load_digits
from sklearn.utils import shuffle

import headstart as hs
from conftest import MODEL
from headstart.cli.main import app
from headstart.spec.formatting import number_label

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
WALK = re.findall(
    r"^\| \d+ \| `([\w.]+)` \| `([\w/.]+)`",
    (ROOT / "docs" / "architecture.md").read_text(),
    flags=re.MULTILINE,
)
ANALYSIS = re.findall(
    r"^\| `([\w.]+)` \| `([\w/.]+)` \|",
    (ROOT / "docs" / "architecture.md").read_text(),
    flags=re.MULTILINE,
)


def test_the_readmes_table_is_the_recorded_demo():
    with (ROOT / "docs" / "demo" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    (table,) = re.findall(r"```\n(model .*?)```", README, flags=re.DOTALL)
    for row, line in zip(rows, table.strip().splitlines()[1:10], strict=True):
        cells = line.replace(" to ", "-").split()
        assert cells[0] == row["model"]
        assert cells[1] == f"{100 * float(row['upstream_accuracy']):.2f}"
        assert cells[2] == row["dataset"]
        assert cells[3] == f"{100 * float(row['accuracy']):.2f}"
        assert cells[5] == row["n_test"]
        assert cells[6] == number_label(float(row["lambda"]))


def test_the_documented_settings_are_the_recorded_demo():
    with (ROOT / "docs" / "demo" / "settings.csv").open() as file:
        rows = list(csv.DictReader(file))
    methods = (ROOT / "docs" / "methods.md").read_text()
    (table,) = re.findall(r"```\n(model .*?)```", methods, flags=re.DOTALL)
    lines = table.strip().splitlines()[1:]
    assert [row["setting"] for row in rows] == ["linear", "finetune", "scratch"]
    for row, line in zip(rows, lines, strict=True):
        named, seconds = [row[key] for key in ("model", "dataset", "setting")], row["seconds"]
        cells = line.replace(" to ", "-").split()
        assert [cells[0], *cells[2:4]] == named
        assert cells[4] == (row["steps"].removesuffix(".0") or "-")
        assert cells[5] == f"{100 * float(row['accuracy']):.2f}"
        assert (cells[7], cells[-2]) == (row["n_test"], f"{float(seconds):.1f}")


STUDIES = re.findall(
    r"```toml\n(.*?)```", (ROOT / "docs" / "studies.md").read_text(), flags=re.DOTALL
)


@pytest.mark.parametrize("text", STUDIES)
def test_the_documented_studies_are_some(text):
    assert hs.Study(**tomllib.loads(text)).trials()


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    """Its blocks one after another, as in a notebook, with features and labels for the probe.

    The network is the same for small images: a twelfth of the arithmetic.
    """
    monkeypatch.chdir(tmp_path)
    X, y = shuffle(*load_digits(return_X_y=True), random_state=0)
    scope = {"X": X[:300], "y": y[:300], "X_val": X[300:400], "y_val": y[300:400],
             "X_test": X[400:600], "y_test": y[400:600]}  # fmt: skip
    text = README.replace('models=["efficientnet_lite0"]', f"models=[{MODEL!r}]")
    assert text != README
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    values = []
    for code in blocks:
        *_, last = (tree := ast.parse(code)).body
        tree.body.pop()
        exec(compile(tree, "README.md", "exec"), scope)
        values.append(eval(compile(ast.Expression(last.value), "README.md", "eval"), scope))
    _, results, score = values
    assert (tmp_path / "correlation.pdf").stat().st_size > 10_000
    assert results.loc[0, ["dataset", "n_test"]].tolist() == ["digits", 300]
    assert scope["probe"].gap_path_.max() <= 1e-4
    assert score > 0.8


def test_the_tables_of_an_analysis_are_as_documented():
    from headstart.analysis.analysis import TABLES

    text = (ROOT / "docs" / "analysis.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \| [^|]* \| (`.*`) \|$", text, flags=re.MULTILINE)
    found = {name: tuple(re.findall(r"`(\w+)`", columns)) for name, columns in documented}
    tables = {
        name: tuple("upstream_accuracy" if one == "predictor" else one for one in columns)
        for name, columns in TABLES.items()
    }
    assert {name: found.get(name) for name in TABLES} == tables


def test_the_figures_are_as_documented():
    from headstart.figures import FIGURES

    text = (ROOT / "docs" / "analysis.md").read_text().split("## Figures")[1]
    assert [name for name in FIGURES if f"`{name}`" not in text] == []


def assert_printed(text, *values):
    """The text shows the values, to the digits that it shows.

    A value at the edge of rounding may print as either neighbour, as a processor's order of
    summation has it: a hundredth of the last digit is allowed for that.
    """
    for shown, value in zip(text.split(" to "), values, strict=True):
        digits = len(shown.partition(".")[2])
        assert float(shown) == pytest.approx(value, abs=0.51 * 10**-digits)


def test_the_readmes_correlations_are_those_of_the_analysis():
    # Intervals of correlations are not drawn.
    analysis = hs.analyze("kornblith2019", resamples=100)
    rows = analysis.correlations.query("group == 'all' and statistic == 'pearson_logit'")
    lines = re.findall(r"^\| r, .*$", README, flags=re.MULTILINE)
    for line, row in zip(lines, rows.itertuples(), strict=True):
        _, _, published, here, models, families, _ = (cell.strip() for cell in line.split("|"))
        assert_printed(here, row.estimate)
        assert_printed(published, row.estimate)
        assert_printed(models, row.low, row.high)
        assert_printed(families, row.low_family, row.high_family)


def test_the_readmes_commands_exist():
    commands = set(typer.main.get_group(app).list_commands(None))
    used = set(re.findall(r"^headstart (\w+)", README, flags=re.MULTILINE))
    assert used <= commands
    for group in ("models", "datasets", "results"):
        within = typer.main.get_group(app).commands[group].list_commands(None)
        assert set(re.findall(rf"^headstart {group} (\w+)", README, flags=re.MULTILINE)) <= {
            *within
        }
    assert len(used) >= 4


def test_the_options_of_a_models_name_are_as_documented():
    from headstart.models.model_catalogue import OPTIONS

    text = (ROOT / "docs" / "models.md").read_text().split("## Options")[1].split("Features are")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)) == set(OPTIONS)


def test_every_kind_of_name_is_documented():
    from headstart.models.model_source import SOURCES

    text = (ROOT / "docs" / "models.md").read_text()
    forms = {name: f"`{name}:" for name in SOURCES if name not in ("embedded", "function")}
    assert [name for name, form in forms.items() if form not in text] == []


def test_a_trial_is_followed_through_at_most_eight_files():
    assert WALK
    assert ANALYSIS
    assert len({file for _, file in WALK}) <= 8


@pytest.mark.parametrize(("name", "file"), WALK + ANALYSIS)
def test_a_step_of_the_walk_is_in_its_file(name, file):
    tree = ast.parse((ROOT / "src" / "headstart" / file).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    *owner, function = name.split(".")
    assert function in names
    assert set(owner) <= classes


def test_examples_in_docstrings_hold():
    import doctest
    from importlib import import_module

    attempted = 0
    for file in sorted((ROOT / "src" / "headstart").rglob("*.py")):
        name = ".".join(file.relative_to(ROOT / "src").with_suffix("").parts)
        if ">>>" in file.read_text() and not name.endswith("__main__"):
            name = name.removesuffix(".__init__")
            outcome = doctest.testmod(
                module := import_module(name), extraglobs={"np": __import__("numpy")}
            )
            assert outcome.failed == 0, module
            attempted += outcome.attempted
    assert attempted >= 6


DATASETS = (ROOT / "docs" / "datasets.md").read_text()


def rows_of(section: str) -> list[list[str]]:
    """Give the cells of the first table of a section, its header left out."""
    table = re.search(r"(^\|.*\n)+", DATASETS.split(f"# {section}\n")[1], flags=re.MULTILINE)[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[2:]]
    return [[cell.strip().strip("`") for cell in row] for row in cells]


def test_the_datasets_are_as_documented():
    from headstart import datasets

    found = []
    for name in datasets.names():
        known = datasets.describe(name)
        sizes = [f"{size:,}" for _, size in known.sizes]
        drawn = ", ".join(known.drawn) or "-"
        found.append([name, str(known.n_classes), *sizes, known.metric, drawn])
    assert rows_of("The catalogue") == found
    assert len(found) == 20


def test_where_the_twelve_come_from_is_as_documented():
    from headstart.datasets.archives import published_facts

    assert rows_of("Getting the twelve") == [
        [key, facts.torchvision or "-", facts.hub.repository if facts.hub else "-", first]
        for key, facts in published_facts().items()
        for first in facts.sources[:1]
    ]


def test_the_options_of_a_datasets_name_are_as_documented():
    from headstart.datasets.dataset_name import OPTIONS
    from headstart.datasets.sources import SOURCES

    tables = DATASETS.split("### Options")[1].split("###")[0]
    assert re.findall(r"^\| `(\w+)` \|", tables, flags=re.MULTILINE) == list(OPTIONS)
    documented = re.findall(r"^\| (\w+) \| `(\w+)` \|", tables, flags=re.MULTILINE)
    known = [(source.name, option) for source in SOURCES.values() for option in source.options]
    assert sorted(documented) == sorted(known)


def test_the_commands_on_datasets_exist():
    from headstart.cli.datasets_command import datasets_app

    commands = {c.name or c.callback.__name__ for c in datasets_app.registered_commands}
    used = set(re.findall(r"^headstart datasets (\w+)", DATASETS, flags=re.MULTILINE))
    assert used == commands
    assert set(re.findall(r"^headstart datasets (\w+)", README, flags=re.MULTILINE)) <= commands


def test_what_the_metrics_mean_is_as_documented():
    from headstart.labels import KINDS

    assert [row[0] for row in rows_of("What labels mean")] == list(KINDS)


def test_the_rates_of_the_prepared_form_are_the_recorded_ones():
    import json

    found = json.loads((ROOT / "benchmarks" / "results" / "data-cpu.json").read_text())
    rates, space = found["images_per_second"]["read"], found["space"]
    said = " ".join(DATASETS.split("## The prepared form")[1].split("##")[0].split())
    assert f"{rates['prepared']:,} images per second" in said
    assert f"gives {rates['pillow']:,}" in said
    assert f"{found['over_pillow']['cold']['prepared']:.1f} times" in said
    assert f"{found['over_pillow']['crop']['prepared']:.1f} times" in said
    assert f"{space['kb_per_image']['prepared']:.0f} kB" in said
    assert all(f"{space['gb'][name]['prepared']} GB" in said for name in ("food101", "sun397"))
