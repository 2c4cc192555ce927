"""Where a function runs: in this process, or in others. Knows functions, nothing of trials."""

from headstart.executors.base import Executor, InProcess, Send
from headstart.executors.processes import Processes, executor_of, visible_gpus

__all__ = ["Executor", "InProcess", "Processes", "Send", "executor_of", "visible_gpus"]
