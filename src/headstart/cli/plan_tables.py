"""Show the estimate of a study: what is missing, trials, steps, hours, disk, cost."""

from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from headstart import models
from headstart.cli.output import console, echo
from headstart.cli.progress import LiveReporter
from headstart.cli.terminal_tables import column_table
from headstart.context import default_cache
from headstart.devices import Device
from headstart.report.page_model import Column, named
from headstart.shown_text import one_line
from headstart.spec import Model
from headstart.store import ResultStore
from headstart.study import (
    Study,
    StudyEstimate,
    Throughput,
    complete_throughput,
    device_name,
    estimate_study,
    keep_throughput,
    matrix_rate,
    measure_throughput,
)

__all__ = ["show_dry_run", "show_plan"]


def show_dry_run(study: Study, store: str) -> None:
    """Print what a study needs: what is here, what is missing and how to get it, and how much.

    Raises
    ------
    HeadstartError
        After that, what a run would be refused for: an unknown name, a wrong option.
    """
    found = estimate_study(study, ResultStore(store, create=True), default_cache())
    echo("\n".join(dry_run_lines(found, found.feature_hours(matrix_rate()))))
    if found.refusal:
        raise found.refusal


def show_plan(study: Study, store: str, device: Device, price: float | None) -> None:
    """Print what is here and what is missing, then what the rest of the study takes."""
    found = estimate_study(study, ResultStore(store, create=True), default_cache())
    echo("\n".join(needs(found)))
    if found.refusal:
        raise found.refusal
    wanted = list({workload.model.name: workload.model for workload in found.workloads}.values())
    if not wanted:
        return
    with LiveReporter(console) as reporter:
        measured = measure_throughput(
            wanted,
            device,
            batch_size=found.batch_size,
            precision=found.precision,
            reporter=reporter,
        )
    name, is_gpu = device_name(device)
    # A run expects the minutes of its trials by them.
    keep_throughput(measured, wanted, found.precision, (name, is_gpu), default_cache())
    if len(measured) < len(wanted):
        cache = default_cache()
        wanted = [
            model.model_copy(update={"multiply_adds": models.multiply_adds(model, cache)})
            for model in wanted
        ]
    rates = complete_throughput(measured, wanted)
    console.print(shown(found, rates, wanted, name))
    unit = "GPU-hours" if is_gpu else "hours"
    lines = totals(found, rates, unit, price)
    if found.unknown_sizes:
        lines.append(f"not counted: {', '.join(found.unknown_sizes)}, of unknown size")
    lines += [f"the study would be refused: {problem}" for problem in found.problems]
    echo("\n".join(lines))


def shown(
    found: StudyEstimate, rates: Mapping[str, Throughput], wanted: Iterable[Model], device: str
) -> Group:
    """What the rates are, what each setting takes at them, what is unknown."""
    parts: list[RenderableType] = [Text(f"\nimages per second on {device}"), _rates(rates, wanted)]
    if any(rate.estimated for rate in rates.values()):
        parts.append(Text("~ not measured: from multiply-adds and the rates of the others"))
    parts += [Text(""), _loads(found, rates), Text("")]
    return Group(*parts)


def _rates(rates: Mapping[str, Throughput], wanted: Iterable[Model]) -> Group:
    rows = []
    for model in wanted:
        rate = rates.get(model.name, Throughput(None, None))
        mark = "~" if rate.estimated else ""
        of = {"training": rate.training, "forward": rate.forward}
        cells = {name: f"{mark}{each:,.1f}" for name, each in of.items() if each}
        rows.append({"model": model.name, **cells})
    return column_table(
        [named("model", "model"), Column("training", "training"), Column("forward", "forward")],
        rows,
    )


