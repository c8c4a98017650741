"""Which conditions stop a promotion, and what a commit says of them."""

import pytest

from servegen.errors import PromotionError
from servegen.gitops.promotion import Gate, check, paragraph, profiled, recorded_image
from servegen.planning.deployment import plan
from servegen.values.deployment import Settings
from servegen.values.gitops import Record
from servegen.values.image import ImageRef

REF = ImageRef(registry="r.example.com", repository="live/iris", tag="7", digest="sha256:" + "a" * 64)
RECORD = Record(
    model_name="iris",
    version="7",
    image=REF,
    environment="staging",
    uri="models:/iris@champion",
    pin="models:/iris/7",
    run_id="0f3c",
    model_digest="sha256:" + "1" * 64,
    profile="9b1d",
)


@pytest.mark.parametrize(
    ("met", "required", "says"),
    [
        (True, True, None),
        (None, False, None),
        (False, False, "signed: why"),
        (False, True, "signed: why"),
        (None, True, "signed is required and could not be checked: why"),
    ],
)
def test_what_is_not_met_stops_and_what_is_required_has_to_be_known(met, required, says):
    gates = [Gate(name="healthy", met=None, why="no cluster"), Gate(name="signed", met=met, why="why")]
    wanted = {"signed"} if required else set()
    if says is None:
        check(gates, wanted)
    else:
        with pytest.raises(PromotionError, match=f"^{says}$") as caught:
            check(gates, wanted)
        assert "--sign-key" in caught.value.hint


def test_a_commit_lists_what_was_found():
    gates = [profiled(RECORD), Gate(name="healthy", met=None, why="no cluster")]
    assert paragraph("staging", "4f53cda18c2b77", gates).splitlines() == [
        "Promoted from staging at 4f53cda18c2b: the same image, not built again.",
        "",
        "- profiled: yes (profile 9b1d)",
        "- healthy: not checked (no cluster)",
    ]


def test_without_a_registry_the_record_is_enough_to_plan_the_same_release():
    made = plan(recorded_image(RECORD, REF), Settings(environment="production"))
    model = made.model
    assert (model.name, model.version, model.pin, model.uri) == ("iris", "7", RECORD.pin, RECORD.uri)
    assert (model.run_id, model.digest, made.image) == ("0f3c", RECORD.model_digest, REF)
