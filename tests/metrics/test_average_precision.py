import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.metrics import voc_map_11point


def development_kit(scores, labels):
    """Average precision by the development kit's loop (VOCevalcls), one class at a time."""
    precisions = []
    for k in range(labels.shape[1]):
        order = sorted(range(len(labels)), key=lambda i: -scores[i, k])
        true_positives = false_positives = 0
        precision, found = [], []
        for i in order:
            true_positives += labels[i, k] > 0
            false_positives += labels[i, k] < 0
            if labels[i, k] != 0:
                precision.append(true_positives / (true_positives + false_positives))
                found.append(true_positives)
        n = int((labels[:, k] > 0).sum())
        if n:
            # recall >= step / 10, in whole numbers
            steps = [
                max(
                    (p for p, f in zip(precision, found, strict=True) if 10 * f >= step * n),
                    default=0.0,
                )
                for step in range(11)
            ]
            precisions.append(sum(steps) / 11)
    return np.mean(precisions)


@given(st.integers(0, 10_000), st.integers(1, 40), st.booleans())
def test_it_is_the_development_kits(seed, n, ties):
    random = np.random.default_rng(seed)
    labels = random.choice([-1, 0, 1], size=(n, 3))
    labels[0] = 1
    scores = random.normal(size=(n, 3))
    if ties:
        scores = np.round(scores)
    assert voc_map_11point(scores, labels) == pytest.approx(development_kit(scores, labels))


def test_a_perfect_order_is_one():
    labels = np.array([[1, -1], [-1, 1], [0, -1]])
    assert voc_map_11point(labels, labels) == 1.0


def test_wrong_shapes_and_labels_are_refused():
    with pytest.raises(ValueError, match=r"found shapes \(2, 1\) and \(1, 2\)"):
        voc_map_11point(np.zeros((2, 1)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"labels \(n, K\) in \{1, 0, -1\}"):
        voc_map_11point(np.zeros((2, 1)), np.full((2, 1), 2))
    with pytest.raises(ValueError, match="a class that is present"):
        voc_map_11point(np.zeros((2, 1)), np.full((2, 1), -1))
