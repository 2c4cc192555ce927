"""What is drawn in each figure: points where they belong, axes, numbers, names."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from figures.drawings import axis_labels, groups, panel_svg, symbols, texts, titles
from headstart.figures import draw
from headstart.figures.figure_data import FigureData
from headstart.figures.figure_text import overlaps, text_width
from headstart.figures.scatter_charts import labelled
from headstart.stats import steps_to_share
from refusals import refused


def layers(figure, index=0):
    """The layers of a panel, nested ones among them."""
    found = [figure.printed.specs[index]]
    for spec in found:
        found += spec.get("layer", [])
    return [spec for spec in found if "mark" in spec]


def domain(figure, channel, index=0):
    """The ends of a panel's axis."""
    scales = (layer["encoding"].get(channel, {}).get("scale") for layer in layers(figure, index))
    return next(scale["domain"] for scale in scales if scale and "domain" in scale)


def coordinates(figure, index=0, layer=-1):
    """(n, 2): the symbols of a layer in the coordinates of the axes, sorted."""
    _, _, width, height = figure.printed.plots[index]
    (left, right), (low, high) = domain(figure, "x", index), domain(figure, "y", index)
    x, y = symbols(figure, index, layer).T
    found = np.column_stack([left + x / width * (right - left), high - y / height * (high - low)])
    return found[np.lexsort(found.T[::-1])]


def in_order(points):
    points = np.asarray(points, dtype=float)
    return points[np.lexsort(points.T[::-1])]


def label_boxes(figure, index=0):
    """(n, 4): where names stand, in pixels from the top left corner."""
    found = groups(figure, index, "text")
    names = [name for group in found for name in texts(group)]
    transforms = [mark.get("transform") for group in found for mark in group]
    middles = np.array([[float(n) for n in one[10:-1].split(",")] for one in transforms])
    half = np.array([[text_width(name) / 2, 6.0] for name in names])
    return np.hstack([middles - half, middles + half]), names


def notes(figure, index=0):
    """The numbers above a panel."""
    return [note.text for note in figure.panels[index].notes]


