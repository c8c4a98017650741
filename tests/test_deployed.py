import pytest

from servegen.config import Config, environment
from servegen.deployed import instance
from servegen.errors import ConfigError
from servegen.job import Job
from servegen.progress import Silent
from servegen.values.deployment import Settings
from tests.server.models import save_linear


def named(name=None, **config):
    job = Job(config=Config(**config), environment=environment({}), lock_file=None)
    return instance(name, job, Silent())


def test_a_name_that_is_given_counts():
    assert named("wine-prod", model="models:/iris@champion") == "wine-prod"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), "iris"),
        (Settings(environment="prod"), "iris-prod"),
        (Settings(name="flowers", environment="prod"), "flowers-prod"),
    ],
)
def test_without_one_it_is_what_deploy_makes_of_servegen_yaml(settings, expected):
    assert named(model="models:/iris@champion", deploy=settings) == expected


@pytest.mark.filterwarnings("ignore")  # MLflow has advice for authors of models
def test_the_name_of_a_model_outside_a_registry_is_looked_up(tmp_path):
    folder = save_linear(tmp_path / "linear")
    assert named(model=str(folder)) == "linear"


def test_nothing_to_go_by_is_an_error_with_the_way_out():
    with pytest.raises(ConfigError, match="no deployment is named"):
        named()