def _loads(found: StudyEstimate, rates: Mapping[str, Throughput]) -> Group:
    """One row per setting, then all of them."""
    counts = {"trials": "trials", "steps": "steps", "trained": "trained images",
              "evaluated": "forward images"}  # fmt: skip
    names = list(dict.fromkeys(workload.setting for workload in found.workloads))
    rows = [
        {
            "setting": name or "all",
            "hours": found.hours(rates, name),
            **{
                count: sum(
                    getattr(each, count) for each in found.workloads if name in (None, each.setting)
                )
                for count in counts
            },
        }
        for name in [*names, None]
    ]
    columns = [
        named("setting", "setting"),
        *(Column(label, count, "{:,}".format) for count, label in counts.items()),
        Column("hours", "hours", _number),
    ]
    return column_table(columns, rows)


def totals(
    found: StudyEstimate, rates: Mapping[str, Throughput], unit: str, price: float | None
) -> list[str]:
    """Disk, hours and cost, one line each; then what is not in them."""
    hours = found.hours(rates)
    lines = [
        f"disk: {_size(found.weight_bytes)} of weights to download, "
        f"{_size(found.feature_bytes)} of features, {_size(found.image_bytes)} of decoded images",
        f"time: about {_number(hours)} {unit}, without downloads, decoding and regressions",
    ]
    if found.n_trials > 1 and (longest := found.longest(rates)):
        title, longest_hours = longest
        lines.append(f"longest trial: about {_time(longest_hours)}: {one_line(title)}")
    if price is not None:
        lines.append(f"cost: about {price * hours:,.2f} at {price:,.2f} per hour")
    if unknown := found.unknown(rates):
        lines.append(f"hours are without {', '.join(unknown)}: no rate is known")
    return lines


def _number(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.1f} MB"


def _time(hours: float) -> str:
    """Return hours in the unit that a reader would take; of what is nearly nothing a bound."""
    if hours < 1 / 60:
        return "a minute or less"
    return f"{_number(60 * hours)} minutes" if hours < 2 else f"{_number(hours)} hours"


def dry_run_lines(found: StudyEstimate, hours: float | None) -> list[str]:
    """What is here and what is missing, one line each; then how much it takes."""
    kinds = [need.kind for need in found.needs if not need.present]
    missing = [f"{_size(found.weight_bytes)} of weights"] if found.weight_bytes else []
    missing += ["the missing datasets"] if "dataset" in kinds else []
    lines = [
        *needs(found),
        f"to download: {' and '.join(missing) or 'nothing'}; disk for features: "
        f"{_size(found.feature_bytes)}",
    ]
    # Nothing for trials that are stored, or train.
    if hours != 0:
        lines.append(
            "time: unknown (the multiply-adds of a network are unknown)"
            if hours is None
            else f"about {_time(hours)} of forward passes for features on this processor, assuming "
            "50 % of its peak throughput"
        )
    if any(workload.steps for workload in found.workloads):
        lines.append("training is not counted here: `headstart plan` estimates it")
    if found.unknown_sizes:
        lines.append(f"without {', '.join(found.unknown_sizes)}: of unknown size")
    return lines


def needs(found: StudyEstimate) -> list[str]:
    """What is here and what is missing, one line each; then how many trials that leaves."""
    names = [one_line(need.name) for need in found.needs]
    width = max(map(len, names)) + 2
    here = {True: "here", False: "missing"}
    lines = [
        f"{need.kind:<9}{name:<{width}}{here[need.present]:<9}{one_line(need.place)}".rstrip()
        for name, need in zip(names, found.needs, strict=True)
    ]
    missing = sum(not need.present for need in found.needs)
    waiting = found.n_trials - found.n_stored - found.n_ready
    trials = "trial" if found.n_trials == 1 else "trials"
    return [
        *lines,
        *found.notes,
        "",
        f"{found.n_trials:,} {trials}: {found.n_stored:,} stored, {found.n_ready:,} can be "
        f"measured now, {waiting:,} blocked ({missing} of {len(found.needs)} above missing)",
    ]
