"""Tables of results for the tests of analysis and report."""

import numpy as np
import pandas as pd
from scipy.special import expit

import headstart as hs


def make_table(n_models=6, n_datasets=4, settings=("linear", "finetune"), seed=0):
    """Accuracies in proportions that rise with upstream accuracy; families of two."""
    random = np.random.default_rng(seed)
    upstream = np.linspace(0.65, 0.85, n_models)
    rows = []
    for s, setting in enumerate(settings):
        for m in range(n_models):
            for d in range(n_datasets):
                score = 4 * upstream[m] - 2 + 0.5 * d + 0.4 * s + random.normal(0, 0.1)
                rows.append(
                    {
                        "model": f"net{m}",
                        "family": f"family{m // 2}",
                        "upstream_accuracy": upstream[m],
                        "dataset": f"set{d}",
                        "setting": setting,
                        "accuracy": expit(score),
                        "n_test": 1000,
                    }
                )
    return pd.DataFrame(rows)


def quick(table, **options) -> hs.Analysis:
    """Analyze with few resamples."""
    return hs.analyze(table, resamples=200, **options)


def reasons(analysis: hs.Analysis) -> dict[str, str]:
    """Return why what could not be given is missing."""
    return dict(zip(analysis.missing.what, analysis.missing.why, strict=True))
