from servegen.oci.debian.libraries import debian_package


def test_package_names_are_those_of_the_release() -> None:
    assert debian_package("libglib-2.0.so.0", "bookworm") == "libglib2.0-0"
    assert debian_package("libglib-2.0.so.0", "trixie") == "libglib2.0-0t64"
    assert debian_package("libavcodec.so.59", "bookworm") == "libavcodec59"
    assert debian_package("libavcodec.so.59", "trixie") is None
    assert debian_package("libnobody.so.1", "bookworm") is None
