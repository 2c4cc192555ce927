import inspect

from headstart import errors


def test_all_errors_are_in_one_tree_and_in_its_drawing():
    for name in errors.__all__:
        error = getattr(errors, name)
        assert inspect.isclass(error)
        assert issubclass(error, errors.HeadstartError)
        assert name in errors.__doc__


def test_an_unknown_name_tells_the_nearest():
    error = errors.UnknownNameError("model", "Resnet5", ["resnet50", "vgg16"])
    assert str(error) == "unknown model 'Resnet5': did you mean resnet50?"
    error = errors.UnknownNameError("model", "zzz", ["resnet50", "vgg16"])
    assert str(error) == "unknown model 'zzz': known: resnet50, vgg16"
