"""Pretraining of several networks, one by one or in parallel."""

from collections.abc import Iterator, Sequence
from functools import partial

from headstart.errors import HeadstartError
from headstart.executors import Executor, Send
from headstart.pretraining.job import Pretrained, PretrainJob
from headstart.pretraining.run import run_job
from headstart.workspace import Sending, Site, Workspace, receive

__all__ = ["pretrain_all"]


def pretrain_all(
    jobs: Sequence[PretrainJob], workspace: Workspace, executor: Executor | None = None
) -> Iterator[tuple[PretrainJob, Pretrained | HeadstartError]]:
    """Yield each job with its outcome, a network or an error, as it completes.

    A failure does not stop the other jobs. To stop, stop iterating.

    Parameters
    ----------
    jobs
        The networks to train.
    workspace
        Where to run.
    executor
        Runs jobs in parallel; outcomes come in any order. By default jobs run one by one in this
        process, in the given order.
    """
    watcher = workspace.watcher
    if executor is None:
        for number, one in enumerate(jobs, start=1):
            watcher.trial_started(f"pretraining {one.said}", number, len(jobs))
            yield one, _attempt(one, workspace)
            watcher.trial_finished()
        return
    watcher.stage("pretraining networks", total=len(jobs), unit="networks")
    away, on_message = partial(_attempt_away, workspace.site), partial(receive, watcher)
    for one, outcome in executor.map(away, jobs, on_message):
        yield one, outcome
        watcher.advance()


def _attempt(job: PretrainJob, workspace: Workspace) -> Pretrained | HeadstartError:
    try:
        return run_job(job, workspace)
    except HeadstartError as error:
        return error


def _attempt_away(site: Site, job: PretrainJob, send: Send) -> Pretrained | HeadstartError:
    """Run a job in a worker process."""
    return _attempt(job, Workspace.at(site, Sending(send)))
