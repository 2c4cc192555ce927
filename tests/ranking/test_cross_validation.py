"""Levels, folds and the cross-validation of one network."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from conftest import write_folder
from headstart import datasets, models
from headstart.context import RunContext, default_cache
from headstart.ranking import cross_validation
from headstart.ranking.cross_validation import (
    FOLDS,
    LAMBDAS,
    REPEATS,
    CrossValidation,
    RankJob,
    check_classes,
    cross_validate,
    draw_folds,
    nested_order,
    rank_images,
)
from refusals import refused


def write_table(folder: Path, header: str, row: Callable[[str, int], str]) -> Path:
    """Write a table of the images in a folder: `row` gives what follows the path."""
    lines = [
        f"{path.relative_to(folder)},{row(path.parent.name, int(path.stem))}"
        for path in sorted(folder.glob("*/*.png"))
    ]
    table = folder / "table.csv"
    table.write_text("\n".join([header, *lines]) + "\n")
    return table


counts = st.lists(st.integers(2, 40), min_size=2, max_size=6)


def labels_of(sizes: list[int], seed: int = 0) -> np.ndarray:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(labels)


@given(sizes=counts, seed=st.integers(0, 99))
@settings(max_examples=40)
def test_every_beginning_of_the_order_has_the_classes_in_proportion(sizes, seed):
    labels = labels_of(sizes)
    order = nested_order(labels, np.arange(len(labels)), seed)
    assert sorted(order) == list(range(len(labels)))
    k = len(sizes)
    assert np.bincount(labels[order[: 2 * k]], minlength=k).tolist() == [2] * k
    for n in (len(labels) // 2, 3 * len(labels) // 4):
        if n >= 2 * k:
            found = np.bincount(labels[order[:n]], minlength=k)
            expected = np.array(sizes) * n / len(labels)
            assert (np.abs(found - expected) <= 2 + k).all()


@given(sizes=counts, seed=st.integers(0, 99))
@settings(max_examples=40)
def test_folds_are_stratified(sizes, seed):
    labels = labels_of(sizes)
    folds = draw_folds(labels, np.arange(len(labels)), seed)
    for label in range(len(sizes)):
        per_fold = np.bincount(folds[labels == label], minlength=FOLDS)
        assert per_fold.max() - per_fold.min() <= 1
    per_fold = np.bincount(folds, minlength=FOLDS)
    assert per_fold.max() - per_fold.min() <= 1


@given(seed=st.integers(0, 99))
@settings(max_examples=20)
def test_images_of_a_group_are_in_one_fold_and_follow_each_other(seed):
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(30), random.integers(1, 6, 30))
    labels = (np.arange(30) % 3)[groups]
    folds = draw_folds(labels, groups, seed)
    assert all(len(set(folds[groups == group])) == 1 for group in range(30))
    per_fold = np.bincount(folds, minlength=FOLDS)
    assert per_fold.min() > 0.4 * per_fold.mean()
    ordered = groups[nested_order(labels, groups, seed)]
    assert (np.diff(ordered) != 0).sum() == 29


def test_predictions_are_those_of_a_probe_that_never_saw_the_fold():
    """Against scikit-learn, fitted here fold by fold with the penalty that the others prefer."""
    random = np.random.default_rng(1)
    y = labels_of([40, 40, 40])
    X = (np.eye(3)[y] @ random.normal(size=(3, 6)) + random.normal(size=(120, 6))).astype("f4")
    folds = np.stack([draw_folds(y, np.arange(120), seed) for seed in (0, 1)])
    found, lam = cross_validate(X, y, folds, torch.device("cpu"))
    lambdas = [lam for lam in LAMBDAS if lam >= 1e-2]
    fold, right = folds[0], np.zeros((len(lambdas), 120), bool)
    for held in range(FOLDS):
        train = fold != held
        for place, lam in enumerate(lambdas):
            fit = LogisticRegression(C=1 / lam, max_iter=5000, tol=1e-8).fit(X[train], y[train])
            right[place, ~train] = fit.predict(X[~train]) == y[~train]
    expected = np.empty(120, bool)
    for held in range(FOLDS):
        best = int(right[:, fold != held].mean(axis=1).argmax())
        expected[fold == held] = right[best, fold == held]
    assert found.shape == (2, 120)
    assert lam in lambdas
    assert (found[0] != expected).sum() <= 2  # ties between penalties beyond those fitted here


def test_a_class_that_a_fold_lacks_in_training_is_predicted_wrong_there():
    y = np.array([0] * 20 + [1] * 20 + [2])
    X = np.eye(3, dtype=np.float32)[y] + 0.01
    folds = draw_folds(y, np.arange(41), 0)[None]
    right, _ = cross_validate(X, y, folds, torch.device("cpu"))
    assert right[0, :40].all()
    assert not right[0, 40]


def test_the_test_part_is_not_among_the_images_and_levels_double():
    digits = datasets.find("digits")
    images = rank_images(digits, 0, default_cache())
    splits = datasets.load(digits, 0, default_cache())
    test = set(splits.places[-len(splits.test) :].tolist())
    assert images.sizes == (45, 90, 180, 360, 719, 1438)
    assert len(images.folds(0)) == REPEATS
    nested = [set(images.rows(level).tolist()) for level in range(6)]
    assert all(small < large for small, large in pairwise(nested))
    request = images.request(digits, 5, "fp32")
    assert not test & set(request.rows.tolist())
    small = images.request(digits, 0, "fp32")
    assert set(small.rows.tolist()) < set(request.rows.tolist())
    for row in (0, 40):
        place = int(small.rows[row])
        same = int(np.flatnonzero(request.rows == place)[0])
        assert np.array_equal(small.images.decode(row), request.images.decode(same))


def test_groups_of_a_table_stay_together(tmp_path):
    folder = write_folder(tmp_path, {"all": {"dark": 60, "light": 60}}) / "all"
    table = write_table(folder, "path,label,patient", lambda name, i: f"{name},{name}{i // 4}")
    found = datasets.find(f"{table}?group=patient")
    images = rank_images(found, 0, tmp_path / "cache")
    for level in range(len(images.sizes)):
        rows = images.rows(level)
        for folds in images.folds(level):
            pairs = set(zip(images.groups[rows].tolist(), folds.tolist(), strict=True))
            assert len(pairs) == len(set(images.groups[rows].tolist()))
    assert len(set(images.groups.tolist())) < len(images.labels) / 3


def test_a_class_of_one_image_outside_the_test_part_is_refused(tmp_path):
    folder = write_folder(tmp_path, {"all": {"dark": 20, "light": 20, "rare": 1}})
    found = datasets.find(str(folder / "all"))
    with refused("ranking.class_small", classes=["rare"], folds=FOLDS):
        check_classes(found, rank_images(found, 0, tmp_path / "cache"))


def test_groups_and_images_that_decode_are_what_a_class_is_counted_by(tmp_path):
    """Nine images of a class: all of one patient; or some of them broken, at last all."""
    counts = {"dark": 30, "light": 30, "rare": 9}
    folder = write_folder(tmp_path, {"all": counts}) / "all"
    table = write_table(
        folder,
        "path,label,patient",
        lambda name, i: f"{name},{'r' if name == 'rare' else f'{name}{i}'}",
    )
    grouped = datasets.find(f"{table}?group=patient")
    with refused("ranking.class_small", classes=["rare"]):
        check_classes(grouped, rank_images(grouped, 0, tmp_path / "cache"))
    table.unlink()

    def notes(n_broken: int) -> list[str]:
        for i in range(n_broken):
            (folder / "rare" / f"{i}.png").write_bytes(b"broken")
        found = datasets.find(str(folder), skip_broken=True)
        return check_classes(found, rank_images(found, 0, tmp_path / "cache"))

    assert notes(0) == []
    (note,) = notes(5)
    assert note.endswith(": rare")
    with refused("ranking.class_small", classes=["rare"]):
        notes(9)


def test_several_labels_per_image_are_refused(tmp_path):
    folder = write_folder(tmp_path, {"all": {"dark": 10, "light": 10}}) / "all"
    table = write_table(folder, "path,cat,dog", lambda _, i: f"{i % 2},{int(i % 3 == 0)}")
    found = datasets.find(str(table))
    with refused("ranking.multilabel"):
        rank_images(found, 0, tmp_path / "cache")


def test_a_cross_validation_that_does_not_end_in_time_is_given_up(tmp_path):
    dataset = datasets.find("digits", limit=60)
    job = RankJob(models.find("efficientnet_lite0?size=32"), 0, np.inf, 0.0, 100, None)
    measure = CrossValidation(dataset, 0, RunContext(cache=tmp_path))
    found = measure(job)
    assert found.right is None
    # Nine tenths of the fits were not begun.
    assert found.needed > sum(found.seconds.values())
    found = measure(replace(job, limit=np.inf, cost=found.cost))
    assert found.right.shape == (REPEATS, 30)
    assert found.needed is None


def test_the_seed_draws_other_levels_and_folds():
    digits = datasets.find("digits")
    one, other = (rank_images(digits, seed, default_cache()) for seed in (0, 1))
    assert one.rows(0).tolist() != other.rows(0).tolist()
    assert cross_validation.derived_seed("order", 0) != cross_validation.derived_seed("order", 1)