class TestCorrelation:
    def test_points_and_r(self, tables, drawn):
        figure = drawn("correlation")
        assert titles(figure) == ["Logistic regression", "Fine-tuned", "Random initialization"]
        own = tables["model_means"].query("setting == 'linear'")
        expected = np.column_stack([logit(own["upstream_accuracy"]), own["mean"]])
        np.testing.assert_allclose(coordinates(figure, layer=1), in_order(expected), atol=1e-3)
        assert notes(figure) == ["r = 0.875 (95 % interval 0.775 to 0.925)"]
        assert set(label_boxes(figure)[1]) == set(own["model"])

    def test_rings_and_bars(self, tables, drawn):
        figure = drawn("correlation")
        own = tables["model_means"].query("setting == 'linear'")
        near = own[own["not_different"]]
        np.testing.assert_allclose(
            coordinates(figure, layer=0)[:, 1], np.sort(near["mean"]), atol=1e-3
        )
        data = FigureData(tables).means.query("setting == 'linear'")
        np.testing.assert_allclose(
            np.sort(data[["mean_low", "mean_high"]], axis=0), np.sort(own[["low", "high"]], axis=0)
        )
        assert "not significantly different from the best" in [e.style.label for e in figure.legend]

    def test_panels_span_the_same_log_odds_and_have_all_points(self, tables, drawn):
        ends = [domain(drawn("correlation"), "y", index) for index in range(3)]
        np.testing.assert_allclose(np.ptp(ends, axis=1), np.ptp(ends[0]))
        for (_, own), (low, high) in zip(
            tables["model_means"].groupby("setting", sort=False), ends, strict=True
        ):
            assert low < own["low"].min()
            assert own["high"].max() < high

    def test_percent_stands_on_the_right(self, drawn):
        labels = axis_labels(drawn("correlation"), 0, -1)
        assert labels[0].endswith("%")
        percents = np.array([float(label[:-1]) for label in labels]) / 100
        low, high = domain(drawn("correlation"), "y")
        assert ((logit(percents) >= low) & (logit(percents) <= high)).all()

    def test_bars_are_standard_errors_where_there_are_no_intervals(self, make):
        tables = make()
        tables["model_means"] = tables["model_means"].assign(low=np.nan, high=np.nan)
        figure = draw("correlation", tables)
        assert "one standard error" in figure.caption
        means = FigureData(tables).means
        np.testing.assert_allclose(means["mean_high"] - means["mean"], 0.03)

    def test_the_caption_names_what_is_drawn_only(self, make):
        tables = make()
        assert "Morey" in draw("correlation", tables).caption.split("Line: ")[0]
        tables["model_means"] = tables["model_means"].assign(
            low=np.nan, high=np.nan, se=np.nan, not_different=None
        )
        bare = draw("correlation", {**tables, "lines": tables["lines"].iloc[:0]})
        for figure in (bare, bare.page()):
            for word in ("Morey", "rror bars", "band", "Rings"):
                assert word not in figure.caption

    @pytest.mark.parametrize(("models", "least"), [(16, 16), (66, 3)])
    def test_names_keep_clear_of_each_other_and_of_marks(self, make, models, least):
        figure = draw("correlation", make(models=models, datasets=1, settings=("linear",)))
        boxes, names = label_boxes(figure)
        assert least <= len(names) <= (models if models <= 25 else 12)
        assert overlaps(boxes, boxes).sum() == len(boxes)  # each with itself
        places = symbols(figure, 0, -1)
        assert not overlaps(boxes, np.column_stack([places - 4, places + 4])).any()
        _, _, width, height = figure.printed.plots[0]
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= [width, height]).all()

    @pytest.mark.parametrize("tested", [True, False])
    def test_rings_only_where_others_than_the_best_were_tested(self, make, tested):
        tables = make(models=2, datasets=1, settings=("linear",))
        means = tables["model_means"]
        others = False if tested else None
        same = pd.Series([True if best else others for best in means["best"]], dtype=object)
        tables["model_means"] = means.assign(not_different=same)
        tables["cells"] = tables["cells"].assign(not_different=same)
        for name in ("correlation", "datasets"):
            figure = draw(name, tables)
            assert ("Rings" in figure.caption) == tested
            assert any(entry.mark == "ring" for entry in figure.legend) == tested

    def test_correlations_that_round_to_one(self, make):
        tables = make(models=3, datasets=1, settings=("linear",))
        tables["correlations"] = tables["correlations"].assign(
            estimate=-0.9997, low=-0.9999, high=-0.998
        )
        minus = "\N{MINUS SIGN}"
        (note,) = notes(draw("correlation", tables))
        assert note == f"r < {minus}0.999 (95 % interval < {minus}0.999 to {minus}0.998)"

    def test_far_ones_are_named_first(self):
        x, y = np.arange(50.0), np.arange(50.0)
        y[[20, 30]] += 5, -5
        assert {0, 49, 20, 30} <= set(labelled(x, y))
        assert len(labelled(x, y)) == 12
        assert len(labelled(x[:25], y[:25])) == 25


class TestDatasets:
    def test_one_panel_per_dataset_with_r_in_each_setting(self, tables, drawn):
        figure = drawn("datasets")
        assert titles(figure) == ["data 0", "data 1", "data 2"]
        assert notes(figure) == 3 * ["r = 0.875"]
        of = [note.setting for note in figure.panels[0].notes]
        assert of == [entry.setting for entry in figure.legend if entry.setting]
        assert [note.colour for note in figure.panels[0].notes] == [
            entry.style.colour for entry in figure.legend if entry.setting
        ]
        own = tables["cells"].query("dataset == 'data 1'")
        expected = np.column_stack([logit(own["upstream_accuracy"]), own["log_odds"]])
        np.testing.assert_allclose(coordinates(figure, 1), in_order(expected), atol=2e-3)
        near = own[own["not_different"]]
        assert len(symbols(figure, 1, 0)) == len(near)

    def test_ticks_are_the_percents_of_their_places(self, drawn):
        for orient in (0, 1):
            labels = axis_labels(drawn("datasets"), 0, orient)
            values = [layer["encoding"]["xy"[orient]] for layer in layers(drawn("datasets"))]
            ticks = next(v["axis"]["values"] for v in values if "values" in v.get("axis", {}))
            np.testing.assert_allclose(
                [float(label[:-1]) for label in labels], 100 * expit(ticks), atol=1e-3
            )

    @pytest.mark.parametrize(
        ("test", "word"), [("mcnemar", "the test images"), ("independent", "test-set sizes")]
    )
    def test_rings_name_their_test(self, tables, test, word):
        caption = draw("datasets", {"cells": tables["cells"].assign(test=test)}).caption
        assert f"{word}, p > 0.05" in caption

    def test_three_ticks_whatever_setting_is_hidden(self, tables, drawn):
        for spec in drawn("datasets").page().specs():
            (values,) = {
                layer["encoding"]["y"]["axis"]["values"]["expr"]
                for layer in spec["layer"]
                if "values" in layer["encoding"]["y"].get("axis", {})
            }
            sets = json.loads(values[: values.index("]]") + 2])
            assert len(sets) == 2**3
            assert min(map(len, sets)) >= 3


