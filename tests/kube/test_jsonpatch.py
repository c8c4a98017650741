from servegen.kube.jsonpatch import changes


def test_equal_objects_need_no_change():
    assert changes({"a": {"b": [1]}}, {"a": {"b": [1]}}) == []


def test_only_what_differs_is_named_and_slashes_are_escaped():
    old = {"metadata": {"labels": {"a/b": "1", "c~d": "1", "e": "1"}}}
    new = {"metadata": {"labels": {"a/b": "2", "c~d": "2", "e": "1", "f": "3"}}}
    assert changes(old, new) == [
        {"op": "add", "path": "/metadata/labels/a~1b", "value": "2"},
        {"op": "add", "path": "/metadata/labels/c~0d", "value": "2"},
        {"op": "add", "path": "/metadata/labels/f", "value": "3"},
    ]


def test_a_map_that_loses_a_key_and_a_list_are_given_whole():
    old = {"spec": {"a": {"x": 1, "y": 2}, "b": [1, 2]}}
    new = {"spec": {"a": {"x": 1}, "b": [1]}}
    assert changes(old, new) == [
        {"op": "add", "path": "/spec/a", "value": {"x": 1}},
        {"op": "add", "path": "/spec/b", "value": [1]},
    ]


def test_the_first_container_is_changed_in_its_place():
    def pod(cpu, *others):
        return {"spec": {"containers": [{"name": "server", "cpu": cpu}, *others]}}

    sidecar = {"name": "sidecar"}
    assert changes(pod(1, sidecar), pod(2, sidecar)) == [
        {"op": "add", "path": "/spec/containers/0/cpu", "value": 2}
    ]
    (whole,) = changes(pod(1), pod(1, sidecar))
    assert whole["path"] == "/spec/containers"
