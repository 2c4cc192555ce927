"""The 11-point average precision against a transcription of the development kit's loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headstart as hs
from headstart.metrics import voc_map_11point
from refusals import refused


def matlab_loop(start, step, stop):
    """Give the values of t in MATLAB's ``for t = start:step:stop``.

    E. I. on the list of Octave's maintainers, "for loop implementation", at the time of Octave 3.0:
    in MATLAB a loop from 0 to 5.8 by 0.1 differs from ``first + n * step`` by nothing, the vector
    ``[0:0.1:5.8]`` by up to four units of the last place. That the two differ is also found in
    possiblywrong.wordpress.com/2020/08/02/matlabs-colon-operator-and-for-loops.
    """
    return [start + k * step for k in range(round((stop - start) / step) + 1)]


def vocevalcls(out, gt):
    """VOCevalcls.m of the VOC 2007 development kit, line by line, for one class.

    ``sort`` of MATLAB keeps the order of ties; ``max`` leaves out NaN, which a precision is before
    any image counts.
    """
    si = sorted(range(len(out)), key=lambda i: -out[i])
    tp = np.cumsum([gt[i] > 0 for i in si])
    fp = np.cumsum([gt[i] < 0 for i in si])
    npos = sum(label > 0 for label in gt)
    rec = [float(t) / float(npos) for t in tp]
    prec = [float(t) / float(f + t) if f + t else np.nan for f, t in zip(fp, tp, strict=True)]
    ap = 0.0
    for t in matlab_loop(0, 0.1, 1):
        p = [at for at, r in zip(prec, rec, strict=True) if r >= t and not np.isnan(at)]
        ap = ap + (max(p) if p else 0) / 11
    return ap


def same(scores, labels):
    present = [k for k in range(labels.shape[1]) if (labels[:, k] == 1).any()]
    kit = np.mean([vocevalcls(scores[:, k], labels[:, k]) for k in present])
    return voc_map_11point(scores, labels) == pytest.approx(kit, rel=1e-12)


@pytest.mark.parametrize(("loop", "value", "met"), [
    # imathworks.com/matlab/matlab-if-statement-inside-a-for-loop-not-working
    ((0.1, 0.1, 5), 3, False),
    # "Software problem": of 0.05:0.05:15 the loop meets 8 and never 10
    ((0.05, 0.05, 15), 8, True),
    ((0.05, 0.05, 15), 10, False),
    # stackoverflow.com/questions/15514343
    ((-1, 0.01, 1), 0.2, False),
    ((0, 0.01, 1), 0.2, True),
    # "Problem with equating for loop index to a variable": neither 0.6 nor 1.4
    ((0.2, 0.2, 1.6), 0.6, False),
    ((0.2, 0.2, 1.6), 1.4, False),
])  # fmt: skip
def test_loops_meet_the_values_that_users_of_matlab_report(loop, value, met):
    """Neither repeated addition nor a vector built from both ends meets just these."""
    assert (value in matlab_loop(*loop)) == met


@given(st.integers(0, 10_000), st.integers(1, 40), st.booleans())
def test_it_is_the_development_kits(seed, n, ties):
    random = np.random.default_rng(seed)
    labels = random.choice([-1, 0, 1], size=(n + 2, 3))
    labels[:2] = [[1], [-1]]
    scores = random.normal(size=labels.shape)
    assert same(np.round(scores) if ties else scores, labels)


@pytest.mark.parametrize("n_present", [*range(1, 61), 70, 80, 90, 100, 190, 200, 235, 1000])
def test_it_is_the_development_kits_for_every_number_of_present_images(n_present):
    random = np.random.default_rng(n_present)
    labels = np.repeat([1, -1, 0], [n_present, 2 * n_present, 5])[:, None]
    labels = np.repeat(labels, 5, axis=1)
    scores = labels + random.normal(size=labels.shape)
    assert same(random.permuted(scores), labels)
    assert same(np.round(scores), labels)


@pytest.mark.parametrize(
    ("found_first", "recalls_of_1"), [(3, 3), (4, 5), (5, 6), (6, 6), (7, 7), (8, 9)]
)
def test_recalls_of_a_whole_number_of_present_images(found_first, recalls_of_1):
    """Ten present: 3 of them reach 0, 0.1 and 0.2, not the 0.30000000000000004 of the loop."""
    labels = np.array([1] * found_first + [-1] * 10 + [1] * (10 - found_first))[:, None]
    expected = (recalls_of_1 + (11 - recalls_of_1) * 10 / 20) / 11
    assert voc_map_11point(-np.arange(20)[:, None], labels) == pytest.approx(expected, rel=1e-12)


def test_a_difficult_image_changes_nothing_wherever_it_stands():
    random = np.random.default_rng(0)
    labels = random.choice([-1, 1], size=(30, 4))
    scores = np.round(random.normal(size=labels.shape), 1)
    expected = voc_map_11point(scores, labels)
    for place in (0, 7, 30):
        for score in (-np.inf, 0.0, 9.0):
            more = np.insert(scores, place, score, axis=0), np.insert(labels, place, 0, axis=0)
            assert voc_map_11point(*more) == expected
            assert same(*more)


def test_a_perfect_order_is_one():
    labels = np.array([[1, -1], [-1, 1], [0, -1]])
    assert voc_map_11point(labels, labels) == 1.0


def test_classes_that_are_nowhere_are_left_out_of_the_mean():
    labels = np.array([[1, -1], [-1, 0], [1, -1]])
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.3]])
    assert voc_map_11point(scores, labels) == voc_map_11point(scores[:, :1], labels[:, :1])


def test_the_metrics_are_public():
    assert hs.metrics.voc_map_11point is voc_map_11point
    assert "metrics" in dir(hs)


@pytest.mark.parametrize(("scores", "labels", "code", "values"), [
    ([[0], [0]], [[1, -1]], "shapes_differ", {"found": ((2, 1), (1, 2))}),
    ([0, 0], [1, -1], "shapes_differ", {"found": ((2,), (2,))}),
    ([[0], [0]], [[1], [2]], "label_invalid", {"found": 2, "place": (1, 0)}),
    ([[0], [0]], [[1], [0]], "none_absent", {}),
    ([[0], [np.nan]], [[1], [-1]], "score_missing", {"place": (1, 0)}),
    ([[0], [0]], [[-1], [0]], "none_present", {}),
])  # fmt: skip
def test_what_cannot_be_is_refused(scores, labels, code, values):
    with refused(f"metric.{code}", **values):
        voc_map_11point(np.array(scores), np.array(labels))