class TestModels:
    def test_best_of_the_first_setting_at_the_top(self, tables, drawn):
        own = tables["model_means"].query("setting == 'linear'").sort_values("mean")[::-1]
        assert axis_labels(drawn("models"), 0, 1) == list(own["model"])
        assert len(symbols(drawn("models"))) == len(tables["model_means"])

    def test_one_dataset_with_its_own_intervals(self, make):
        tables = make(datasets=1, settings=("linear",))
        cells = tables["cells"]
        tables["cells"] = cells.assign(low=cells["accuracy"] - 0.02, high=cells["accuracy"] + 0.02)
        tables["model_means"] = tables["model_means"].assign(
            low=np.nan, high=np.nan, se=np.nan, error_bars=None
        )
        figure = draw("models", tables)
        assert "no intervals" not in figure.caption
        assert all(re.fullmatch("\\d+\u00a0%", label) for label in axis_labels(figure, 0, 0))
        found = FigureData(tables).means.set_index("model").loc[cells["model"]]
        np.testing.assert_allclose(expit(found["mean_low"]), cells["accuracy"] - 0.02)
        np.testing.assert_allclose(expit(found["mean_high"]), cells["accuracy"] + 0.02)


class TestSettings:
    def test_bars_are_means_of_log_odds(self, tables, drawn):
        figure = drawn("settings")
        (left, right), width = domain(figure, "x"), figure.printed.plots[0][2]
        (ticks,) = groups(figure, 0, "rect")
        pixels = [float(mark.get("d").split("M")[1].split(",")[0]) + 1.25 for mark in ticks]
        means = tables["cells"].groupby(["dataset", "setting"])["log_odds"].mean()
        found = np.sort(left + np.array(pixels) / width * (right - left))
        np.testing.assert_allclose(found, np.sort(means), atol=5e-3)
        assert axis_labels(figure, 0, 1) == ["data 0", "data 1", "data 2"]

    def test_of_many_models_their_range(self, make):
        figure = draw("settings", make(models=40, datasets=2))
        assert all(label.endswith("%") for label in axis_labels(figure, 0, 0))
        for axis in (layer["encoding"]["x"]["axis"] for layer in figure.page().specs()[0]["layer"]):
            assert axis["title"] == "Accuracy (logit scale)"
            assert axis["labelExpr"].endswith("'\u00a0%'")
        assert "middle half" in figure.caption
        assert not groups(figure, 0, "symbol")

    def test_references(self, tables):
        references = pd.DataFrame(
            {"dataset": ["data 1", "elsewhere"], "accuracy": [0.95, 0.5], "label": "record"}
        )
        figure = draw("settings", tables, references=references)
        (left, right), width = domain(figure, "x"), figure.printed.plots[0][2]
        (rule,) = (mark for group in groups(figure, 0, "rule") for mark in group)
        x = float(rule.get("transform")[10:].split(",")[0])
        assert left + x / width * (right - left) == pytest.approx(logit(0.95), abs=0.01)
        assert figure.legend[-1].style.label == "record"
        assert len(figure.page().specs()) == 1

    @pytest.mark.parametrize(("column", "code", "values"), [
        ({"accuracy": [95.0], "label": "record"}, "figure.references_unit", {"value": 95}),
        ({"accuracy": [0.95]}, "figure.column_missing", {"missing": ["label"]}),
    ])  # fmt: skip
    def test_unusable_references(self, tables, column, code, values):
        with refused(code, **values):
            draw("settings", tables, references=pd.DataFrame({"dataset": ["data 1"], **column}))


