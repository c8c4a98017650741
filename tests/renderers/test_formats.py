import pytest

from servegen import renderers
from servegen.errors import RenderError
from servegen.renderers.helm import Helm
from servegen.renderers.manifests import Manifests


def test_a_format_is_called_as_its_file():
    assert set(renderers.formats()) >= {"helm", "manifests"}
    assert isinstance(renderers.renderer("helm"), Helm)
    assert isinstance(renderers.renderer("manifests"), Manifests)


def test_an_unknown_format_is_refused_with_those_that_exist():
    with pytest.raises(RenderError, match="'terraform'") as caught:
        renderers.renderer("terraform")
    assert ", ".join(renderers.formats()) in caught.value.hint
