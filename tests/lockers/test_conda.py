from dataclasses import replace

import pytest

from servegen.errors import LockError
from servegen.lockers import Serving, merged_requirements
from servegen.lockers.conda import TABLE, translated


def lines(model, *conda, mapped=None, dropped=()):
    return translated(replace(model, conda=conda), mapped or {}, dropped)


def test_what_conda_alone_has_is_refused_by_name_with_the_translation(model):
    with pytest.raises(LockError, match="wants pytorch, ffmpeg, odd from conda") as caught:
        lines(model, "pytorch=2.1.0", "conda-forge::ffmpeg", "odd>=1")
    hint = caught.value.hint
    assert "--conda-map pytorch=torch" in hint
    assert "--drop-conda ffmpeg --apt ffmpeg, which is the same in Debian" in hint
    assert "--conda-map odd=" in hint


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("pytorch", "torch"),
        ("pytorch=2.1", "torch==2.1.*"),
        ("pytorch 2.1.*", "torch==2.1.*"),
        ("pytorch==2.1.0", "torch==2.1.0"),
        ("pytorch=2.1.0=py311_cuda", "torch==2.1.0"),
        ("pytorch =2.1.*=cpu_*", "torch==2.1.*"),
        ("pytorch>=2.1,<3", "torch<3,>=2.1"),
        ("conda-forge/linux-64::PyTorch>=2", "torch>=2"),
        ("pytorch *", "torch"),
    ],
)
def test_a_version_of_conda_becomes_one_of_the_index(model, entry, line):
    assert lines(model, entry, mapped={"pytorch": "torch"}) == (line,)


@pytest.mark.parametrize("entry", ["pytorch 1.2|1.3", "pytorch[version='>=1']", "pytorch ~~2"])
def test_a_version_that_has_no_counterpart_is_refused(model, entry):
    with pytest.raises(LockError, match="cannot be translated"):
        lines(model, entry, mapped={"pytorch": "torch"})


def test_what_pip_brings_too_needs_no_translation(model):
    assert lines(model, "scikit-learn=1.9", "mlflow") == ()
    torch = replace(model, requirements=("torch==2.1",))
    assert lines(torch, "pytorch=2.1") == ()


def test_what_is_dropped_is_left_out(model):
    assert lines(model, "ffmpeg", "cudatoolkit=11", dropped=("ffmpeg", "cudatoolkit")) == ()


def test_a_translated_package_is_a_requirement_of_the_image(model):
    conda = replace(model, conda=("lightgbm=4.1", "openjdk"))
    serving = Serving(runtime="uvicorn", conda_map={"lightgbm": "lightgbm"}, drop_conda=("openjdk",))
    assert "lightgbm==4.1.*" in merged_requirements(conda, serving)


def test_names_of_the_table_are_those_of_conda_in_lower_case():
    assert all(name == name.lower() for name in TABLE)