class TestFinetuneVsScratch:
    def test_points_on_equal_axes(self, tables, drawn):
        figure = drawn("finetune-vs-scratch")
        by = tables["cells"].pivot(index=["model", "dataset"], columns="setting", values="log_odds")
        expected = by[["scratch", "finetune"]].to_numpy()
        np.testing.assert_allclose(coordinates(figure), in_order(expected), atol=2e-3)
        assert domain(figure, "x") == domain(figure, "y")
        _, _, width, height = figure.printed.plots[0]
        assert width == height

    def test_more_than_eight_datasets_share_the_last_style(self, make):
        figure = draw("finetune-vs-scratch", make(2, 12))
        labels = [entry.style.label for entry in figure.legend]
        assert len(labels) == 8
        assert labels[-1] == "5 other datasets"

    def test_without_scratch(self, make):
        with refused("figure.settings_missing", found=["linear", "finetune"]):
            draw("finetune-vs-scratch", make(settings=("linear", "finetune")))

    def test_nothing_in_common(self, tables):
        cells = tables["cells"]
        own = np.where(cells["setting"] == "scratch", cells["model"] + "!", cells["model"])
        with refused("figure.nothing_shared"):
            draw("finetune-vs-scratch", {"cells": cells.assign(model=own)})


class TestAblation:
    def test_a_row_per_configuration_and_the_predictor_beside(self, drawn):
        figure = drawn("ablation")
        assert titles(figure)[-1] == "Upstream"
        assert axis_labels(figure, 0, 1)[2] == "+dropout 2 -labelsmoothing"
        (left, right), width = domain(figure, "x", 3), figure.printed.plots[3][2]
        upstream = left + np.unique(symbols(figure, 3)[:, 0]) / width * (right - left)
        np.testing.assert_allclose(expit(upstream), [0.77, 0.78, 0.79, 0.8], atol=1e-3)

    def test_a_page_has_short_names_where_they_differ_and_the_rest_in_the_caption(self, tables):
        table = tables["ablation"]
        named = table.assign(configuration="S" + table["configuration"].str[9:11].str.strip()
                             + ": " + table["configuration"])  # fmt: skip
        figure = draw("ablation", {"ablation": named})
        assert list(figure.page().panels[0].y_labels) == ["S0", "S1", "S2", "S3"]
        assert "S1: +dropout 1 -label smoothing; S2: " in figure.page().caption
        assert "S1: " not in figure.caption
        assert axis_labels(figure, 0, 1)[2] == "S2: +dropout 2 -labelsmoothing"
        same = table.assign(configuration="S: " + table["configuration"])
        assert draw("ablation", {"ablation": same}).page().panels[0].y_labels[1].count("\n") == 1

    def test_the_page_has_enough_percents_of_upstream_accuracy(self, tables):
        wide = {0: 0.725, 1: 0.77, 2: 0.79, 3: 0.815}
        table = tables["ablation"].assign(upstream_accuracy=lambda own: own["position"].map(wide))
        *_, upstream = draw("ablation", {"ablation": table}).specs()
        ticks = upstream["layer"][0]["encoding"]["x"]["axis"]["values"]
        np.testing.assert_allclose(expit(ticks), np.arange(0.72, 0.83, 0.02), atol=1e-4)

    def test_without_upstream(self, tables):
        table = tables["ablation"].assign(upstream_accuracy=np.nan)
        assert "Upstream" not in titles(draw("ablation", {"ablation": table}))


class TestConvergence:
    def test_steps_reached_are_geometric_means(self, drawn):
        figure = drawn("convergence")
        # The geometric means of 1,000 and 4,000 steps, and of their multiples.
        assert notes(figure) == ["2,000 steps", "4,000 steps", "6,000 steps"]
        assert axis_labels(figure, 0, 0) == ["100", "1,000", "10,000"]
        assert len(symbols(figure)) == 9

    def test_without_steps_reached_no_mark(self, tables):
        figure = draw("convergence", {"convergence": tables["convergence"]})
        assert notes(figure) == []
        assert "Dotted" not in figure.caption

    def test_odds_are_reached_between_two_points(self):
        # Between 100 and 10,000 steps log odds rise from 0 to 1; 1 + log(0.9) is 89.46% of the way.
        steps = steps_to_share([100, 10_000], [0.0, 1.0])
        assert steps == pytest.approx(100 ** (1 + (1 + np.log(0.9))))

    def test_reached_at_once(self):
        assert steps_to_share([100, 1000], [1.0, 1.01]) == 100.0

    def test_a_later_dip_does_not_count(self):
        assert steps_to_share([1, 10, 100], [0.0, 2.0, 1.0], share=1.0) == pytest.approx(10)


