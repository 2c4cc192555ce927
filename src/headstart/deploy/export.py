"""A result -> a folder that classifies images without headstart: ONNX, torch, or timm.

The folder is written beside its final place, verified on the test images, and renamed: it is there
whole or not at all.
"""

import copy
import io
import json
import logging
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from uuid import uuid4

import numpy as np

from headstart import datasets
from headstart.context import RunContext
from headstart.datasets.images import map_ahead
from headstart.deploy import card
from headstart.deploy.classifier import CLASSES, FACTS, FORMAT, ONNX, PROGRAM
from headstart.deploy.final_network import FinalNetwork
from headstart.deploy.result_details import tie_warning
from headstart.deploy.runners import (
    Comparison,
    NetworkRunner,
    OnnxRunner,
    ProgramRunner,
    Runner,
    TimmRunner,
    check_same,
    compare,
    lacking_operators,
    latency,
    require_packages,
    score_losses,
    tested_images,
)
from headstart.errors import BrokenImageError, CommandError, ExportError, HeadstartError
from headstart.files import (
    check_free_space,
    name_in_text,
    replaced,
    sha256_file,
    storage_errors,
    writable_folder,
)
from headstart.models.saved_networks import load_name
from headstart.models.weight_files import WEIGHTS, write_weights
from headstart.shown_text import first_line
from headstart.spec import Prediction, Result
from headstart.versions import provenance

if TYPE_CHECKING:
    from headstart.deploy.graph import DeployedNetwork

__all__ = ["ExportForm", "ExportTarget", "Exported", "export_result"]

ExportForm = Literal["onnx", "torch", "timm"]
TEXTS = {CLASSES, "example.py", "README.md"}
HALF, INT8 = "model.fp16.onnx", "model.int8.onnx"
# Opset 18 is known to runtimes of 2023 and later.
OPSET = 18
# Largest difference of a probability to the stored one. Rounding of another runtime stays far
# below; bfloat16, in which the stored one may have been computed, has three digits.
TOLERANCES = {"fp32": 0.01, "bf16": 0.1}
# Training images that int8 ranges are taken from.
CALIBRATION_IMAGES = 100
EXAMPLE_SIDE = 48


@dataclass(frozen=True)
class ExportTarget:
    """What an export writes, and where.

    Parameters
    ----------
    folder
        Folder to write; it must not be there, or be empty.
    form
        ``"onnx"``: one file that takes pixels of any size; ``"torch"``: the same as a torch
        program; ``"timm"``: a folder for ``timm.create_model``.
    half, int8
        Whether files of reduced precision come beside an ONNX file.
    """

    folder: Path
    form: ExportForm = "onnx"
    half: bool = False
    int8: bool = False


@dataclass(frozen=True)
class Exported:
    """What an export wrote, and what it gives on the test images.

    `origin` is where the network came from; `measured` has one row per file or runtime, `notes`
    lines for a person.
    """

    folder: Path
    form: ExportForm
    origin: str
    measured: list[Comparison]
    notes: list[str] = field(default_factory=list)


