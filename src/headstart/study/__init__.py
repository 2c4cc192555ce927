"""A study: models x datasets x settings x seeds, and the run that fills its table."""

from headstart.study.ablation import CONFIGURATIONS, Ablation, ablate, configurations
from headstart.study.further import FURTHER, sweep_study
from headstart.study.outlook import Need, Outlook, matrix_rate, outlook
from headstart.study.plan import Load, Plan, Rate, complete_rates, plan
from headstart.study.rates import device_name, measured_rates
from headstart.study.run import StudyRun, run_study
from headstart.study.study import Study

__all__ = [
    "CONFIGURATIONS",
    "FURTHER",
    "Ablation",
    "Load",
    "Need",
    "Outlook",
    "Plan",
    "Rate",
    "Study",
    "StudyRun",
    "ablate",
    "complete_rates",
    "configurations",
    "device_name",
    "matrix_rate",
    "measured_rates",
    "outlook",
    "plan",
    "run_study",
    "sweep_study",
]
