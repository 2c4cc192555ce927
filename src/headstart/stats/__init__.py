"""Arrays -> numbers with intervals. numpy, scipy and statsmodels only."""

from headstart.stats.correlation import (
    CORRELATIONS,
    FEWEST_UNITS,
    CorrelationInterval,
    CorrelationName,
    correlation_difference,
    correlation_interval,
    least_squares,
    leave_out_correlations,
    pearson,
    resample_weights,
)
from headstart.stats.crossed import CrossedMean, crossed_mean
from headstart.stats.log_odds import accuracy_of, edge_distance, log_odds
from headstart.stats.mixed import MixedModel, mixed_model
from headstart.stats.paired import (
    PairedTest,
    mcnemar,
    paired_proportions,
    sign_flip_test,
    wilcoxon,
)
from headstart.stats.paired_map import map_swap_test
from headstart.stats.polynomial import (
    PolynomialFit,
    lack_of_fit,
    leave_one_out_ratio,
    polynomial_fit,
)
from headstart.stats.proportion import wilson_interval
from headstart.stats.ranks import FEWEST_DATASETS, Comparisons, Pairs, all_pairs, compare_models
from headstart.stats.reaching import steps_to_share
from headstart.stats.separation import (
    class_variance_ratio,
    cosine_distances,
    mean_silhouette,
    neighbour_accuracy,
    unit_length,
)
from headstart.stats.similarity import linear_cka, unbiased_linear_cka
from headstart.stats.within import (
    AdditiveFit,
    ErrorBars,
    WithinMeans,
    additive_fit,
    components,
    within_means,
)

__all__ = [
    "CORRELATIONS",
    "FEWEST_DATASETS",
    "FEWEST_UNITS",
    "AdditiveFit",
    "Comparisons",
    "CorrelationInterval",
    "CorrelationName",
    "CrossedMean",
    "ErrorBars",
    "MixedModel",
    "PairedTest",
    "Pairs",
    "PolynomialFit",
    "WithinMeans",
    "accuracy_of",
    "additive_fit",
    "all_pairs",
    "class_variance_ratio",
    "compare_models",
    "components",
    "correlation_difference",
    "correlation_interval",
    "cosine_distances",
    "crossed_mean",
    "edge_distance",
    "lack_of_fit",
    "least_squares",
    "leave_one_out_ratio",
    "leave_out_correlations",
    "linear_cka",
    "log_odds",
    "map_swap_test",
    "mcnemar",
    "mean_silhouette",
    "mixed_model",
    "neighbour_accuracy",
    "paired_proportions",
    "pearson",
    "polynomial_fit",
    "resample_weights",
    "sign_flip_test",
    "steps_to_share",
    "unbiased_linear_cka",
    "unit_length",
    "wilcoxon",
    "wilson_interval",
    "within_means",
]
