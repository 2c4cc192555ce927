import inspect
import pickle
import re

from headstart import errors


def test_all_errors_are_in_one_tree_and_in_its_drawing():
    for name in errors.__all__:
        error = getattr(errors, name)
        assert inspect.isclass(error)
        assert issubclass(error, errors.HeadstartError)
        assert name in errors.__doc__


def test_codes_are_stable_names_and_differ():
    codes = [getattr(errors, name).code for name in errors.__all__]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(\.[a-z_]+)?", code) for code in codes)


def test_code_and_values_survive_a_worker():
    error = errors.DatasetError("no", code="dataset.split_unknown", found=["a"])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.code, again.values) == ("no", error.code, {"found": ["a"]})
    assert errors.DatasetError.code == "dataset"
    unknown = errors.UnknownNameError("model", "resnet5", ["resnet50"])
    again = pickle.loads(pickle.dumps(unknown))
    assert (str(again), again.near, again.code) == (str(unknown), ["resnet50"], "name.unknown")


def test_many_known_names_are_cut_short():
    error = errors.UnknownNameError("model", "zzz", [f"name{i}" for i in range(1302)])
    assert len(str(error)) < 300
    assert "1,302" in str(error)


def test_an_unknown_name_tells_the_nearest():
    error = errors.UnknownNameError("model", "Resnet5", ["resnet50", "vgg16"])
    assert str(error) == "unknown model 'Resnet5': did you mean resnet50?"
    error = errors.UnknownNameError("model", "zzz", ["resnet50", "vgg16"])
    assert str(error) == "unknown model 'zzz': known: resnet50, vgg16"
