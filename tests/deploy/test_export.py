"""Exports of results: verified, whole or not at all, and of use without headstart."""

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

import headstart as hs
import small_network
from conftest import write_folder
from headstart import datasets, methods
from headstart.context import RunContext
from headstart.datasets.dataset_name import DatasetName
from headstart.deploy import export, runners
from headstart.deploy.export import ExportTarget, export_result
from headstart.deploy.final_network import best_result, final_network, find_result, kept_models_of
from headstart.deploy.runners import Comparison, score_losses
from headstart.files import sha256_file
from headstart.registry import METHODS
from headstart.spec import Result
from headstart.store import ResultStore
from headstart.study import Study
from refusals import ended, refused

OWN = f"{Path(small_network.__file__)}:build?size=16&mean=0.5,0.5,0.5&std=0.25,0.25,0.25"
TIMM = "timm:test_efficientnet?weights=random&seed=1&size=32"
TUNED = {
    "name": "finetune", "steps": 20, "batch_size": 50, "learning_rates": [0.3], "decays": [0.0],
    "side": 6,
}  # fmt: skip
CONTEXT = RunContext(device="cpu")


def study(*settings, models=(OWN,), datasets=("digits",), limit=60) -> Study:
    return Study(models=list(models), datasets=list(datasets), limit=limit, settings=list(settings))


