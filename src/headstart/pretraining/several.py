"""Several networks are pretrained: one after the other here, or beside each other elsewhere."""

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
    """Give each network that is asked for with what came of it, as soon as it is there.

    One that fails does not stop the others; who is stopped by it asks for no further one.

    Parameters
    ----------
    jobs
        The networks.
    workspace
        Where and how.
    executor
        Trains them beside each other, and they come in whatever order; one after the other in this
        process, in the order given, where there is none.
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
    """Pretrain wherever this runs: it takes all that it needs from its arguments."""
    return _attempt(job, Workspace.at(site, Sending(send)))
