"""Pretraining of several networks, one by one or in parallel."""

from collections.abc import Iterator, Sequence
from functools import partial

from headstart.context import RunContext
from headstart.errors import HeadstartError
from headstart.executors import Executor, Send
from headstart.pretraining.job import Pretrained, PretrainJob
from headstart.pretraining.run import run_job

__all__ = ["pretrain_all"]


def pretrain_all(
    jobs: Sequence[PretrainJob], context: RunContext, executor: Executor | None = None
) -> Iterator[tuple[PretrainJob, Pretrained | HeadstartError]]:
    """Yield each job with its outcome, a network or an error, as it completes.

    A failure does not stop the other jobs. To stop, stop iterating.

    Parameters
    ----------
    jobs
        The networks to train.
    context
        Where to run.
    executor
        Runs jobs in parallel; outcomes come in any order. By default jobs run one by one in this
        process, in the given order.
    """
    reporter = context.reporter
    if executor is None:
        for number, one in enumerate(jobs, start=1):
            reporter.trial_started(f"pretraining {one.said}", number, len(jobs))
            yield one, _attempt(one, context)
            reporter.trial_finished()
        return
    reporter.stage("pretraining networks", total=len(jobs), unit="networks")
    away, on_message = partial(_attempt_away, context), reporter.receive
    for one, outcome in executor.map(away, jobs, on_message):
        yield one, outcome
        reporter.advance()


def _attempt(job: PretrainJob, context: RunContext) -> Pretrained | HeadstartError:
    try:
        return run_job(job, context)
    except HeadstartError as error:
        return error


def _attempt_away(context: RunContext, job: PretrainJob, send: Send) -> Pretrained | HeadstartError:
    """Run a job in a worker process."""
    return _attempt(job, context.reporting_to(send))