@dataclass
class _Job:
    """An export under way; `files` are the names of those that were written, and what runs them."""

    result: Result
    final: FinalNetwork
    target: ExportTarget
    context: RunContext
    place: Path
    chosen_by: str
    files: dict[str, tuple[str, Runner]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def export_result(
    result: Result,
    predictions: Prediction,
    final: Callable[[], FinalNetwork],
    target: ExportTarget,
    context: RunContext,
    *,
    chosen_by: str = "named by its key",
) -> Exported:
    """Write the network of a result to a folder, with all that its use needs; verify it there.

    Parameters
    ----------
    result, predictions
        The result, and its stored predictions on the test images.
    final
        Gives its network, after what can be checked early.
    target
        What to write, and where.
    context
        Where to run, and who is informed.
    chosen_by
        How the result was chosen among others, for the card.

    Raises
    ------
    ExportError
        ``export.folder_exists``, ``export.package_missing``, ``export.operators``,
        ``export.not_traceable``, ``export.not_timm``, ``export.differs``.
    HeadstartError
        The test images are not at hand.
    """
    _check(result, target)
    # Before the network is loaded: images that are gone are found at once.
    images = tested_images(result, predictions, context)
    with _whole(target.folder) as place:
        job = _Job(result, final(), target, context, place, chosen_by)
        context.reporter.stage("writing the network")
        write_weights(job.final.network.state_as_built(), place / WEIGHTS)
        {"onnx": _write_onnx, "torch": _write_program, "timm": _write_timm}[target.form](job)
        measured = _verified(job, images, predictions)
        job.notes += score_losses(measured)
        if warning := tie_warning(result):
            job.notes.append(warning)
        _write_rest(job, measured)
    return Exported(target.folder, target.form, job.final.origin, measured, job.notes)


def _check(result: Result, target: ExportTarget) -> None:
    form, out = target.form, target.folder
    if form not in get_args(ExportForm):
        raise CommandError(
            f"invalid form '{form}': expected {', '.join(get_args(ExportForm))}",
            code="command.value",
            name="--to",
            value=form,
        )
    if (target.half or target.int8) and form != "onnx":
        raise CommandError(
            f"--half and --int8 are for onnxruntime: use them with --to onnx, not {form}",
            code="command.conflict",
            option="--half",
        )
    if form == "onnx":
        require_packages("onnx", "onnxruntime", "onnxscript")
    model = result.trial.model
    if form == "timm" and model.source not in ("timm", "embedded"):
        raise ExportError(
            f"'{model.name}' is a network of {model.source}, which timm does not build: use --to "
            "onnx or --to torch",
            code="export.not_timm",
            model=model.name,
            source=model.source,
        )
    if (shown := name_in_text(str(out.absolute()))) != str(out.absolute()):
        raise ExportError(
            f"{shown}: its name is not UTF-8, and torch and ONNX write into no such folder: choose "
            "another --out",
            code="export.folder_name",
            path=shown,
        )
    with storage_errors(out, reading=True):
        taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if taken:
        raise ExportError(
            f"{out} is there and not empty: choose another --out, or remove it",
            code="export.folder_exists",
            path=str(out),
        )


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that gets its name when the block ends well, else vanishes.

    Where `out` is there, a mounted volume perhaps, it is a folder in it, whose files move up, the
    facts last: without them the folder is none of an export.
    """
    there = out.is_dir()
    within = writable_folder(out if there else out.absolute().parent)
    place = within / f".{out.absolute().name}.{uuid4().hex[:8]}.partial"
    try:
        with storage_errors(place):
            place.mkdir()
        yield place
        with storage_errors(out):
            if there:
                for file in sorted(place.iterdir(), key=lambda one: one.name == FACTS):
                    file.rename(out / file.name)
            else:
                place.rename(out)
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters say (their own internals, their advice) from the screen."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _deployed(job: _Job, *, half: bool = False) -> "DeployedNetwork":
    from headstart.deploy.graph import DeployedNetwork

    final = job.final
    # A copy: what verifies folds batch norms of its own.
    network = copy.deepcopy(final.network)
    deployed = DeployedNetwork(network, final.preprocessing, several=final.several, half=half)
    return deployed.eval()


def _program(deployed: "DeployedNetwork") -> Any:
    """Capture a module as a torch program for any number of images of any size."""
    import torch

    # Of unequal sides, and more than one image: torch takes 1 and equal numbers for constants.
    pixels = torch.zeros((2, EXAMPLE_SIDE, EXAMPLE_SIDE + 17, 3), dtype=torch.uint8)
    some = torch.export.Dim.DYNAMIC
    try:
        # Of a graph that cannot be ended torch prints what there is.
        with _quiet(), redirect_stderr(io.StringIO()), torch.no_grad():
            return torch.export.export(
                deployed, (pixels,), dynamic_shapes={"pixels": {0: some, 1: some, 2: some}}
            )
    # Whatever an author's forward does that a graph cannot: of many types.
    except Exception as error:
        raise ExportError(
            f"the network's code cannot be captured as a graph ({first_line(error)[:200]}): a "
            "network of timm can be exported with --to timm, any other be used by "
            "headstart.load",
            code="export.not_traceable",
            reason=first_line(error),
        ) from error


def _write_onnx(job: _Job) -> None:
    job.context.reporter.stage("exporting to ONNX")
    _save_onnx(_deployed(job), job.place / ONNX)
    job.files["onnxruntime"] = ONNX, OnnxRunner(job.place / ONNX)
    if job.target.half:
        job.context.reporter.stage("exporting to ONNX, float16")
        _save_onnx(_deployed(job, half=True), job.place / HALF)
        job.files["float16"] = HALF, OnnxRunner(job.place / HALF)
    if job.target.int8:
        job.context.reporter.stage("quantizing to int8")
        _quantize(job)
        job.files["int8"] = INT8, OnnxRunner(job.place / INT8)


def _save_onnx(deployed: "DeployedNetwork", file: Path) -> None:
    """Write an ONNX file; ExportError if ONNX has no operators for some of its parts."""
    import torch

    program = _program(deployed)
    some = torch.export.Dim.DYNAMIC
    try:
        with _quiet():
            written = torch.onnx.export(
                program,
                (),
                dynamo=True,
                opset_version=OPSET,
                input_names=["pixels"],
                output_names=["probabilities"],
                dynamic_shapes={"pixels": {0: some, 1: some, 2: some}},
                verbose=False,
            )
        if written is None:
            raise RuntimeError("nothing was written")
    # torch.onnx's errors are of many types, by release.
    except Exception as error:
        text = "\n".join(str(one) for one in (error, error.__cause__, error.__context__) if one)
        names = re.findall(r"(?:aten|torchvision|prims|timm)[.:]+\w+", text)
        raise lacking_operators("ONNX", names or [first_line(error)[:200]]) from error
    with storage_errors(file):
        written.save(str(file))


def _quantize(job: _Job) -> None:
    """Quantize weights and activations of the network's products, per channel.

    Ranges are those of training images; preprocessing stays in float32.
    """
    from onnxruntime import quantization

    trial, size = job.result.trial, _size(job.place / ONNX)
    # onnxruntime takes a file that was cut off for a damaged one.
    check_free_space(job.place, 2 * size, "the int8 file", "choose another --out")
    train = datasets.load(trial.dataset, trial.seed, job.context.cache).train.images
    rows = np.linspace(0, len(train) - 1, min(CALIBRATION_IMAGES, len(train))).astype(np.int64)
    reader = _reader(quantization.CalibrationDataReader, train.take(rows))
    try:
        with _quiet(), storage_errors(job.place / INT8):
            quantization.quantize_static(
                str(job.place / ONNX),
                str(job.place / INT8),
                reader,
                quant_format=quantization.QuantFormat.QDQ,
                # With signed ones five times as many predictions of an EfficientNet-Lite change.
                activation_type=quantization.QuantType.QUInt8,
                op_types_to_quantize=["Conv", "Gemm", "MatMul"],
                nodes_to_exclude=_without_weights(job.place / ONNX),
                per_channel=True,
            )
    except HeadstartError:
        raise
    # onnxruntime's and onnx's errors are of many types.
    except Exception as error:
        raise ExportError(
            f"onnxruntime cannot quantize the network ({first_line(error)[:200]}): omit --int8",
            code="export.not_quantized",
            reason=first_line(error),
        ) from error


def _without_weights(file: Path) -> list[str]:
    """Return the products of an ONNX file that have no weights: preprocessing is among them."""
    import onnx

    graphs = [onnx.load(str(file), load_external_data=False).graph]
    known, found = {tensor.name for tensor in graphs[0].initializer}, list[str]()
    while graphs:
        for node in graphs.pop().node:
            if node.op_type == "MatMul" and not known.intersection(node.input):
                found.append(node.name)
            # Branches.
            graphs += [one.g for one in node.attribute if one.type == onnx.AttributeProto.GRAPH]
    return found


def _reader(base: Any, images: datasets.Images) -> Any:
    """Return a reader of calibration images, as onnxruntime wants one."""

    class Reader(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images = map_ahead(self.decoded, range(len(images)))

        def decoded(self, row: int) -> Any:
            # Training images that are skipped for that are in the dataset all the same.
            with suppress(BrokenImageError):
                return images.decode(row)

        def get_next(self) -> dict[str, Any] | None:
            image = next((one for one in self.images if one is not None), None)
            return None if image is None else {"pixels": np.asarray(image.convert("RGB"))[None]}

    return Reader()


def _write_program(job: _Job) -> None:
    import torch

    job.context.reporter.stage("exporting to a torch program")
    # In memory first: torch ends the process where the disk is full.
    content = io.BytesIO()
    with _quiet():
        torch.export.save(_program(_deployed(job)), content)
    with replaced(job.place / PROGRAM) as temporary:
        temporary.write_bytes(content.getbuffer())
    job.files["torch program"] = PROGRAM, ProgramRunner(job.place / PROGRAM)


def _write_timm(job: _Job) -> None:
    """Write the configuration that timm reads, and load it back."""
    config = card.timm_config(job.result.trial, job.final)
    with replaced(job.place / "config.json") as temporary:
        temporary.write_text(json.dumps(config, indent=1), encoding="utf-8")
    job.files["timm"] = WEIGHTS, TimmRunner(job.place, job.final)
    if (side := job.final.preprocessing.side) is not None:
        job.notes.append(
            "timm resizes an image in one step, to whole levels; when this network was measured, "
            f"a shorter side over {side} pixels was reduced to that first: see how many "
            "predictions are others"
        )


def _verified(job: _Job, images: datasets.Images, predictions: Prediction) -> list[Comparison]:
    """Compare on the test images; refuse what is not what was measured."""
    reporter, result = job.context.reporter, job.result
    # The code that measured it: proves the network before the files.
    runners: dict[str, Runner] = {"torch": NetworkRunner(job.final, job.context.device)}
    runners |= {name: run for name, (_, run) in job.files.items()}
    reporter.stage("verifying on the test images", total=len(images), unit="images")
    found = compare(runners, images, result, predictions, reporter.advance)
    exact = [one for one in found if one.name in ("torch", "onnxruntime", "torch program")]
    check_same(exact, TOLERANCES[result.trial.setting.precision])
    reporter.stage("measuring latency")
    image = images.decode(0)
    rows = []
    for one in found:
        usual, slow = latency(runners[one.name], image)
        n_bytes = _size(job.place / job.files[one.name][0]) if one.name in job.files else 0
        rows.append(replace(one, milliseconds=usual, slow_milliseconds=slow, n_bytes=n_bytes))
    return rows


def _size(file: Path) -> int:
    """Return the bytes of a file, and of what ONNX keeps beside it."""
    return sum(one.stat().st_size for one in file.parent.glob(f"{file.name}*"))


def _write_rest(job: _Job, measured: Sequence[Comparison]) -> None:
    """Write class names, facts, an example and the card, which comes last."""
    result, final, place = job.result, job.final, job.place
    texts = {
        CLASSES: json.dumps(list(final.classes), ensure_ascii=False, indent=1),
        "example.py": card.example(job.target.form, final),
        FACTS: json.dumps(_facts(job, measured), ensure_ascii=False, indent=1),
        "README.md": card.model_card(result, final, job.target.form, measured, job.chosen_by),
    }
    for name, text in texts.items():
        with replaced(place / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _facts(job: _Job, measured: Sequence[Comparison]) -> dict[str, Any]:
    trial, final = job.result.trial, job.final
    return {
        "format": FORMAT,
        "form": job.target.form,
        "title": trial.title,
        "trial": trial.key,
        "n_classes": len(final.classes),
        # Of the network as it was verified; names of classes and texts may be edited.
        "sha256": {
            file.name: sha256_file(file)
            for file in sorted(job.place.iterdir())
            if file.name not in TEXTS and not file.name.startswith(".")
        },
        "multilabel": final.several,
        "input": final.preprocessing.record,
        "load": load_name(trial.model),
        "licence": card.weights_licence(trial),
        "network": final.origin,
        "chosen": job.result.selection.chosen if job.result.selection else {},
        "chosen_by": job.chosen_by,
        "rank": final.choice,
        "metrics": job.result.metrics,
        "n_test": job.result.n_test,
        "measured": [asdict(one) for one in measured],
        "made_by": {**provenance(), "packages": card.packages(job.target.form)},
        "measured_by": job.result.provenance.get("versions", {}),
    }
