"""Executors run a function on many items: in this process, or in worker processes."""

from headstart.executors.base import Executor, InProcess, Send
from headstart.executors.processes import Processes, executor_of, visible_gpus

__all__ = ["Executor", "InProcess", "Processes", "Send", "executor_of", "visible_gpus"]
