"""Methods of transfer: each measures candidates on validation, selects, and tests."""

from headstart.methods.base import (
    Method,
    PreparedTrial,
    ResourceEstimate,
    TestScores,
    find,
    method_of,
    needs,
    open_trial,
    setting_of,
)

__all__ = [
    "Method",
    "PreparedTrial",
    "ResourceEstimate",
    "TestScores",
    "find",
    "method_of",
    "needs",
    "open_trial",
    "setting_of",
]
