"""Executors run a function on many items: in this process, or in worker processes."""

from headstart.executors.executor import (
    Executor,
    ExecutorFactory,
    ExpectedWork,
    InProcess,
    Send,
    executor_of,
    visible_gpus,
)
from headstart.executors.processes import Processes

__all__ = [
    "Executor",
    "ExecutorFactory",
    "ExpectedWork",
    "InProcess",
    "Processes",
    "Send",
    "executor_of",
    "visible_gpus",
]
