import pytest

from servegen.errors import ModelError
from servegen.progress import Silent
from servegen.sources import StoreOptions, resolve


@pytest.fixture
def read(model_folder, tmp_path):
    def make(**texts):
        for name, text in texts.items():
            file = model_folder / name.replace("__", "/").replace("_yaml", ".yaml").replace("_txt", ".txt")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        options = StoreOptions(tracking_uri=None, registry_uri=None, cache=tmp_path / "cache")
        return resolve(str(model_folder), options, Silent())

    return make


def test_included_files_constraints_and_indexes_are_told_apart(read):
    model = read(
        requirements_txt="-r more/other.txt\n-c limits.txt\n-i https://a.example/simple\n"
        "--extra-index-url=https://b.example/simple\n--find-links https://c.example/page\n"
        "--prefer-binary\nsix\n",
        more__other_txt="-chard.txt\nnumpy==2\n--extra-index-url https://b.example/simple\n",
        more__hard_txt="scipy<2\n",
        limits_txt="six<2 # old\n",
    )
    assert model.requirements == ("numpy==2", "six")
    assert model.constraints == ("scipy<2", "six<2")
    assert model.indexes.index_url == "https://a.example/simple"
    assert model.indexes.extra_index_urls == ("https://b.example/simple",)
    assert model.indexes.find_links == ("https://c.example/page",)


def test_the_pip_part_of_conda_yaml_is_read_like_a_file(read, model_folder):
    (model_folder / "requirements.txt").unlink()
    model = read(
        conda_yaml="dependencies:\n- python=3.11.7\n- pip<24\n- pytorch=2.1\n"
        "- pip:\n  - -r pip.txt\n  - six # x\n",
        pip_txt="numpy==2\n-c limits.txt\n",
        limits_txt="six<2\n",
    )
    assert model.requirements == ("numpy==2", "six")
    assert model.constraints == ("six<2",)
    assert model.conda == ("pytorch=2.1",)


def test_packages_of_conda_are_seen_beside_requirements_txt(read):
    model = read(
        conda_yaml="dependencies:\n- python=3.11.7\n- conda-forge::pip\n- setuptools==60\n- wheel\n"
        "- pip-tools\n- python-graphviz\n- conda-forge::ffmpeg>=6\n- pip:\n  - six\n"
    )
    assert model.conda == ("pip-tools", "python-graphviz", "conda-forge::ffmpeg>=6")


def test_conda_yaml_without_a_pip_part_records_no_requirements(read, model_folder):
    (model_folder / "requirements.txt").unlink()
    with pytest.raises(ModelError, match="records no Python requirements"):
        read(conda_yaml="dependencies:\n- python=3.11.7\n- numpy\n")


def test_a_wheel_of_the_model_is_named_with_its_hash(read, model_folder):
    read(wheels__placeholder_txt="")
    (model_folder / "wheels/my_pkg-1.0+local-py3-none-any.whl").write_bytes(b"w")
    digest = "50e721e49c013f00c62cf59f2163542a9d8df02464efeb615d31051b0fddc326"
    for line in (
        "wheels/my_pkg-1.0+local-py3-none-any.whl",
        "./wheels/my_pkg-1.0%2Blocal-py3-none-any.whl",
        "wheels/../wheels/my_pkg-1.0+local-py3-none-any.whl",
    ):
        found = read(requirements_txt=f"{line}\n").requirements
        expected = f"my-pkg @ wheels/my_pkg-1.0%2Blocal-py3-none-any.whl#sha256={digest}"
        assert found == ((expected,) if ".." not in line else (line,))


def test_extras_and_markers_of_a_wheel_are_kept(read, model_folder):
    (model_folder / "x-1-py3-none-any.whl").write_bytes(b"w")
    found = read(requirements_txt='x-1-py3-none-any.whl[fast] ; python_version > "3"\n').requirements[0]
    assert found.startswith("x[fast] @ x-1-py3-none-any.whl#sha256=")
    assert found.endswith('; python_version > "3"')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-c ../limits.txt", "not in the model folder"),
        ("--constraint /etc/hostname", "not in the model folder"),
        ("-c requirements.txt", "includes it in turn"),
        ("-r absent.txt", "not in the model folder"),
        ("--find-links /opt/wheels", "no folder of the model"),
        ("-f ../wheels", "no folder of the model"),
    ],
)
def test_what_lies_outside_of_the_model_is_not_read(read, text, said):
    with pytest.raises(ModelError, match=said) as caught:
        read(requirements_txt=f"{text}\n")
    assert caught.value.hint


def test_lines_that_cannot_be_used_are_left_to_the_locker(read):
    """`servegen inspect` shows them."""
    assert read(requirements_txt="-e .\n./lib\ngit+https://host/x\n--pre\n").requirements == (
        "-e .",
        "./lib",
        "git+https://host/x",
        "--pre",
    )


def test_a_uv_lock_counts_only_with_its_project_and_without_added_wheels(read, model_folder):
    assert not read(**{"uv.lock": "version = 1\n"}).uv_lock
    assert read(**{"pyproject.toml": "[project]\n"}).uv_lock
    mlmodel = model_folder / "MLmodel"
    mlmodel.write_text(f"{mlmodel.read_text()}wheels: {{platform: Linux}}\n")
    assert not read().uv_lock
