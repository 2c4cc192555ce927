"""Every figure: drawn from any tables for print and for the page, listed, saved."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import headstart as hs
from figures.drawings import whole
from headstart.figures import FIGURES, available, draw, save
from headstart.figures.figure import canonical_pdf
from refusals import refused

PAIR = ("finetune", "scratch")
STRANGE = "cost_$5_to_$9 & <b> 100%"
# Names that are properties of every object of JavaScript, in which Vega looks names up.
PROPERTIES = ("__proto__", "constructor", "valueOf", "toString", "hasOwnProperty")


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figure.printed.to_bytes("png"))).convert("L"))


def assert_within_the_page(figure):
    """Something is drawn, and nothing reaches the edge of the page."""
    drawn = pixels(figure) < 200
    assert drawn.mean() > 0.002
    assert not drawn[:, :4].any()
    assert not drawn[:, -4:].any()
    assert not drawn[:4].any()
    assert not drawn[-4:].any()


@pytest.mark.parametrize("name", FIGURES)
class TestEveryFigure:
    def test_legible_and_its_tables_left_alone(self, name, tables):
        before = {table: frame.copy() for table, frame in tables.items()}
        figure = draw(name, tables, source="Made up.")
        assert figure.printed.width in (3.4, 7.0)
        assert figure.printed.height <= 11.0
        assert_within_the_page(figure)
        assert " ".join(whole(figure)).endswith("Made up.")
        for table, frame in tables.items():
            pd.testing.assert_frame_equal(frame, before[table])

    def test_row_order_changes_no_point(self, name, make):
        tables = make(models=3, datasets=1, settings=PAIR)

        # Datasets and settings stand in the order of the rows: only models are shuffled.
        def by_model(frame, ascending):
            keys = [key for key in ("model", "steps") if key in frame]
            return frame.sort_values(keys, ascending=ascending, kind="stable") if keys else frame

        one, other = (
            draw(name, {table: by_model(frame, up) for table, frame in tables.items()})
            for up in (True, False)
        )
        assert one.printed.svg == other.printed.svg

    @pytest.mark.parametrize(
        ("models", "datasets", "settings"), [(1, 1, PAIR[::-1]), (70, 1, PAIR)]
    )
    def test_any_number_of_models(self, name, make, models, datasets, settings):
        figure = draw(name, make(models=models, datasets=datasets, settings=settings))
        assert_within_the_page(figure)
        assert figure.printed.height <= 11.0 or name == "embedding"
        assert len({entry.style[1:4] for entry in figure.legend if entry.mark == "symbol"}) <= 9

    def test_long_names_markup_and_letters_of_any_script(self, name, make):
        long = "vit_large_patch14_clip_quickgelu_224.openai_ft_in12k_in1k"
        names = {
            "model 0": long, "data 0": long * 2, "model 1": STRANGE, "data 1": STRANGE,
            "data 2": "\u6570\u636e\u96c6" * 12,
        }  # fmt: skip
        figure = draw(name, make(2, 4, (long + " (" + long + ")", *PAIR), names))
        assert_within_the_page(figure)

    def test_unknown_numbers_and_missing_cells(self, name, make):
        tables = make(3, 2, PAIR)
        for frame in tables.values():
            for column in {"low", "high", "se"} & set(frame):
                frame[column] = np.nan
            if "not_different" in frame:
                frame["not_different"] = pd.Series([None] * len(frame), dtype=object)
        tables["cells"] = tables["cells"].drop(index=[0, 7])
        tables["cells"].loc[5, ["log_odds", "accuracy", "residual"]] = np.nan
        figure = draw(name, tables)
        assert_within_the_page(figure)
        # What is unknown is not written as a number.
        assert not [text for text in whole(figure) if "nan" in text.lower().split()]

    def test_says_what_is_missing(self, name, tables):
        with refused("figure.table_missing", found=[]):
            draw(name, {})
        with refused("figure.table_empty", figure=name):
            draw(name, {table: frame.iloc[:0] for table, frame in tables.items()})
        cut = {table: frame.assign(setting="s")[["setting"]] for table, frame in tables.items()}
        with refused("figure.column_missing") as error:
            draw(name, cut)
        assert "setting" not in error.value.values["missing"]

    def test_the_page_draws_the_same_panels(self, name, tables):
        figure = draw(name, tables)
        page = figure.page()
        assert page.data.interactive
        assert not figure.data.interactive
        assert [p.title for p in page.panels] == [p.title for p in figure.panels]
        specs = figure.specs()
        assert all(spec["width"] == "container" for spec in specs)
        named = {params["name"] for params in specs[0]["params"]}
        assert {"hidden_settings", "hidden_datasets", "hidden_models", "show_all"} <= named

    def test_notebooks_show_it(self, name, tables):
        figure = draw(name, tables)
        assert figure._repr_mimebundle_()["image/svg+xml"].startswith("<svg")
        assert "<svg" in figure._repr_html_()
        chart = figure.to_dict()
        assert "var(--" not in json.dumps(chart)
        assert len(chart["concat"]) == len(figure.panels)


def test_unknown_figure():
    with refused("name.unknown", kind="figure", near=["correlation", "ablation"]):
        draw("corelation", {})


def test_available(tables, make):
    assert available(tables) == list(FIGURES)
    assert available({}) == []
    assert available({"cells": tables["cells"]}) == [
        "datasets", "settings", "finetune-vs-scratch", "heatmap",
    ]  # fmt: skip
    one = {"correlation", "datasets", "models", "ranks", "heatmap"}
    assert available(make(models=1)) == [name for name in FIGURES if name not in one]
    alone = make(models=1, datasets=1)
    assert "finetune-vs-scratch" not in available(alone)
    two = {"correlation", "datasets"}
    assert available(make(models=2)) == [name for name in FIGURES if name not in two]
    assert {"settings", "heatmap"}.isdisjoint(available(make(datasets=1, settings=("linear",))))


@pytest.mark.parametrize("tested", [True, False])
def test_ranks_of_untested_models_are_not_offered(make, tested):
    tables = make()
    tables["ranks"] = tables["ranks"].assign(low=1, high=5)
    if not tested:
        tables["model_means"] = tables["model_means"].assign(not_different=None)
    assert ("ranks" in available(tables)) == tested


def test_what_needs_upstream_accuracy_says_so(make):
    tables = make()
    for frame in tables.values():
        for column in {"upstream_accuracy", "residual"} & set(frame):
            frame[column] = np.nan
    left = [name for name in FIGURES if name not in ("correlation", "datasets", "heatmap")]
    assert available(tables) == left
    with refused("figure.values_missing", columns=["upstream_accuracy", "mean"]):
        draw("correlation", tables)
    draw("ablation", tables)


class TestSave:
    def test_all_formats(self, drawn, tmp_path):
        paths = save(drawn("ranks"), tmp_path / "new folder" / "v1.5 ranks")
        names = ["v1.5 ranks.png", "v1.5 ranks.svg", "v1.5 ranks.pdf"]
        assert [path.name for path in paths] == names
        assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(names)
        assert b"<svg" in paths[1].read_bytes()[:1000]
        pdf = paths[2].read_bytes()
        assert pdf.startswith(b"%PDF")
        assert b"/Type3" not in pdf
        assert f"{72 * 7.0:g}".encode() in pdf.split(b"/MediaBox")[1][:40]

    def test_png_has_200_dots_per_inch(self, drawn, tmp_path):
        figure = drawn("settings")
        with Image.open(save(figure, tmp_path / "f", formats=["png"])[0]) as image:
            assert image.width == 680
            assert image.height == pytest.approx(200 * figure.printed.height, abs=1)
            assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)

    def test_an_open_file(self, drawn):
        file = io.BytesIO()
        drawn("ranks").savefig(file, format="pdf")
        assert file.getvalue().startswith(b"%PDF")

    @pytest.mark.parametrize("name", ["f.jpg", "f."])
    def test_unknown_format(self, drawn, tmp_path, name):
        if name == "f.":
            drawn("ranks").savefig(tmp_path / name)
            return
        with refused("name.unknown", kind="figure format", name="jpg"):
            save(drawn("ranks"), tmp_path / "f", formats=["png", "jpg"])
        with refused("name.unknown", kind="figure format", name="jpg"):
            drawn("ranks").savefig(tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_a_folder_that_is_a_file(self, drawn, tmp_path):
        (tmp_path / "file").write_text("")
        with refused("storage.not_folder"):
            save(drawn("ranks"), tmp_path / "file" / "f")

    def test_same_bytes_in_another_process(self, tables, tmp_path):
        """Hash seeds differ between processes, and Vega counts what it drew; files must not."""
        tables["ranks"].to_json(tmp_path / "ranks.json")
        program = (
            "import sys; from pathlib import Path; import pandas as pd\n"
            "from headstart.figures import draw, save\n"
            "ranks = pd.read_json(sys.argv[1])\n"
            "save(draw('ranks', {'ranks': ranks}), Path(sys.argv[2]))\n"
        )
        command = [sys.executable, "-c", program, tmp_path / "ranks.json", tmp_path / "there"]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": "1", **surroundings()})
        for here in save(draw("ranks", {"ranks": tables["ranks"]}), tmp_path / "here"):
            assert here.read_bytes() == here.with_stem("there").read_bytes(), here.suffix

    def test_same_bytes_again(self, tables):
        """With bands, which are clipped; in several fonts, which PDF files number by chance."""
        names = {"model": dict.fromkeys(["model 0"], "\u6a21\u578b")}
        files = set()
        for _ in range(4):
            means = {"model_means": tables["model_means"].replace(names), "lines": tables["lines"]}
            figure = draw("correlation", means)
            files.add((figure.printed.svg, figure.printed.to_bytes("pdf")))
        assert len(files) == 1

    def test_canonical_pdf_stays_as_it_is(self, drawn):
        pdf = drawn("ranks").printed.to_bytes("pdf")
        assert canonical_pdf(pdf) == pdf
        assert pdf.count(b" 0 obj") == pdf.count(b" 00000 n")


def test_neither_matplotlib_nor_torch_is_needed(tmp_path):
    program = "import sys, headstart.figures, headstart.report\nprint('torch' in sys.modules, 'matplotlib' in sys.modules)"  # fmt: skip  # noqa: E501
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, env=surroundings(), capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def surroundings():
    return {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "HOME") if key in os.environ}


def test_a_setting_of_two_models_has_no_panel_beside_those_of_more():
    analysis = hs.analyze("kornblith2019-regularizers", resamples=200)
    assert [panel.title for panel in analysis.figure("correlation").panels] == [
        "Logistic regression"
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("models", "model"), ("ranks", "model"), ("heatmap", "model"), ("heatmap", "data"),
     ("settings", "data"), ("datasets", "data")],
)  # fmt: skip
def test_names_that_all_objects_of_javascript_have_are_drawn(name, kind, make):
    names = {f"{kind} {i}": one for i, one in enumerate(PROPERTIES)}
    figure = draw(name, make(datasets=5, settings=("linear", "constructor"), names=names))
    assert set(PROPERTIES) <= set(whole(figure))
    assert_within_the_page(figure)


def test_training_configurations_may_have_such_names(tables):
    table = tables["ablation"]
    places = dict(zip(table["configuration"].unique(), PROPERTIES, strict=False))
    strange = table.assign(configuration=table["configuration"].map(places))
    drawn = whole(draw("ablation", {"ablation": strange}))
    assert set(places.values()) <= set(drawn)
