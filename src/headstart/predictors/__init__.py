"""Predictors of transfer: numbers known before a model is transferred, each with its own scale."""

from headstart.predictors.predictor import (
    SCALES,
    UPSTREAM_ACCURACY,
    Predictor,
    Scale,
    TransferScore,
    find_predictor,
    transfer_score,
)

__all__ = [
    "SCALES",
    "UPSTREAM_ACCURACY",
    "Predictor",
    "Scale",
    "TransferScore",
    "find_predictor",
    "transfer_score",
]
