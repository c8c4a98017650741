from servegen.cli.options import job, job_of

FILE = """\
deploy: {resources: {cpu: 500m}, env: {LEVEL: "1"}}
environments: {prod: {deploy: {resources: {cpu: "4"}}}}
"""


def given(tmp_path, **options):
    (tmp_path / "servegen.yaml").write_text(FILE)
    return {"config_file": tmp_path / "servegen.yaml", **options}


def test_a_job_knows_what_its_environment_shares_with_others(tmp_path):
    made = job(None, given(tmp_path, environment_name="prod", name="flowers"))
    assert (made.config.deploy.resources.cpu, made.config.deploy.environment) == ("4", "prod")
    assert made.shared.resources.cpu == "500m"
    # What was typed is no override of the environment.
    assert (made.config.deploy.name, made.shared.name) == ("flowers", "flowers")


def test_without_an_environment_there_is_nothing_to_share(tmp_path):
    assert job(None, given(tmp_path)).shared is None


def test_a_job_of_many_knows_it_too(tmp_path):
    options = given(tmp_path, environment_name="prod")
    made = job_of(options.pop("config_file"), options)
    assert (made.config.deploy.resources.cpu, made.shared.resources.cpu) == ("4", "500m")
