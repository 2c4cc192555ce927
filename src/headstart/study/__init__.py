"""A study: models x datasets x settings x seeds, and the run that fills its table."""

from headstart.study.further import FURTHER, further_study
from headstart.study.outlook import Need, Outlook, matrix_rate, outlook
from headstart.study.run import StudyRun, run_study
from headstart.study.study import Study

__all__ = [
    "FURTHER",
    "Need",
    "Outlook",
    "Study",
    "StudyRun",
    "further_study",
    "matrix_rate",
    "outlook",
    "run_study",
]
