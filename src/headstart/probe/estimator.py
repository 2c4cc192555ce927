"""The probe as a scikit-learn estimator, and the simple solver that it has for reference."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from headstart.devices import resolve_device
from headstart.errors import ProbeError
from headstart.metrics import SCORERS, voc_map_11point
from headstart.probe.axes import Source, blocks, feature_mean
from headstart.probe.certificate import Fit, Weights, certify, decision_values, sum_up
from headstart.probe.inputs import array, classes, features, path_of, targets
from headstart.probe.losses import Binary, Softmax
from headstart.probe.path import MAX_PASSES, fit_path

__all__ = ["LogisticRegressionPath", "lbfgs_path"]

# Kornblith et al. 2019: 45 values, log-spaced from 1e5 down to 1e-6.
LAMBDAS = tuple(float(f"{10 ** (5 - 11 * i / 44):.12g}") for i in range(45))
DTYPES = {"auto": None, "float32": torch.float32, "float64": torch.float64}
OPTIONS = {
    "device": ("auto", "cpu", "cuda"),
    "dtype": tuple(DTYPES),
    "solver": ("newton", "lbfgs"),
}
FLOATS = [np.float64, np.float32]
# Metrics by name for labels of one class per example.
METRICS = ("top-1", "mean-per-class")
# With `early_stop`, the number of successive rises of the validation loss that stops the path.
PATIENCE = 3

# Of L-BFGS, the tolerance on the largest gradient entry before the first check of the gap; divided
# by TIGHTEN while the gap is too large.
FIRST_GRADIENT = 1e-2
TIGHTEN = 10.0
MEMORY = 20

Vector = npt.NDArray[np.float64]
Metric = str | Callable[[Any, Any], float]


class LogisticRegressionPath(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """L2-regularized logistic regression for many penalties, with certified convergence.

    It minimizes ``sum_i loss(W x_i + b, y_i) + (lambda/2) ||W||_F^2`` with an unpenalized bias, for
    each lambda. In scikit-learn's terms C = 1/lambda; for two classes C = 2/lambda, since two
    opposite rows of W share the penalty. With `multilabel`, `y` is (n, K) of zeros and ones, and
    each column is an independent binary problem with C = 1/lambda.

    `predict` and the other methods use the fit `best_index_`: the smallest lambda after `fit`, the
    best on validation data after `select`.

    Parameters
    ----------
    lambdas
        Positive penalties; by default 45 from 1e5 down to 1e-6 (Kornblith et al. 2019).
    tol
        Relative duality gap at which a fit counts as converged.
    device
        ``"auto"`` is the device of X if it is a tensor, else the first GPU if there is one.
    dtype
        Precision of products; ``"auto"`` is that of X. The certificate is always in float64.
    max_passes
        Limit on products with X and its transpose per lambda, including waypoints before it.
    multilabel
        Whether an example may have several labels, or none.
    solver
        ``"newton"``, or ``"lbfgs"`` for SciPy's L-BFGS, simple and slow, as a reference.
    early_stop
        Skip smaller lambdas once the validation loss has risen three times in a row on the path of
        every second lambda. `fit` then needs `X_val` and `y_val`.

    Attributes
    ----------
    lambdas_
        (L,) float64, decreasing.
    coef_path_, intercept_path_
        (L, K, d) and (L, K) float64.
    objective_path_, gap_path_
        (L,) objectives, and certified upper bounds on (objective - optimum) / objective.
    passes_path_
        (L,) int64 passes over the features.
    converged_path_
        (L,) bool: whether the gap is within `tol`.
    classes_
        (K,) labels in the order of the rows of W.
    best_index_, lambda_, coef_, intercept_
        Index of the fit in use, its lambda, (K, d) weights and (K,) bias.
    validation_scores_
        (L,) validation scores; set by `select`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> probe = LogisticRegressionPath(lambdas=[100.0, 1.0, 0.01]).fit(X[:1000], y[:1000])
    >>> bool((probe.gap_path_ <= 1e-4).all())
    True
    >>> probe.select(X[1000:1400], y[1000:1400]).lambda_
    100.0
    """

    def __init__(
        self,
        lambdas: Sequence[float] | None = None,
        tol: float = 1e-4,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        dtype: Literal["auto", "float32", "float64"] = "auto",
        max_passes: int = MAX_PASSES,
        multilabel: bool = False,
        solver: Literal["newton", "lbfgs"] = "newton",
        early_stop: bool = False,
    ) -> None:
        self.lambdas = lambdas
        self.tol = tol
        self.device = device
        self.dtype = dtype
        self.max_passes = max_passes
        self.multilabel = multilabel
        self.solver = solver
        self.early_stop = early_stop

    def fit(self, X: Source, y: Any, X_val: Source | None = None, y_val: Any = None) -> Self:
        """Fit all lambdas.

        Parameters
        ----------
        X
            (n, d) float32 or float64: an array, a memory-mapped array, or a tensor on a CPU or an
            NVIDIA GPU. Arrays of other types are converted to float64.
        y
            (n,) labels, or (n, K) zeros and ones with `multilabel`.
        X_val, y_val
            Validation data, for `early_stop` only.

        Raises
        ------
        ProbeError
            Invalid options, features or labels. It is a ValueError, too.

        Warns
        -----
        ConvergenceWarning
            Some lambdas did not reach `tol`; see `gap_path_`.
        """
        # If this fit fails, attributes of an earlier one must not remain.
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        lambdas = self._checked_lambdas(X_val, y_val)
        if not isinstance(X, Tensor):
            X = validate_data(self, X, dtype=FLOATS, ensure_all_finite=False)
        X = features(X)
        self.n_features_in_ = X.shape[1]
        self.classes_ = classes(y, multilabel=self.multilabel)
        labels = self._targets(y, len(X))
        # Each example counts for every column.
        n_classes = len(self.classes_)
        loss = Binary.of(2 * labels - 1) if self.multilabel else Softmax.of(labels, n_classes)
        found: dict[float, Fit] = {}
        # Copied at once, since the weights of all lambdas may be larger than X.
        coefs = np.empty((len(lambdas), len(self.classes_), X.shape[1]))
        for fit in self._fits(X, loss, lambdas, X_val, y_val):
            place = coefs[lambdas.index(fit.lam)]
            place[:] = fit.coef
            found[fit.lam] = replace(fit, coef=place)
        fits = [found[lam] for lam in lambdas if lam in found]
        self.lambdas_ = np.array([fit.lam for fit in fits])
        self.coef_path_ = coefs if len(fits) == len(lambdas) else np.stack([f.coef for f in fits])
        self.intercept_path_ = np.stack([fit.bias for fit in fits])
        self.objective_path_ = np.array([fit.objective for fit in fits])
        self.gap_path_ = np.array([fit.relative_gap for fit in fits])
        self.passes_path_ = np.array([fit.passes for fit in fits])
        self.converged_path_ = np.array([fit.converged for fit in fits])
        self.n_iter_ = max(1, int(self.passes_path_.max()))
        self.best_index_ = len(fits) - 1
        self._warn()
        return self

    def select(self, X_val: Source, y_val: Any, metric: Metric | None = None) -> Self:
        """Select the fit with the best validation score; ties go to the largest lambda.

        Parameters
        ----------
        X_val, y_val
            As in `fit`; classes may be missing.
        metric
            ``"top-1"`` (the default), ``"mean-per-class"``, or a function of true and predicted
            labels. With `multilabel`, a function of (n, K) labels and scores; by default the
            11-point mean average precision of PASCAL VOC 2007.
        """
        check_is_fitted(self)
        X_val = self._features(X_val)
        labels = self._targets(y_val, len(X_val)).numpy()
        judge = self._judge(metric)
        self.validation_scores_ = np.array(
            [
                judge(labels, decision_values(X_val, coef, bias))
                for coef, bias in zip(self.coef_path_, self.intercept_path_, strict=True)
            ]
        )
        if not np.isfinite(self.validation_scores_).all():
            raise ProbeError(
                f"metric {metric!r} returned NaN or infinity: expected a number",
                code="probe.metric_not_finite",
                metric=metric,
            )
        self.best_index_ = int(self.validation_scores_.argmax())
        return self

    @property
    def lambda_(self) -> float:
        """Penalty of the fit in use."""
        return float(self.lambdas_[self.best_index_])

    @property
    def coef_(self) -> Weights:
        """(K, d) weights of the fit in use."""
        return np.asarray(self.coef_path_[self.best_index_])

    @property
    def intercept_(self) -> Weights:
        """(K,) bias of the fit in use."""
        return np.asarray(self.intercept_path_[self.best_index_])

    def decision_function(self, X: Source) -> Weights:
        """Return (n, K) logits; for two classes (n,), those of the second minus the first."""
        logits = self._logits(X)
        if not self.multilabel and len(self.classes_) == 2:
            return np.asarray(logits[:, 1] - logits[:, 0])
        return logits

    def predict(self, X: Source) -> npt.NDArray[Any]:
        """Return (n,) labels, or (n, K) zeros and ones with `multilabel`."""
        logits = self._logits(X)
        if self.multilabel:
            return (logits > 0).astype(np.int64)
        return np.asarray(self.classes_[logits.argmax(axis=1)])

    def predict_proba(self, X: Source) -> Weights:
        """Return (n, K) probabilities; with `multilabel` they do not sum to one."""
        logits = self._logits(X)
        return np.asarray(expit(logits) if self.multilabel else softmax(logits, axis=1))

    def score(self, X: Source, y: Any, sample_weight: Any = None) -> float:
        """Return the proportion of correct predictions, in all labels with `multilabel`."""
        return float(super().score(X, array(y), sample_weight))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_path_")

    def _logits(self, X: Source) -> Weights:
        check_is_fitted(self)
        return decision_values(self._features(X), self.coef_, self.intercept_)

    def _fits(
        self,
        X: Source,
        loss: Softmax | Binary,
        lambdas: Sequence[float],
        X_val: Source | None,
        y_val: Any,
    ) -> Iterator[Fit]:
        if self.solver == "lbfgs":
            return lbfgs_path(X, loss, lambdas, self.tol, max_passes=self.max_passes)
        go_on = self._patience(X_val, y_val) if self.early_stop and X_val is not None else None
        if self.device == "auto" and isinstance(X, Tensor):
            device = X.device
        else:
            device = resolve_device(self.device)
        return fit_path(
            X,
            loss,
            lambdas,
            self.tol,
            max_passes=self.max_passes,
            device=device,
            dtype=DTYPES[self.dtype],
            go_on=go_on,
        )

    def _patience(self, X_val: Source, y_val: Any) -> Callable[[Weights, Weights], bool]:
        X_val = self._features(X_val)
        labels = self._targets(y_val, len(X_val))
        losses: list[float] = []

        def go_on(coef: Weights, bias: Weights) -> bool:
            logits = decision_values(X_val, coef, bias)
            losses.append(_log_loss(torch.from_numpy(logits), labels))
            last = losses[-PATIENCE - 1 :]
            return len(last) <= PATIENCE or any(np.diff(last) <= 0)

        return go_on

    def _judge(self, metric: Metric | None) -> Callable[[npt.NDArray[Any], Weights], float]:
        if self.multilabel:
            if metric is None:
                return lambda labels, logits: voc_map_11point(logits, 2 * labels - 1)
            if not callable(metric):
                raise ProbeError(
                    f"metric {metric!r} is invalid with multilabel=True: expected a function of "
                    "labels and scores",
                    code="probe.metric_unknown",
                    metric=metric,
                )
            return metric
        if callable(metric):
            return lambda labels, logits: metric(
                self.classes_[labels], self.classes_[logits.argmax(axis=1)]
            )
        name = metric or "top-1"
        if name not in METRICS:
            known = ", ".join(METRICS)
            raise ProbeError(
                f"unknown metric {name!r}: expected a function or one of {known}",
                code="probe.metric_unknown",
                metric=name,
            )
        return SCORERS[name]

    def _checked_lambdas(self, X_val: Source | None, y_val: Any) -> Sequence[float]:
        """Check all options; return the lambdas."""
        for name, allowed in OPTIONS.items():
            if getattr(self, name) not in allowed:
                raise ProbeError(
                    f"invalid {name} {getattr(self, name)!r}: expected one of {', '.join(allowed)}",
                    code="probe.option_invalid",
                    option=name,
                    value=getattr(self, name),
                )
        numbers = all(isinstance(value, Real) for value in (self.tol, self.max_passes))
        if not (numbers and 0 < self.tol < 1 and self.max_passes >= 1):
            raise ProbeError(
                f"invalid tol {self.tol} or max_passes {self.max_passes}: expected 0 < tol < 1 and "
                "max_passes >= 1",
                code="probe.option_invalid",
                option="tol, max_passes",
                value=(self.tol, self.max_passes),
            )
        if self.solver == "lbfgs" and (self.device == "cuda" or self.dtype == "float32"):
            raise ProbeError(
                "solver='lbfgs' computes in float64 on the CPU: omit device and dtype",
                code="probe.options_conflict",
                options=("solver", "device", "dtype"),
            )
        if self.early_stop and (X_val is None or y_val is None or self.solver != "newton"):
            raise ProbeError(
                "early_stop=True needs solver='newton' and validation data: "
                "fit(X, y, X_val, y_val)",
                code="probe.options_conflict",
                options=("early_stop", "solver"),
            )
        return path_of(LAMBDAS if self.lambdas is None else self.lambdas)

    def _features(self, X: Any) -> Source:
        """Check features against those of `fit`; a tensor stays on its device."""
        if not isinstance(X, Tensor):
            X = validate_data(self, X, dtype=FLOATS, reset=False, ensure_all_finite=False)
        return features(X, self.n_features_in_)

    def _targets(self, y: Any, n_examples: int) -> Tensor:
        """Return (n,) indices into `classes_`, or (n, K) zeros and ones."""
        return targets(y, n_examples, self.classes_, multilabel=self.multilabel)

    def _warn(self) -> None:
        short = ~self.converged_path_
        if short.any():
            worst = self.gap_path_[short].max()
            which = ", ".join(f"{lam:.3g}" for lam in self.lambdas_[short][:5])
            more = ", ..." if short.sum() > 5 else ""
            warnings.warn(
                f"{short.sum()} of {len(short)} lambdas did not reach a relative gap of "
                f"{self.tol:g} (largest {worst:.1e}): {which}{more}; raise max_passes, or tol",
                ConvergenceWarning,
                stacklevel=3,
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self.multilabel
        return tags


def _log_loss(logits: Tensor, labels: Tensor) -> float:
    """Return the summed loss of (n, K) logits."""
    if labels.ndim == 2:
        return float(binary_cross_entropy_with_logits(logits, labels.double(), reduction="sum"))
    return float(cross_entropy(logits, labels, reduction="sum"))


@torch.no_grad()
def lbfgs_path(
    X: Source,
    loss: Softmax | Binary,
    lambdas: Sequence[float],
    tolerance: float = 1e-4,
    *,
    max_passes: int,
) -> Iterator[Fit]:
    """Yield fits in order of decreasing lambda, each started from the previous solution.

    The reference solver: SciPy's L-BFGS on the centred features in float64, as in the paper. It is
    simple and slow on purpose, and shares only the loss and the certificate with the solver that it
    checks. Parameters are as in `headstart.probe.path.fit_path`. A pass is one evaluation of the
    objective and its gradient.
    """
    cpu = torch.device("cpu")
    lambdas, X = path_of(lambdas), features(X)
    mean = feature_mean(X, cpu)
    centred = torch.empty(*X.shape, dtype=torch.float64)
    for part, block in blocks(X, cpu, torch.float64):
        torch.sub(block, mean, out=centred[part])
    coef = torch.zeros(*loss.start.shape, X.shape[1], dtype=torch.float64)
    bias = loss.start.clone()
    for lam in lambdas:
        passes, gradient = 0, FIRST_GRADIENT
        lams = torch.full((len(coef),), lam, dtype=torch.float64)
        while True:
            spent, coef, bias = _descend(
                centred, loss, lam, coef, bias, gradient, max_passes - passes
            )
            passes += spent
            proof = certify(centred, torch.zeros_like(mean), loss, lams, coef, bias)
            bias = proof.bias
            fit = sum_up(lam, coef, bias - coef @ mean, proof, passes, tolerance)
            # Weights of zero are within the tolerance for large lambdas, and tell no classes apart.
            weighted = coef.flatten(1).any(1).all() or fit.relative_gap == 0
            settled = fit.converged and bool(weighted)
            # Below 1e-300 the precision of float64 is exhausted.
            if settled or passes >= max_passes or gradient < 1e-300:
                break
            gradient /= TIGHTEN
        yield fit


def _descend(
    Z: Tensor,
    loss: Softmax | Binary,
    lam: float,
    coef: Tensor,
    bias: Tensor,
    gradient: float,
    budget: int,
) -> tuple[int, Tensor, Tensor]:
    """Run L-BFGS until no gradient entry exceeds `gradient`; return passes, weights, bias."""

    def unpack(vector: Vector) -> tuple[Tensor, Tensor]:
        parts = torch.from_numpy(vector)
        return parts[: coef.numel()].view_as(coef), parts[coef.numel() :].view_as(bias)

    def evaluate(vector: Vector) -> tuple[float, Vector]:
        W, b = unpack(vector)
        values, residual, _ = loss.look(W @ Z.T + b[:, :, None])
        by_W, by_bias = residual @ Z + lam * W, residual.sum(2)
        value = float(values.sum() + lam / 2 * W.square().sum())
        return value, torch.cat([by_W.flatten(), by_bias.flatten()]).numpy()

    # SciPy's BLAS and torch's threads would compete for the cores. One thread suffices for the
    # short vectors of L-BFGS.
    with _SCIPY_BLAS.limit(limits=1):
        result = minimize(
            evaluate,
            torch.cat([coef.flatten(), bias.flatten()]).numpy(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxcor": MEMORY,
                "maxiter": budget,
                "maxfun": budget,
                "ftol": 0.0,
                "gtol": gradient,
            },
        )
    return int(result.nfev), *unpack(result.x.copy())


_BLAS = ThreadpoolController()
_SCIPY_BLAS = _BLAS.select(
    filepath=[
        library["filepath"] for library in _BLAS.info() if "scipy.libs" in library["filepath"]
    ]
)
