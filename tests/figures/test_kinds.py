"""What is drawn in each figure: points where they belong, lines, numbers, names."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from scipy.special import expit, logit

from headstart.figures import draw
from headstart.figures.correlation_plots import labelled
from headstart.figures.point_labels import overlaps
from headstart.stats import steps_to_share
from refusals import refused


def lines_called(axes, label):
    """Coordinates (n, 2) of what was drawn under a label."""
    return np.vstack([line.get_xydata() for line in axes.lines if line.get_label() == label])


def words(axes):
    return [text.get_text() for text in axes.texts if text.get_text()]


def titled(figure):
    return [axes.get_title("left") for axes in figure.axes if axes.get_title("left")]


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def label_boxes(axes, names):
    texts = [text for text in axes.texts if text.get_text() in names]
    # A text's box, not with its arrow: what a reader sees of the name.
    return np.array([text.get_window_extent().extents for text in texts])


class TestCorrelation:
    def test_points_and_r(self, tables, drawn):
        figure = drawn("correlation")
        assert titled(figure) == ["Logistic regression", "Fine-tuned", "Random initialization"]
        means = tables["model_means"]
        own = means[(means["setting"] == "linear") & (means["family"] == "family 0")]
        expected = np.column_stack([logit(own["upstream_accuracy"]), own["mean"]])
        np.testing.assert_allclose(lines_called(figure.axes[0], "family 0"), expected)
        assert words(figure.axes[0])[0] == "r = 0.875 [0.775, 0.925]"
        assert set(words(figure.axes[0])[1:]) == set(means["model"])

    def test_rings_and_bars(self, tables, drawn):
        axes = drawn("correlation").axes[0]
        means = tables["model_means"].query("setting == 'linear'")
        near = means[means["not_different"]]
        np.testing.assert_allclose(np.sort(lines_called(axes, "ring")[:, 1]), np.sort(near["mean"]))
        (bars,) = (c for c in axes.collections if len(c.get_paths()) == len(means))
        ends = np.array([path.vertices[:, 1] for path in bars.get_paths()])
        np.testing.assert_allclose(ends, means[["low", "high"]])

    def test_panels_span_the_same_log_odds(self, drawn):
        spans = [np.ptp(axes.get_ylim()) for axes in drawn("correlation").axes[:3]]
        np.testing.assert_allclose(spans, spans[0])

    def test_bars_are_standard_errors_where_there_are_no_intervals(self, make):
        tables = make()
        tables["model_means"] = tables["model_means"].assign(low=np.nan, high=np.nan)
        note = draw("correlation", tables).texts[0].get_text()
        assert note.startswith("Error bars: one standard error after removing")

    @pytest.mark.parametrize(("models", "least"), [(16, 16), (66, 3), (70, 3)])
    def test_names_keep_clear_of_all_else(self, make, models, least):
        tables = make(models=models, datasets=1, settings=("linear",))
        axes = draw("correlation", tables).axes[0]
        means = tables["model_means"]
        names = list(means["model"])
        boxes, (r,) = label_boxes(axes, names), label_boxes(axes, ["r = 0.875 [0.775, 0.925]"])
        assert len(boxes) >= least
        assert overlaps(boxes, boxes).sum() == len(boxes)  # each with itself
        assert not overlaps(boxes, r[None]).any()
        points = np.column_stack([logit(means["upstream_accuracy"]), means["mean"]])
        places = axes.transData.transform(points)
        radius = 2.5 * axes.figure.dpi / 72
        marks = np.column_stack([places - radius, places + radius])
        assert not overlaps(boxes, marks).any()

    def test_names_of_many_models_keep_clear_of_error_bars(self, make):
        tables = make(models=66, datasets=1, settings=("linear",))
        axes = draw("correlation", tables).axes[0]
        means = tables["model_means"]
        x = logit(means["upstream_accuracy"])
        ends = [axes.transData.transform(np.column_stack([x, means[y]])) for y in ("low", "high")]
        assert not overlaps(label_boxes(axes, list(means["model"])), np.hstack(ends)).any()

    def test_of_many_models_only_some_are_named(self, make):
        tables = make(models=40, datasets=1, settings=("linear",))
        axes = draw("correlation", tables).axes[0]
        assert 1 < len(words(axes)) <= 13  # r, and at most 12 names

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
            assert ("Ringed" in figure.texts[-1].get_text() + figure.texts[0].get_text()) == tested
            lines = [line for axes in figure.axes for line in axes.lines]
            assert any(line.get_label() == "ring" for line in lines) == tested

    def test_correlations_that_round_to_one(self, make):
        tables = make(models=3, datasets=1, settings=("linear",))
        tables["correlations"] = tables["correlations"].assign(
            estimate=-0.9997, low=-0.9999, high=-0.998
        )
        (text,) = (text for text in words(draw("correlation", tables).axes[0]) if text[0] == "r")
        assert text == "r < \N{MINUS SIGN}0.999 [< \N{MINUS SIGN}0.999, \N{MINUS SIGN}0.998]"

    def test_far_ones_are_named_first(self):
        x, y = np.arange(50.0), np.arange(50.0)
        y[[20, 30]] += 5, -5
        assert {0, 49, 20, 30} <= set(labelled(x, y))
        assert len(labelled(x, y)) == 12
        assert len(labelled(x[:25], y[:25])) == 25


class TestDatasets:
    def test_one_panel_per_dataset_and_setting(self, tables, drawn):
        figure = drawn("datasets")
        assert titled(figure) == ["data 0", "data 1", "data 2"] * 3
        headings = [words(axes)[0] for axes in figure.axes if not axes.get_title("left")]
        assert headings == ["Logistic regression", "Fine-tuned", "Random initialization"]
        panel = next(axes for axes in figure.axes if axes.get_title("left") == "data 0")
        assert words(panel) == ["r = 0.875"]
        cells = tables["cells"].query("setting == 'linear' and dataset == 'data 0'")
        own = cells[cells["family"] == "family 1"]
        expected = np.column_stack([logit(own["upstream_accuracy"]), own["log_odds"]])
        np.testing.assert_allclose(lines_called(panel, "family 1"), expected)
        near = cells[cells["not_different"]]
        np.testing.assert_allclose(
            np.sort(lines_called(panel, "ring")[:, 1]), np.sort(near["log_odds"])
        )

    def test_no_rings_where_tests_are_unknown(self, tables):
        cells = tables["cells"].assign(not_different=None)
        figure = draw("datasets", {**tables, "cells": cells})
        assert "Ringed" not in figure.texts[0].get_text()


class TestSettings:
    def test_bars_are_means_of_log_odds(self, tables, drawn):
        axes = drawn("settings").axes[0]
        tops = [bar.get_y() + bar.get_height() for bar in axes.patches]
        means = tables["cells"].groupby(["dataset", "setting"])["log_odds"].mean()
        order = [(f"data {j}", s) for j in range(3) for s in ("linear", "finetune", "scratch")]
        np.testing.assert_allclose(tops, means.loc[order])
        points = lines_called(axes, "linear")[:, 1]
        own = tables["cells"].query("setting == 'linear'")["log_odds"]
        np.testing.assert_allclose(np.sort(points), np.sort(own))

    def test_references(self, tables):
        references = pd.DataFrame(
            {"dataset": ["data 1", "elsewhere"], "accuracy": [0.95, 0.5], "label": "record"}
        )
        figure = draw("settings", tables, references=references)
        lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
        assert [line.get_ydata()[0] for line in lines] == pytest.approx([logit(0.95)])
        assert "record" in [text.get_text() for text in figure.legends[0].get_texts()]

    def test_references_in_percent(self, tables):
        references = pd.DataFrame({"dataset": ["data 1"], "accuracy": [95.0], "label": "record"})
        with refused("figure.references_unit", value=95):
            draw("settings", tables, references=references)

    def test_references_without_label(self, tables):
        references = pd.DataFrame({"dataset": ["data 1"], "accuracy": [0.95]})
        with refused("figure.column_missing", missing=["label"]):
            draw("settings", tables, references=references)


class TestFinetuneVsScratch:
    def test_points(self, tables, drawn):
        axes = drawn("finetune-vs-scratch").axes[0]
        by = tables["cells"].query("dataset == 'data 2'").pivot(index="model", columns="setting")
        expected = by["log_odds"][["scratch", "finetune"]].to_numpy()
        np.testing.assert_allclose(lines_called(axes, "data 2"), expected)
        assert axes.get_xlim() == axes.get_ylim()
        assert axes.get_xlabel() == "Random initialization: accuracy (%)"

    def test_without_scratch(self, make):
        with refused("figure.settings_missing", found=["linear", "finetune"]):
            draw("finetune-vs-scratch", make(settings=("linear", "finetune")))

    def test_nothing_in_common(self, tables):
        cells = tables["cells"]
        own = np.where(cells["setting"] == "scratch", cells["model"] + "!", cells["model"])
        with refused("figure.nothing_shared"):
            draw("finetune-vs-scratch", {"cells": cells.assign(model=own)})


class TestAblation:
    def test_lines_and_names(self, drawn):
        figure = drawn("ablation")
        assert titled(figure)[-1] == "Upstream"
        points = figure.axes[0].containers[0].lines[0].get_xydata()
        np.testing.assert_allclose(points, [[p, 1 + 0.1 * p] for p in range(4)])
        upstream = figure.axes[-1].containers[0].lines[0].get_xydata()[:, 1]
        np.testing.assert_allclose(expit(upstream), [0.8, 0.79, 0.78, 0.77])
        assert labels(figure.axes[-1].xaxis)[2].replace("\n", " ") == "+dropout 2 -label smoothing"

    def test_without_upstream(self, tables):
        table = tables["ablation"].assign(upstream_accuracy=np.nan)
        assert "Upstream" not in titled(draw("ablation", {"ablation": table}))


class TestConvergence:
    def test_lines_and_steps(self, drawn):
        axes = drawn("convergence").axes[0]
        np.testing.assert_allclose(
            lines_called(axes, "Logistic regression")[:, 1], np.log([100, 1000, 10_000])
        )
        # The geometric means of 1,000 and 4,000 steps, and of their multiples.
        assert words(axes) == ["2,000", "4,000", "6,000"]

    def test_without_steps_reached_no_mark(self, tables):
        figure = draw("convergence", {"convergence": tables["convergence"]})
        assert words(figure.axes[0]) == []

    def test_no_dotted_line_runs_through_a_number(self, drawn):
        figure = drawn("convergence")
        axes = figure.axes[0]
        numbers = label_boxes(axes, words(axes))
        dotted = [part for part in axes.collections if isinstance(part, LineCollection)]
        ends = [axes.transData.transform(part.get_paths()[0].vertices) for part in dotted]
        boxes = np.array([np.r_[pair.min(axis=0), pair.max(axis=0)] for pair in ends])
        assert len(boxes) == 3
        assert len(numbers) == 3
        assert not overlaps(numbers, boxes).any()
        assert overlaps(numbers, numbers).sum() == 3

    def test_odds_are_reached_between_two_points(self):
        # Between 100 and 10,000 steps log odds rise from 0 to 1; 1 + log(0.9) is 89.46% of the way.
        steps = steps_to_share([100, 10_000], [0.0, 1.0])
        assert steps == pytest.approx(100 ** (1 + (1 + np.log(0.9))))

    def test_reached_at_once(self):
        assert steps_to_share([100, 1000], [1.0, 1.01]) == 100.0

    def test_a_later_dip_does_not_count(self):
        assert steps_to_share([1, 10, 100], [0.0, 2.0, 1.0], share=1.0) == pytest.approx(10)


class TestDatasetSize:
    def test_lines(self, drawn):
        figure = drawn("dataset-size")
        assert titled(figure) == ["data 0", "data 1", "data 2"]
        points = figure.axes[0].containers[0].lines[0].get_xydata()
        np.testing.assert_allclose(points, [[e, 0.4 * e - 2] for e in range(7)])
        assert labels(figure.axes[0].xaxis)[0] == "1"
        assert set(labels(figure.axes[0].xaxis)) <= {str(2**e) for e in range(7)}


class TestRanks:
    def test_best_at_the_top(self, tables, drawn):
        axes = drawn("ranks").axes[0]
        ranks = tables["ranks"].query("setting == 'linear'").sort_values("rank")
        assert labels(axes.yaxis) == list(ranks["model"])
        bottom, top = axes.get_ylim()
        assert bottom > top
        (bars,) = axes.collections
        ends = np.array([path.vertices[:, 0] for path in bars.get_paths()])
        np.testing.assert_allclose(ends, ranks[["low", "high"]])
        bold = [label.get_fontweight() == "bold" for label in axes.get_yticklabels()]
        assert bold == list(ranks["low"] <= 1)


class TestHeatmap:
    def test_cells(self, tables, drawn):
        axes = drawn("heatmap").axes[0]
        cells = tables["cells"].query("setting == 'linear'")
        table = cells.pivot(index="model", columns="dataset", values="residual")
        best = cells.groupby("model")["upstream_accuracy"].first().sort_values(ascending=False)
        np.testing.assert_allclose(axes.collections[0].get_array(), table.loc[best.index])
        assert labels(axes.yaxis) == list(best.index)
        low, high = axes.collections[0].get_clim()
        assert low == -high

    def test_missing_is_not_zero(self, tables):
        cells = tables["cells"].drop(index=0)
        axes = draw("heatmap", {"cells": cells}).axes[0]
        values = axes.collections[0].get_array()
        assert values.mask.sum() == 1
        assert len(words(axes)) == values.size - 1
        assert axes.patch.get_hatch()


class TestEmbedding:
    def test_points_numbers_and_one_panel_per_network(self, tables, drawn):
        figure = drawn("embedding")
        assert titled(figure) == [f"model {i}" for i in range(5)]
        points = tables["embedding"].query("position == 1 and `class` == 'class 2'")
        np.testing.assert_allclose(
            lines_called(figure.axes[1], "class 2"), points[["x", "y"]].to_numpy()
        )
        assert figure.axes[1].get_xlabel() == "silhouette 0.10, 5 neighbours 75.0%"

    def test_lengths_are_the_same_both_ways_and_all_points_inside(self, tables, drawn):
        networks = tables["embedding"].groupby("position")[["x", "y"]]
        for axes, (_, own) in zip(drawn("embedding").axes[:5], networks, strict=True):
            points = own.to_numpy()
            ends = np.array([axes.get_xlim(), axes.get_ylim()])
            np.testing.assert_allclose(np.ptp(ends[0]), np.ptp(ends[1]))
            assert (points > ends[:, 0]).all()
            assert (points < ends[:, 1]).all()

    def test_networks_stand_in_their_order_and_may_have_one_name(self, make):
        tables = make(models=2)
        tables["embedding"] = tables["embedding"].assign(model="the same")[::-1]
        assert titled(draw("embedding", tables)) == ["the same", "the same"]

    def test_numbers_may_be_missing(self, tables):
        figure = draw("embedding", {"embedding": tables["embedding"]})
        assert figure.axes[0].get_xlabel() == ""
