"""A study: models x datasets x settings x seeds, and the run that fills its table."""

from headstart.study.run import StudyRun, run_study
from headstart.study.study import Study

__all__ = ["Study", "StudyRun", "run_study"]
