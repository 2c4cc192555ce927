"""Every figure: drawn from any tables, listed, saved."""

import os
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from PIL import Image

from headstart import figures
from headstart.figures import FIGURES, available, draw, save
from headstart.figures.point_labels import overlaps
from headstart.figures.style import SMALL
from refusals import refused

PAIR = ("finetune", "scratch")
STRANGE = "cost_$5_to_$9 & <b> 100%"


def texts(figure):
    return [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


def assert_within_the_page(figure):
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= -0.02
    assert box.y0 >= -0.02
    assert box.x1 <= width + 0.02
    assert box.y1 <= height + 0.02


@pytest.mark.parametrize("name", FIGURES)
class TestEveryFigure:
    def test_legible_and_its_tables_left_alone(self, name, tables):
        before = {table: frame.copy() for table, frame in tables.items()}
        figure = draw(name, tables)
        assert min(text.get_fontsize() for text in texts(figure)) >= SMALL
        assert figure.get_figwidth() <= 7.0
        assert figure.get_figheight() <= 11.0
        assert_within_the_page(figure)
        for table, frame in tables.items():
            pd.testing.assert_frame_equal(frame, before[table])

    def test_row_order_changes_no_point(self, name, make, tmp_path, monkeypatch):
        monkeypatch.setattr(figures, "DPI", 72)  # fewer dots show as much in less time
        tables = make(models=3, datasets=1, settings=PAIR)

        # Datasets and settings stand in the order of the rows: only models are shuffled.
        def by_model(frame, ascending):
            keys = [key for key in ("model", "steps") if key in frame]
            return frame.sort_values(keys, ascending=ascending, kind="stable") if keys else frame

        files = []
        for ascending in (True, False):
            shuffled = {table: by_model(frame, ascending) for table, frame in tables.items()}
            figure = draw(name, shuffled)
            files += save(figure, tmp_path / f"{name}-{ascending}", formats=["png"])
        assert files[0].read_bytes() == files[1].read_bytes()

    @pytest.mark.parametrize(
        ("models", "datasets", "settings"),
        [(1, 1, PAIR[::-1]), (70, 1, PAIR)],
    )
    def test_any_number_of_models(self, name, make, models, datasets, settings):
        figure = draw(name, make(models=models, datasets=datasets, settings=settings))
        assert_within_the_page(figure)
        assert any(axes.has_data() for axes in figure.axes)

    def test_many_datasets_long_names_and_none_is_mathematics(self, name, make):
        long = "vit_large_patch14_clip_quickgelu_224.openai_ft_in12k_in1k"
        names = {"model 0": long, "data 0": long * 2, "model 1": STRANGE, "data 1": STRANGE}
        tables = make(2, 5, PAIR, names)
        for frame in tables.values():
            if "family" in frame:
                frame["family"] = frame["family"].replace("family 1", STRANGE)
        figure = draw(name, tables)
        assert_within_the_page(figure)
        assert not any(text.get_parse_math() for text in texts(figure))

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
        assert any(axes.has_data() for axes in figure.axes)
        # What is unknown is not written as a number.
        assert not [text.get_text() for text in texts(figure) if "nan" in text.get_text().lower()]

    def test_says_what_is_missing(self, name, tables):
        with refused("figure.table_missing", found=[]):
            draw(name, {})
        with refused("figure.table_empty", figure=name):
            draw(name, {table: frame.iloc[:0] for table, frame in tables.items()})
        cut = {table: frame.assign(setting="s")[["setting"]] for table, frame in tables.items()}
        with refused("figure.column_missing") as error:
            draw(name, cut)
        assert "setting" not in error.value.values["missing"]


@pytest.mark.parametrize("name", ["correlation", "datasets", "heatmap", "settings"])
def test_letters_of_any_script_and_long_titles(name, make):
    """No warning (they are errors here), and titles keep clear of each other."""
    names = {
        "model 0": "\u6a21\u578b" * 20, "data 0": "\u6570\u636e\u96c6" * 12,
        "data 1": "W" * 50, "data 2": "a dataset with a name of many words " * 2,
    }  # fmt: skip
    setting = "linear (a protocol of which very many words tell what it does and whose it is) x"
    tables = make(2, 4, (setting, setting + "2", "finetune"), names)
    figure = draw(name, tables)
    assert_within_the_page(figure)
    titles = [
        text
        for axes in figure.axes
        for text in axes.get_children()
        if isinstance(text, Text) and text.get_text() and text.get_text() == axes.get_title("left")
    ]
    boxes = np.array([title.get_window_extent().extents for title in titles]).reshape(-1, 4)
    assert overlaps(boxes, boxes).sum() == len(boxes)


def test_unknown_figure():
    with refused("name.unknown", kind="figure", near=["correlation", "ablation"]):
        draw("corelation", {})


def test_available(tables, make):
    assert available(tables) == list(FIGURES)
    assert available({}) == []
    assert available({"cells": tables["cells"]}) == [
        "datasets", "settings", "finetune-vs-scratch", "heatmap",
    ]  # fmt: skip


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
        assert paths[0].read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in paths[1].read_bytes()[:1000]
        assert b"/Type3" not in paths[2].read_bytes()

    def test_png_has_200_dots_per_inch(self, drawn, tmp_path):
        figure = drawn("settings")
        with Image.open(save(figure, tmp_path / "f", formats=["png"])[0]) as image:
            assert image.size == tuple(int(200 * inches) for inches in figure.get_size_inches())

    def test_unknown_format(self, drawn, tmp_path):
        with refused("name.unknown", kind="figure format", name="jpg"):
            save(drawn("ranks"), tmp_path / "f", formats=["png", "jpg"])
        assert not list(tmp_path.iterdir())

    def test_an_interrupted_save_leaves_the_old_file(self, tables, tmp_path, monkeypatch):
        figure = draw("ranks", tables)
        (tmp_path / "f.svg").write_text("old")

        def fail(path, **options):
            path.write_text("half")
            raise KeyboardInterrupt

        monkeypatch.setattr(figure, "savefig", fail)
        with pytest.raises(KeyboardInterrupt):
            save(figure, tmp_path / "f", formats=["svg"])
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("f.svg", "old")]

    def test_a_folder_that_is_a_file(self, drawn, tmp_path):
        (tmp_path / "file").write_text("")
        with refused("storage.not_folder"):
            save(drawn("ranks"), tmp_path / "file" / "f")

    def test_same_bytes_in_another_process(self, tables, tmp_path):
        """Hash seeds differ between processes; files must not."""
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

    def test_the_users_matplotlibrc_changes_nothing(self, tables, tmp_path):
        before = save(draw("ranks", tables), tmp_path / "a", formats=["svg"])[0].read_bytes()
        with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "svg.fonttype": "none"}):
            after = save(draw("ranks", tables), tmp_path / "b", formats=["svg"])[0].read_bytes()
        assert before == after


def surroundings():
    return {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "HOME") if key in os.environ}
