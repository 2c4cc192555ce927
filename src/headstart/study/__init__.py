"""A study: models x datasets x settings x seeds, and the run that fills its table."""

from headstart.study.estimate import Requirement, StudyEstimate, estimate_study, known_trials
from headstart.study.run import StudyRun, check_context, run_study
from headstart.study.status import RunningTrial, StudyStatus, study_status
from headstart.study.study import Study
from headstart.study.sweep_studies import (
    CONFIGURATIONS,
    SWEEPS,
    Ablation,
    ablate,
    configurations,
    sweep_study,
)
from headstart.study.workload import (
    Throughput,
    Workload,
    complete_throughput,
    device_name,
    keep_throughput,
    matrix_rate,
    measure_throughput,
)

__all__ = [
    "CONFIGURATIONS",
    "SWEEPS",
    "Ablation",
    "Requirement",
    "RunningTrial",
    "Study",
    "StudyEstimate",
    "StudyRun",
    "StudyStatus",
    "Throughput",
    "Workload",
    "ablate",
    "check_context",
    "complete_throughput",
    "configurations",
    "device_name",
    "estimate_study",
    "keep_throughput",
    "known_trials",
    "matrix_rate",
    "measure_throughput",
    "run_study",
    "study_status",
    "sweep_study",
]
