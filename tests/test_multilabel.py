"""Images of several classes each, from files on disk to the report's page."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

import headstart as hs
from conftest import MODEL
from headstart import datasets, features
from headstart.cli.progress import Display, LiveReporter
from headstart.context import RunContext, default_cache
from headstart.datasets.archives import VOC_CLASSES, facts_of
from headstart.metrics import voc_map_11point
from headstart.spec import Sizes
from refusals import ended

MODELS = (MODEL, "efficientnet_lite1?size=64")
# Over it weights are so small that a certified optimum leaves the order of scores open.
ORDERED = 1e4
N = {"train": 24, "val": 24, "test": 28}


def picture(levels) -> Image.Image:
    """Draw a patch for each class: bright where it is present, grey where it is difficult."""
    side = 64
    pixels = np.random.RandomState(len(levels)).randint(0, 60, (side, side, 3)).astype(np.uint8)
    for place, level in enumerate(levels):
        top, left = 12 * (place // 5), 12 * (place % 5)
        colour = np.random.RandomState(place).randint(120, 256, 3)
        pixels[top : top + 11, left : left + 11] = {1: colour, 0: colour // 2, -1: 0}[int(level)]
    return Image.fromarray(pixels)


def annotation(levels) -> str:
    """Write the objects of an image, of a class that is present sometimes a difficult one too."""
    objects = [
        f"<object><name>{name}</name><difficult>{int(level == 0)}</difficult></object>"
        for name, level in zip(VOC_CLASSES, levels, strict=True)
        if level >= 0
    ]
    if levels[0] == 1:
        objects.append("<object><name>aeroplane</name><difficult>1</difficult></object>")
    return f"<annotation>{''.join(objects)}</annotation>"


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """A small VOC tree that is what is published, and its labels by part: (n, 20)."""
    folder = tmp_path_factory.mktemp("voc")
    root = folder / "VOCdevkit" / "VOC2007"
    for name in ("ImageSets/Main", "JPEGImages", "Annotations"):
        (root / name).mkdir(parents=True)
    random, labels = np.random.RandomState(1), {}
    for number, (part, n) in enumerate(N.items()):
        labels[part] = random.choice([1, 0, -1], (n, 20), p=[0.3, 0.1, 0.6])
        names = [f"{number}{i:05d}" for i in range(n)]
        (root / "ImageSets/Main" / f"{part}.txt").write_text("\n".join(names) + "\n")
        for name, levels in zip(names, labels[part], strict=True):
            picture(levels).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
            (root / "Annotations" / f"{name}.xml").write_text(annotation(levels))
    sizes = Sizes(train=N["train"], validation=N["val"], test=N["test"])
    facts = facts_of("voc2007").model_copy(update={"sizes": sizes})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headstart.datasets.sources.study_datasets.facts_of", lambda key: facts)
        yield f"voc2007?root={folder}", labels


@pytest.fixture(scope="module")
def measured(voc, tmp_path_factory):
    """A store with two networks on the tree."""
    path = tmp_path_factory.mktemp("store") / "results.db"
    run = hs.Study(models=MODELS, datasets=(voc[0],)).run(path)
    assert run.measured == 2
    return path


def masked_regressions(x, y, lam) -> list:
    """scikit-learn's regression of each class, on the images where it is not difficult."""
    return [
        LogisticRegression(C=1 / lam, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(
            x[y[:, k] != 0], y[y[:, k] != 0, k]
        )
        for k in range(y.shape[1])
    ]


def independent_scores(x, y, others, lam) -> np.ndarray:
    """Decision values (n, K) on `others` of regressions fitted on x and y.

    The optimum lies in the span of the rows of x, so that the regressions need not have more
    columns than there are rows.
    """
    _, _, basis = np.linalg.svd(x, full_matrices=False)
    fitted = masked_regressions(x @ basis.T, y, lam)
    return np.column_stack([one.decision_function(others @ basis.T) for one in fitted])


def check_by_scikit_learn(result, store, labels) -> None:
    """Compare a result with regressions on the same features: labels of train, val, test."""
    trial = result.trial
    splits = datasets.load(trial.dataset, trial.seed, default_cache())
    request = features.FeatureRequest.of(trial.dataset, splits, trial.setting.resize, "fp32")
    values = features.penultimate_features(trial.model, request, RunContext()).values
    x = np.asarray(values, np.float64)
    first, second = len(labels[0]), len(labels[0]) + len(labels[1])
    curve = [fit for fit in result.selection.validation_curve if fit["lambda"] < ORDERED]
    for fit in curve[::7]:
        scores = independent_scores(x[:first], labels[0], x[first:second], fit["lambda"])
        assert fit["accuracy"] == pytest.approx(voc_map_11point(scores, labels[1]), abs=0.01)
    curve = {fit["lambda"]: fit["accuracy"] for fit in result.selection.validation_curve}
    chosen = result.selection.chosen["lambda"]
    assert chosen == max(lam for lam, score in curve.items() if score == max(curve.values()))
    both = np.concatenate(labels[:2])
    scores = independent_scores(x[:second], both, x[second:], chosen)
    stored = store.predictions(trial.key)
    np.testing.assert_array_equal(stored.label, labels[2])
    assert (stored.label.dtype, stored.scores.dtype) == (np.int64, np.float32)
    np.testing.assert_allclose(stored.scores, scores, rtol=0.01, atol=0.01 * np.abs(scores).max())
    # The metric that is named is the one that was computed.
    assert result.metrics["voc-map-11point"] == voc_map_11point(stored.scores, labels[2])
    assert result.accuracy == pytest.approx(voc_map_11point(scores, labels[2]), abs=0.005)


def test_numbers_are_scikit_learns_without_what_is_difficult(voc, measured):
    store, labels = hs.ResultStore(measured), list(voc[1].values())
    assert all((part == 0).any() for part in labels)
    results = store.results()
    assert [result.trial.model.name for result in results] == list(MODELS)
    for result in results:
        assert result.trial.dataset.metric == "voc-map-11point"
        assert result.trial.dataset.name == "voc2007"
        check_by_scikit_learn(result, store, labels)
    # They learned something: labels turned upside down do not.
    assert results[0].accuracy > 0.1 + voc_map_11point(
        -store.predictions(results[0].trial.key).scores, labels[2]
    )


def test_difficult_objects_change_the_fit(voc, measured):
    """Taken for absent ones, as some tools do, they give other numbers: the check can fail."""
    store, labels = hs.ResultStore(measured), list(voc[1].values())
    counted = [np.where(part == 0, -1, part) for part in labels[:2]]
    with pytest.raises(AssertionError):
        check_by_scikit_learn(store.results()[0], store, [*counted, labels[2]])


def test_models_are_compared_by_swapping_images(measured):
    analysis = hs.analyze(measured, resamples=1000)
    store = hs.ResultStore(measured)
    of = {r.trial.model.name: store.predictions(r.trial.key) for r in store.results()}
    (row,) = analysis.pairwise.query("dataset == 'voc2007'").to_dict("records")
    assert (row["test"], row["n"]) == ("permutation", N["test"])
    # The better one comes first.
    assert {row["model"], row["other"]} == set(MODELS)
    assert row["difference"] >= 0
    first, second = of[row["model"]], of[row["other"]]
    labels = first.label
    maps = [voc_map_11point(one.scores, labels) for one in (first, second)]
    assert row["difference"] == pytest.approx(maps[0] - maps[1])
    # The plain permutation: ranks, as two networks' scores have different scales.
    ranks = [rankdata(one.scores, axis=0) for one in (first, second)]
    random, drawn = np.random.default_rng(1), []
    for _ in range(400):
        swap = random.integers(0, 2, (N["test"], 1)).astype(bool)
        swapped = np.where(swap, ranks[1], ranks[0]), np.where(swap, ranks[0], ranks[1])
        drawn.append(np.subtract(*(voc_map_11point(one, labels) for one in swapped)))
    p = np.mean(np.abs(drawn) >= abs(row["difference"]) - 1e-12)
    assert row["p_value"] == pytest.approx(p, abs=4 * np.sqrt(0.25 / 400))
    cells = analysis.cells.set_index("model")
    assert cells.metric.tolist() == ["voc-map-11point"] * 2
    assert cells.best.sum() == 1
    other = cells[~cells.best].iloc[0]
    assert other.not_different == (row["p_value"] > 0.05)


def test_results_csv_json_and_page(cli, voc, measured, tmp_path):
    expected = [result.accuracy for result in hs.ResultStore(measured).results()]
    arguments = ("run", "--models", ",".join(MODELS), "--datasets", voc[0], "--store", measured)
    again = cli(*arguments)
    assert "0 measured, 2 already stored, 0 failed" in again.out
    assert "metric voc-map-11point" in again.out
    screen = cli("results", "--store", measured).out
    assert all(f"{100 * accuracy:.2f}" in screen for accuracy in expected)
    rows = list(csv.DictReader(io.StringIO(cli("results", "--store", measured, "--csv").out)))
    assert [float(row["accuracy"]) for row in rows] == expected
    assert {(row["metric"], row["n_test"]) for row in rows} == {("voc-map-11point", str(N["test"]))}
    records = json.loads(cli("results", "--store", measured, "--json").out)
    assert [record["accuracy"] for record in records] == expected
    page, cells = tmp_path / "page.html", tmp_path / "cells.csv"
    outcome = cli("report", measured, "--out", page, "--csv", cells, "--resamples", "200")
    assert outcome.code == 0, outcome.err
    text = page.read_text()
    assert "voc2007" in text
    assert "voc-map-11point" in text
    with cells.open() as file:
        written = {
            row["model"]: float(row["value"])
            for row in csv.DictReader(file)
            if row["row"] == "cell"
        }
    assert written == pytest.approx(dict(zip(MODELS, expected, strict=True)))


def test_a_limit_draws_images_of_all_classes(cli, voc, tmp_path):
    arguments = ("run", "--models", MODEL, "--datasets", voc[0], "--store", tmp_path / "r.db")
    outcome = cli(*arguments, "--limit", "25")
    assert outcome.code == 0, outcome.err
    (result,) = hs.ResultStore(tmp_path / "r.db").results()
    predictions = hs.ResultStore(tmp_path / "r.db").predictions(result.trial.key)
    assert predictions.label.shape == predictions.scores.shape == (25, 20)
    np.testing.assert_array_equal(predictions.label, voc[1]["test"][predictions.example])
    few = cli(*arguments, "--limit", "1")
    ended(few, "dataset.limit", found=1)


@pytest.mark.parametrize(("name", "code", "values"), [
    ("{voc}&metric=top-1", "dataset.metric", {"metric": "top-1", "ndim": 2}),
    ("{voc}&metric=mean-per-class", "dataset.metric", {"metric": "mean-per-class"}),
    ("digits?metric=voc-map-11point", "dataset.metric", {"ndim": 1}),
    ("{voc}&metric=mAP", "dataset.option_invalid", {"option": "metric", "found": "mAP"}),
])  # fmt: skip
def test_a_metric_that_does_not_fit_the_labels_is_refused(name, code, values, voc, cli, tmp_path):
    named = name.format(voc=voc[0])
    outcome = cli("run", "--models", MODEL, "--datasets", named, "--store", tmp_path / "r.db")
    ended(outcome, code, **values)
    assert not (tmp_path / "r.db").exists()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of images of up to four classes each, and what is in it by file."""
    folder = tmp_path_factory.mktemp("table")
    levels = np.random.RandomState(2).choice([1, -1], (50, 4), p=[0.4, 0.6])
    names = np.array(["ant", "bee", "cat", "dog"])
    lines, labels = ["path,labels"], {}
    for row, shown in enumerate(levels):
        picture(np.repeat(shown, 5)).save(folder / f"{row}.png")
        lines.append(f"{row}.png,{'|'.join(names[shown == 1])}")
        labels[str(folder / f"{row}.png")] = shown
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return f"{folder}/labels.csv?sep=|", labels


def test_a_table_of_several_labels_is_measured_in_the_same_way(table, tmp_path, monkeypatch):
    name, labels = table
    screen, stages = io.StringIO(), []

    # Which stages are drawn depends on the clock; which are reported does not.
    stage = Display.stage

    def recording(display, name, total=None, unit=""):
        stages.append(f"{name} ({unit})")
        stage(display, name, total, unit)

    monkeypatch.setattr(Display, "stage", recording)
    console = Console(file=screen, force_terminal=True, width=200, markup=False, highlight=False)
    with LiveReporter(console) as reporter:
        run = hs.Study(models=(MODEL,), datasets=(name,)).run(tmp_path / "r.db", reporter=reporter)
    assert run.measured == 1
    shown = screen.getvalue()
    assert "drawn: 60 % train, 20 % validation, 20 % test" in shown
    assert "selecting lambda (lambdas)" in stages
    (result,) = run.results
    splits = datasets.load(result.trial.dataset, 0, default_cache())
    parts = (splits.train.images, splits.validation.images, splits.test.images)
    expected = [np.array([labels[i.where(row)] for row in range(len(i))]) for i in parts]
    assert sum(map(len, expected)) == len(labels)
    # A class that many images show is divided before the images are.
    np.testing.assert_allclose([len(part) for part in expected], [30, 10, 10], atol=4)
    check_by_scikit_learn(result, hs.ResultStore(tmp_path / "r.db"), expected)
