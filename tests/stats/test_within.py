import numpy as np
import pytest
from scipy import stats

from headstart.stats import within_means

# Loftus and Masson (1994), Psychonomic Bulletin & Review 1, Table 2: words recalled by 10 subjects
# after exposures of 1, 2 and 5 seconds; the data that Cousineau (2005) and Morey (2008) discuss.
RECALL = np.array(
    [
        [10, 6, 11, 22, 16, 15, 1, 12, 9, 8],
        [13, 8, 14, 23, 18, 17, 1, 15, 12, 9],
        [13, 8, 14, 25, 20, 17, 4, 17, 12, 12],
    ]
)


def test_the_worked_example_of_the_literature():
    means = within_means(RECALL, "morey")
    assert np.allclose(means.mean, [11.0, 13.0, 14.2])
    # Their within-subject mean squared error is 0.61 (F = 42.5): averaged over conditions, Morey's
    # variances are that, exactly; its root over n is their standard error.
    mse = np.mean(means.se**2) * RECALL.shape[1]
    assert mse == pytest.approx(0.61, abs=0.005)
    f = RECALL.shape[1] * RECALL.mean(axis=1).var(ddof=1) / mse
    assert f == pytest.approx(42.5, abs=0.1)


def test_cousineau_lacks_moreys_factor():
    factor = within_means(RECALL, "morey").se / within_means(RECALL, "cousineau").se
    assert np.allclose(factor, np.sqrt(3 / 2))


def test_the_interval_is_students():
    means = within_means(RECALL)
    half = stats.t.ppf(0.975, 9) * means.se
    assert np.allclose(means.high - means.mean, half)
    assert np.allclose(means.mean - means.low, half)


def test_easy_and_hard_datasets_do_not_matter():
    shifted = RECALL + np.arange(10) * 100
    assert np.allclose(within_means(shifted).se, within_means(RECALL).se)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_one_model_or_dataset_has_no_error(shape):
    means = within_means(np.arange(5.0).reshape(shape))
    assert np.isfinite(means.mean).all()
    assert np.isnan(means.se).all()
