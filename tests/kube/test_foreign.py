from servegen.kube import foreign


def entry(manager, fields, operation="Update", **more):
    return {"manager": manager, "operation": operation, "fieldsV1": fields} | more


def applied(*entries):
    return {"metadata": {"managedFields": [entry("servegen", {"f:spec": {}}, "Apply"), *entries]}}


IMAGE = {
    "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"server"}': {".": {}, "f:image": {}}}}}}
}


def test_what_a_person_changed_is_named_with_manager_and_path():
    found = foreign.fields(applied(entry("kubectl-set", IMAGE)))
    assert found == ("kubectl-set: spec.template.spec.containers[server].image",)


def test_what_controllers_do_is_no_drift():
    scaled = {"f:spec": {"f:replicas": {}}}
    status = {"f:status": {"f:replicas": {}}}
    one = applied(
        entry("kube-controller-manager", scaled, subresource="scale"),
        entry("kube-controller-manager", status, subresource="status"),
        entry("servegen-handover", scaled, "Apply"),
    )
    assert foreign.fields(one) == ()


def test_an_object_of_another_tool_is_not_judged():
    assert foreign.fields({"metadata": {"managedFields": [entry("helm", IMAGE)]}}) == ()