def test_sizes_are_doublings(drawn):
    figure = drawn("dataset-size")
    assert titles(figure) == ["data 0", "data 1", "data 2"]
    assert set(axis_labels(figure, 0, 0)) <= {str(2**e) for e in range(7)}
    steps = np.diff(np.unique(symbols(figure)[:, 0].round(3)))
    np.testing.assert_allclose(steps, steps[0], atol=0.01)


class TestRanks:
    def test_best_at_the_top(self, tables, drawn):
        ranks = tables["ranks"].query("setting == 'linear'").sort_values("rank")
        assert axis_labels(drawn("ranks"), 0, 1) == list(ranks["model"])
        (points,) = groups(drawn("ranks"), 0, "symbol")
        filled = sum(mark.get("fill") != "#ffffff" for mark in points)
        assert filled == (ranks["low"] <= 1).sum()

    def test_forty_rows_and_a_caption_that_says_so(self, make):
        tables = make(models=50, datasets=1, settings=("linear",))
        for name in ("ranks", "models", "heatmap"):
            figure = draw(name, tables)
            assert len(axis_labels(figure, 0, 1)) == 40
            assert "The 10 lowest of 50 models are not shown." in figure.full_caption
            assert figure.page().specs()[0]["usermeta"]["height"] == pytest.approx(
                figure.panels[0].height * 50 / 40
            )

    @pytest.mark.parametrize("models", [5, 16, 39])
    def test_ticks_have_one_step(self, make, models):
        figure = draw("ranks", make(models=models, datasets=1))
        labels = [int(label) for label in axis_labels(figure, 0, 0)]
        assert len(labels) > 1
        # The first is 1, the others are round.
        assert labels[0] == 1
        assert len(set(np.diff(labels[1:]))) <= 1

    def test_labels_leave_out_what_all_names_begin_and_end_with(self, make):
        made = make(names={f"model {i}": f"timm/vit_{i}.in1k" for i in range(5)})
        tables = {name: made[name] for name in ("cells", "model_means", "ranks")}
        for name in ("ranks", "models"):
            figure = draw(name, tables)
            labels = axis_labels(figure, 0, 1)
            assert sorted(labels) == ["0", "1", "2", "3", "4"]
            assert "begin with timm/vit_ and end with .in1k." in figure.full_caption


class TestHeatmap:
    def test_numbers_of_the_cells(self, tables, drawn):
        cells = tables["cells"].query("setting == 'linear'")
        (numbers,) = groups(drawn("heatmap"), 0, "text")
        expected = [f"{r:+.2f}".replace("-", "\N{MINUS SIGN}") for r in cells["residual"]]
        assert sorted(texts(numbers)) == sorted(expected)
        limits = layers(drawn("heatmap"))[0]["encoding"]["color"]["scale"]["domain"]
        assert [-limit for limit in reversed(limits)] == limits

    def test_missing_is_not_zero(self, tables):
        figure = draw("heatmap", {"cells": tables["cells"].drop(index=0)})
        assert texts(panel_svg(figure)).count("\N{MULTIPLICATION SIGN}") == 1


class TestEmbedding:
    def test_points_numbers_and_one_panel_per_network(self, tables, drawn):
        figure = drawn("embedding")
        assert titles(figure) == [f"model {i}" for i in range(5)]
        points = tables["embedding"].query("position == 1")[["x", "y"]]
        np.testing.assert_allclose(coordinates(figure, 1), in_order(points), atol=2e-3)
        assert notes(figure, 1) == ["silhouette 0.10, 5 neighbours 75.0 %"]
        spans = [np.ptp(domain(figure, channel)) for channel in "xy"]
        assert spans[0] == pytest.approx(spans[1])

    def test_networks_stand_in_their_order_and_may_have_one_name(self, make):
        tables = make(models=2)
        tables["embedding"] = tables["embedding"].assign(model="the same")[::-1]
        assert titles(draw("embedding", tables)) == ["the same", "the same"]

    def test_numbers_may_be_missing(self, tables):
        assert notes(draw("embedding", {"embedding": tables["embedding"]})) == []
