"""Options about who may call a model change single keys of servegen.yaml."""

from servegen.cli.options import job

YAML = """\
deploy:
  network_policy: {ingress: [batch]}
  monitoring: {labels: {release: prometheus}}
  route: {gateway: old, gateway_namespace: somewhere, section: https, hostnames: [old.example.com]}
"""


def test_options_change_one_key_and_leave_its_neighbours(tmp_path):
    file = tmp_path / "servegen.yaml"
    file.write_text(YAML)
    given = {
        "config_file": file,
        "network_policy": True,
        "monitoring": "podmonitor",
        "gateway": "public",
        "hostnames": ("iris.example.com",),
    }
    deploy = job(None, given).config.deploy
    assert (deploy.network_policy.enabled, deploy.network_policy.ingress) == (True, ("batch",))
    assert (deploy.monitoring.discovery, deploy.monitoring.labels) == (
        "podmonitor",
        {"release": "prometheus"},
    )
    assert (deploy.route.gateway, deploy.route.gateway_namespace) == ("public", None)
    assert (deploy.route.section, deploy.route.hostnames) == ("https", ("iris.example.com",))


def test_a_gateway_may_be_named_with_its_namespace(tmp_path):
    file = tmp_path / "servegen.yaml"
    file.write_text("{}")
    route = job(None, {"config_file": file, "gateway": "gateways/public"}).config.deploy.route
    assert (route.gateway, route.gateway_namespace) == ("public", "gateways")


def test_without_options_the_file_counts(tmp_path):
    file = tmp_path / "servegen.yaml"
    file.write_text(YAML)
    deploy = job(None, {"config_file": file}).config.deploy
    assert deploy.route.gateway == "old"
    assert deploy.monitoring.discovery == "annotations"
    assert not deploy.network_policy.enabled
