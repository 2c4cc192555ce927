"""Methods of transfer: each measures candidates on validation, selects, and tests."""

from headstart.methods.base import Method, Needs, PreparedTrial, TestScores, find, method_of, needs

__all__ = ["Method", "Needs", "PreparedTrial", "TestScores", "find", "method_of", "needs"]