def images_of(place: Path, n: int = 4) -> list[Path]:
    """Write images of several sizes and modes."""
    place.mkdir()
    random, paths = np.random.RandomState(0), []
    for i, mode in enumerate(("RGB", "L", "RGBA", "P")[:n]):
        shape = (9 + 3 * i, 14, 4) if mode == "RGBA" else (9 + 3 * i, 14, 3)
        image = Image.fromarray(random.randint(0, 256, shape).astype(np.uint8))
        paths.append(place / f"{i}.png")
        image.convert(mode).save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A store with a linear, a tuned and a knn result, whose networks are kept beside it."""
    folder = tmp_path_factory.mktemp("deploy")
    store = folder / "r.db"
    found = study("linear", TUNED, "knn").run(store, device="cpu", keep_models=f"{store}.models")
    assert not found.failures
    return ResultStore(store), {result.trial.setting.name: result for result in found.results}


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """Exports by (setting, form), each made once."""
    made, folder = {}, tmp_path_factory.mktemp("exports")

    def get(setting: str, form: str):
        if (setting, form) not in made:
            out = folder / f"{setting}-{form}"
            made[setting, form] = write(run, setting, form, out)
        return made[setting, form]

    return get


@pytest.fixture
def edited(exported, tmp_path) -> Path:
    """A copy of an export, to be changed."""
    return shutil.copytree(exported("linear", "onnx").folder, tmp_path / "edited")


@pytest.fixture
def kept(run, tmp_path) -> Path:
    """A copy of a kept network, to be changed."""
    store, results = run
    name = results["linear"].trial.key[:12]
    return shutil.copytree(f"{store.path}.models/{name}", tmp_path / "kept")


def write(run, setting: str, form: str, out: Path, **options):
    store, results = run
    result = results[setting]
    kept = kept_models_of(store, None)
    return export_result(
        result,
        store.predictions(result.trial.key),
        lambda: final_network(result, CONTEXT, kept),
        ExportTarget(out, form, **options),
        CONTEXT,
    )


@pytest.mark.parametrize(("setting", "form"), [
    ("linear", "onnx"), ("finetune", "onnx"),
    pytest.param("linear", "torch", marks=pytest.mark.slow),
    pytest.param("finetune", "torch", marks=pytest.mark.slow),
])  # fmt: skip
def test_an_export_gives_what_was_measured(setting, form, run, exported, tmp_path):
    done = exported(setting, form)
    assert {one.name for one in done.measured} == {
        "torch",
        "onnxruntime" if form == "onnx" else "torch program",
    }
    for one in done.measured:
        assert one.largest < 1e-3
        assert (one.changed, one.n) == (0, 60)
        assert one.score == run[1][setting].accuracy
    # And on new images, by the folder, the kept network and the store alike.
    paths = images_of(tmp_path / "images")
    store, results = run
    key = results[setting].trial.key
    answers = [
        hs.load(done.folder)(paths),
        hs.load(f"{store.path}.models/{key[:12]}")(paths),
        hs.load(key[:9], store=store.path)(paths),
    ]
    for one in answers:
        assert one.names == tuple(map(str, paths))
        assert one.classes == tuple("0123456789")
        np.testing.assert_allclose(one.probabilities, answers[2].probabilities, atol=2e-3)


@pytest.mark.parametrize("form", ["onnx", pytest.param("torch", marks=pytest.mark.slow)])
def test_the_example_runs_outside_of_the_project(form, exported, tmp_path):
    done = exported("linear", form)
    (path, *_) = images_of(tmp_path / "images", n=1)
    script = (done.folder / "example.py").read_text()
    assert "headstart" not in script
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, str(done.folder / "example.py"), str(path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=True,
    )
    first = ran.stdout.splitlines()[0].split()
    expected = hs.load(done.folder)(path)
    assert len(ran.stdout.splitlines()) == 5
    assert first[2] == expected.predicted[0]
    assert float(first[0]) == pytest.approx(100 * expected.probabilities.max(), abs=0.02)


@pytest.mark.parametrize("names", [["deep.png"], [], ["deep.png", "deep.png"]])
def test_an_example_refuses_what_it_would_clip_and_tells_how_to_call_it(names, exported, tmp_path):
    done = exported("linear", "onnx")
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "deep.png")
    ran = subprocess.run(
        [sys.executable, str(done.folder / "example.py"), *names],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)


@pytest.mark.parametrize(("name", "content", "code"), [
    ("classes.json", '["only one"]', "export.classes"),
    ("classes.json", '{"a": 1}', "export.classes"), ("classes.json", None, "export.classes"),
    ("model.safetensors", "cut", "export.file_changed"),
    ("model.safetensors", None, "export.file_missing"),
    ("model.onnx", "cut", "export.file_changed"),
    ("headstart.json", '{"format": 2}', "export.format"),
    ("headstart.json", "[]", "export.facts_damaged"),
    ("headstart.json", "cut", "export.facts_damaged"),
    ("headstart.json", '{"format": 1}', "export.facts_damaged"),
    ("headstart.json", None, "export.folder_unknown"),
])  # fmt: skip
def test_an_edited_export_is_refused(name, content, code, edited):
    if content is None:
        (edited / name).unlink()
    else:
        (edited / name).write_text(content)
    with refused(code, path=str(edited)):
        hs.load(edited)


def edit_json(file: Path, part: str | None, name: str, value: object) -> None:
    """Write another value of a field into a JSON file, or one of a record in it."""
    record = json.loads(file.read_text())
    (record[part] if part else record)[name] = value
    file.write_text(json.dumps(record))


IMPOSSIBLE_INPUTS = [
    ("interpolation", "bxcubic"), ("view", "hole"), ("size", 0), ("size", 1.5), ("size", None),
    ("size", 10**9),
    ("mean", [0.5, 0.5]), ("mean", [0.5, 0.5, float("nan")]), ("std", [0.5, 0.5, 0]),
    ("std", "0.5"), ("side", -1), ("decoding", {"like": "xx"}), ("unheard_of", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), IMPOSSIBLE_INPUTS)
def test_an_input_that_no_network_takes_is_a_damaged_file(name, value, kept, edited):
    edit_json(kept / "config.json", "input", name, value)
    with refused("export.config_damaged", path=str(kept)):
        hs.load(kept)
    edit_json(edited / "headstart.json", "input", name, value)
    with refused("export.facts_damaged", path=str(edited)):
        hs.load(edited)


@pytest.mark.parametrize("classes", [None, "0123456789", list("012"), [*"012345678", 9]])
def test_classes_that_do_not_fit_a_kept_network_are_a_damaged_file(classes, kept):
    edit_json(kept / "config.json", None, "classes", classes)
    with refused("export.config_damaged", path=str(kept)):
        hs.load(kept)


def test_changed_weights_of_a_kept_network_are_refused(kept):
    weights = kept / "model.safetensors"
    content = bytearray(weights.read_bytes())
    # Of a weight: the header still fits.
    content[-100] ^= 1
    weights.write_bytes(content)
    with refused("storage.damaged", name="model.safetensors"):
        hs.load(kept)
    # Releases before wrote no digest.
    config = json.loads((kept / "config.json").read_text())
    assert config.pop("sha256") != sha256_file(weights)
    (kept / "config.json").write_text(json.dumps(config))
    hs.load(kept)


def test_names_of_classes_may_be_edited(edited):
    names = [f"digit {i}" for i in range(10)]
    (edited / "classes.json").write_text(json.dumps(names))
    assert hs.load(edited).classes == tuple(names)


def test_an_export_for_the_cpu_refuses_a_gpu(exported):
    with refused("device.cpu_only", form="onnx"):
        hs.load(exported("linear", "onnx").folder, context=RunContext(device="cuda"))


def test_the_card_has_the_numbers(run, exported):
    done = exported("linear", "onnx")
    result = run[1]["linear"]
    card = ModelCard.load(done.folder / "README.md")
    assert card.data.library_name == "onnx"
    numbers = {each.metric_name: each.metric_value for each in card.data.eval_results}
    assert numbers == pytest.approx(result.metrics)
    assert f"top-1 {100 * result.accuracy:.2f} % (95 % interval" in card.text
    assert f"lambda {result.selection.chosen['lambda']}" in card.text
    facts = json.loads((done.folder / "headstart.json").read_text())
    assert facts["trial"] == result.trial.key
    assert json.loads((done.folder / "classes.json").read_text()) == list("0123456789")
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "README.md", "classes.json", "example.py", "headstart.json", "model.onnx",
        "model.safetensors",
    ]  # fmt: skip


def test_a_file_that_loses_a_point_is_warned_of():
    def row(name, score):
        return Comparison(name, 500, 0, 0.0, "top-1", score, None, None)

    rows = [row("torch", 0.85), row("float16", 0.8402), row("int8", 0.84), row("timm", 0.86)]
    (warning,) = score_losses(rows)
    assert warning.startswith("int8 loses 1.00 points: top-1 84.00 % on 500 test images")


@pytest.mark.slow
def test_reduced_precision_is_measured_beside_the_full_one(run, tmp_path):
    done = write(run, "linear", "onnx", tmp_path / "out", half=True, int8=True)
    rows = {one.name: one for one in done.measured}
    assert list(rows) == ["torch", "onnxruntime", "float16", "int8"]
    assert rows["onnxruntime"].largest <= rows["float16"].largest < 0.02
    assert all(one.milliseconds > 0 for one in rows.values())
    assert rows["float16"].n_bytes < rows["onnxruntime"].n_bytes
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| float16 |" in card
    assert "| int8 |" in card


def test_a_classifier_that_was_not_kept_is_fitted_again(run, tmp_path):
    store, results = run
    found = final_network(results["linear"], CONTEXT, None)
    assert found.origin == "fitted again"
    kept = final_network(results["linear"], CONTEXT, kept_models_of(store, None))
    assert kept.origin == "kept"
    for one, other in zip(found.network.parameters(), kept.network.parameters(), strict=True):
        np.testing.assert_allclose(one.detach(), other.detach(), atol=1e-5)


def test_timm_loads_its_folder(tmp_path, cli, monkeypatch):
    import timm
    import torch

    store, out = tmp_path / "r.db", tmp_path / "out"
    study("linear", models=[TIMM]).run(store, device="cpu")
    arguments = ("export", "--best", "--store", store, "--to", "timm", "--out", out, "--json", "-q")
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["network"] == "fitted again"
    rows = {one["name"]: one for one in record["measured"]}
    # Pillow resizes for both, so that the pixels are the same.
    assert rows["timm"]["largest"] < 1e-3
    network = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    assert network.pretrained_cfg["label_names"] == list("0123456789")
    (path, *_) = images_of(tmp_path / "images", n=1)
    monkeypatch.setattr(sys, "argv", ["example.py", str(path)])
    found = hs.load(out)(path)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    with torch.inference_mode():
        shares = network(transform(Image.open(path).convert("RGB"))[None])[0].softmax(0).numpy()
    np.testing.assert_allclose(shares, found.probabilities[0], atol=1e-4)


def test_several_labels_per_image(tmp_path):
    each = {"dark": 8, "light": 8}
    photos = write_folder(tmp_path / "photos", {"all": each})
    lines = ["image,labels"]
    for path in sorted(photos.rglob("*.png")):
        both = "|old" if int(path.stem) % 2 else ""
        lines.append(f"{path},{path.parent.name}{both}")
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(lines) + "\n")
    store = tmp_path / "r.db"
    found = study("linear", datasets=[f"{table}?sep=|"], limit=None).run(store, device="cpu")
    (result,) = found.results
    assert result.trial.dataset.multilabel
    done = write((ResultStore(store), {"linear": result}), "linear", "onnx", tmp_path / "out")
    assert max(one.largest for one in done.measured) < 1e-3
    answers = hs.load(tmp_path / "out")(photos)
    assert answers.several
    assert all(isinstance(names, tuple) for names in answers.predicted)
    np.testing.assert_allclose(
        answers.probabilities, hs.load(result.trial.key, store=store)(photos).probabilities,
        atol=1e-3,
    )  # fmt: skip


@pytest.mark.parametrize("moment", ["verifying", pytest.param("writing", marks=pytest.mark.slow)])
def test_an_interrupted_export_leaves_nothing(moment, run, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    where = {"verifying": (export, "compare"), "writing": (export, "_facts")}[moment]
    monkeypatch.setattr(*where, interrupted)
    out = tmp_path / "deep" / "out"
    with pytest.raises(KeyboardInterrupt):
        write(run, "linear", "torch", out)
    assert list((tmp_path / "deep").iterdir()) == []
    monkeypatch.undo()
    # An empty folder is taken, and stays the one that it is: a volume may be mounted there.
    out.mkdir()
    before = out.stat().st_ino
    (tmp_path / "link").symlink_to(out)
    write(run, "linear", "torch", tmp_path / "link")
    assert hs.load(out).classes == tuple("0123456789")
    assert out.stat().st_ino == before
    with refused("export.folder_exists", path=str(out)):
        write(run, "linear", "torch", out)


def test_a_folder_that_the_runtimes_cannot_name_is_refused_at_once(run, tmp_path):
    with refused("export.folder_name", path=f"{tmp_path}/caf\\xe9"):
        write(run, "linear", "onnx", Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")))
    assert list(tmp_path.iterdir()) == []


def test_other_probabilities_than_were_measured_are_refused(run, tmp_path, monkeypatch):
    real = runners.stored_probabilities
    monkeypatch.setattr(runners, "stored_probabilities", lambda one: real(one)[:, ::-1])
    with refused("export.differs", name="torch"):
        write(run, "linear", "torch", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_operators_that_a_runtime_lacks_are_named(run, tmp_path, monkeypatch):
    def unexportable(*_, **__):
        """Raise as torch.onnx does."""
        raise RuntimeError("No ONNX function found for <OpOverload(op='aten.special_bessel_j0')>")

    monkeypatch.setattr("torch.onnx.export", unexportable)
    with refused("export.operators", runtime="ONNX", operators=["aten.special_bessel_j0"]):
        write(run, "linear", "onnx", tmp_path / "out")
    error = runners._not_loaded(
        tmp_path / "x", RuntimeError("Could not find an implementation for Foo(7) node with name")
    )
    assert (error.code, error.values["operators"]) == ("export.operators", ["Foo"])


def test_a_full_disk_is_no_lacking_operator(run, tmp_path, monkeypatch):
    class FullDisk:
        def save(self, file):
            raise OSError(errno.ENOSPC, "No space left on device", file)

    monkeypatch.setattr("torch.onnx.export", lambda *_, **__: FullDisk())
    with refused("storage.full"):
        write(run, "linear", "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_quantized_names_the_option(run, exported, tmp_path, monkeypatch):
    def failing(*_, **__):
        raise RuntimeError("no such thing")

    made = exported("linear", "onnx").folder / "model.onnx"
    monkeypatch.setattr(export, "_save_onnx", lambda _, file: shutil.copy(made, file))
    monkeypatch.setattr("onnxruntime.quantization.quantize_static", failing)
    with refused("export.not_quantized", reason="no such thing"):
        write(run, "linear", "onnx", tmp_path / "out", int8=True)


@pytest.mark.parametrize(("form", "file", "kind"), [
    ("onnx", "model.onnx", runners.OnnxRunner),
    pytest.param("torch", "model.pt2", runners.ProgramRunner, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_program_that_fails_on_an_image_is_one_line(form, file, kind, exported):
    runner = kind(exported("linear", form).folder / file)
    with refused("export.not_run", size=(4, 5)):
        runner.run(np.zeros((1, 4, 5, 4), np.uint8))


def test_a_missing_extra_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr(runners, "find_spec", lambda name: None)
    with refused("export.package_missing", packages=["onnx", "onnxruntime", "onnxscript"]):
        write(run, "linear", "onnx", tmp_path / "out")


def test_what_was_not_kept_is_told_the_command_that_measures_it_again(run, tmp_path):
    """With the protocol of its search: another one may take days."""
    _, results = run
    photos = write_folder(tmp_path / "my photos", {"all": {"dark": 9, "light": 9}}) / "all"
    place = DatasetName.again(datasets.find(f"{photos}?split_seed=3"))
    assert datasets.find(place).split_seed == 3
    quick = methods.find("finetune", protocol="quick", precision="bf16")
    chosen = datasets.find(f"{photos}?split_seed=3", limit=4)
    trial = results["finetune"].trial.model_copy(
        update={"setting": quick, "dataset": chosen, "seed": 2}
    )
    with refused("export.not_kept", options="") as refusal:
        final_network(results["finetune"].model_copy(update={"trial": trial}), CONTEXT, None)
    words = shlex.split(refusal.value.values["command"])
    assert words[:2] == ["headstart", "run"]
    assert dict(zip(words[2:-3:2], words[3:-3:2], strict=True)) == {
        "--models": trial.model.name,
        "--datasets": f"{photos}?split_seed=3",
        "--settings": "finetune:quick",
        "--seeds": "2",
        "--limit": "4",
        "--precision": "bf16",
    }
    own = methods.find("finetune", protocol="quick", learning_rates=(0.1,))
    trial = trial.model_copy(update={"setting": own})
    with refused("export.not_kept", options="learning_rates"):
        final_network(results["finetune"].model_copy(update={"trial": trial}), CONTEXT, None)


def test_what_has_no_network_is_refused(run, tmp_path):
    store, results = run
    with refused("export.not_kept", key=results["finetune"].trial.key):
        final_network(results["finetune"], CONTEXT, None)
    with refused("export.no_network", setting="knn"):
        final_network(results["knn"], CONTEXT, None)
    with refused("export.not_timm", source="function"):
        write(run, "linear", "timm", tmp_path / "out")
    with refused("export.folder_unknown"):
        hs.load(tmp_path)
    with refused("export.folder_unknown"):
        hs.load(tmp_path / "nowhere")
    with refused("export.folder_unknown"):
        hs.load("./no/where", store=store.path)
    with refused("store.trial_unknown"):
        find_result(store, "ffffffffffff")
    with refused("store.trial_ambiguous"):
        hs.load("digits", store=store.path)


def test_best_is_by_validation(run, monkeypatch):
    store, results = run
    usable = [results["linear"], results["finetune"]]

    def validation(result: Result) -> float:
        return max(float(row["accuracy"]) for row in result.selection.validation_curve)

    assert best_result(store).trial.key == max(usable, key=validation).trial.key
    with refused("name.unknown"):
        best_result(store, "glyphs")
    for name in ("linear", "finetune"):
        monkeypatch.setattr(type(METHODS[name]), "has_network", False, raising=False)
    with refused("export.none"):
        best_result(store)


@pytest.mark.parametrize(("arguments", "code"), [
    ((), "command.missing"), (("KEY", "--best"), "command.conflict"),
    (("KEY", "--dataset", "digits"), "command.conflict"),
    (("KEY", "--to", "torch", "--int8"), "command.conflict"), (("nothing",), "store.trial_unknown"),
    (("KEY", "--to", "coreml"), "command.value"),
])  # fmt: skip
def test_command_lines_that_are_refused(arguments, code, run, cli, tmp_path):
    store, results = run
    given = [results["linear"].trial.key if one == "KEY" else one for one in arguments]
    ended(cli("export", *given, "--store", store.path, "--out", tmp_path / "o", "-q"), code)


def test_keep_puts_networks_beside_the_store(cli, tmp_path):
    store = tmp_path / "r.db"
    arguments = ("--models", OWN, "--datasets", "digits", "--limit", 40, "-q")
    outcome = cli("run", *arguments, "--store", store, "--keep")
    assert outcome.code == 0, outcome.err
    (place,) = Path(f"{store}.models").iterdir()
    assert (place / "model.safetensors").is_file()
