"""Which Debian package has a library that wheels are known to need and not to bring."""

from __future__ import annotations

_PACKAGES: dict[str, tuple[str, str]] = {
    # soname → package in Debian 12 (bookworm) and 13 (trixie). Only libraries that are found without a
    # maintainer script: those of alternatives (BLAS) and of a folder of their own (libjvm) are not.
    "libEGL.so.1": ("libegl1", "libegl1"),
    "libGL.so.1": ("libgl1", "libgl1"),
    "libICE.so.6": ("libice6", "libice6"),
    "libOpenGL.so.0": ("libopengl0", "libopengl0"),
    "libSM.so.6": ("libsm6", "libsm6"),
    "libX11.so.6": ("libx11-6", "libx11-6"),
    "libXext.so.6": ("libxext6", "libxext6"),
    "libXrender.so.1": ("libxrender1", "libxrender1"),
    "libatomic.so.1": ("libatomic1", "libatomic1"),
    "libavcodec.so.59": ("libavcodec59", ""),
    "libavcodec.so.61": ("", "libavcodec61"),
    "libcurl.so.4": ("libcurl4", "libcurl4t64"),
    "libdbus-1.so.3": ("libdbus-1-3", "libdbus-1-3"),
    "libexpat.so.1": ("libexpat1", "libexpat1"),
    "libffi.so.8": ("libffi8", "libffi8"),
    "libfontconfig.so.1": ("libfontconfig1", "libfontconfig1"),
    "libfreetype.so.6": ("libfreetype6", "libfreetype6"),
    "libgdal.so.32": ("libgdal32", ""),
    "libgfortran.so.5": ("libgfortran5", "libgfortran5"),
    "libglib-2.0.so.0": ("libglib2.0-0", "libglib2.0-0t64"),
    "libgomp.so.1": ("libgomp1", "libgomp1"),
    "libgthread-2.0.so.0": ("libglib2.0-0", "libglib2.0-0t64"),
    "libhdf5_serial.so.103": ("libhdf5-103-1", ""),
    "libjpeg.so.62": ("libjpeg62-turbo", "libjpeg62-turbo"),
    "libmagic.so.1": ("libmagic1", "libmagic1t64"),
    "libnuma.so.1": ("libnuma1", "libnuma1"),
    "libodbc.so.2": ("libodbc2", "libodbc2"),
    "libpq.so.5": ("libpq5", "libpq5"),
    "libsndfile.so.1": ("libsndfile1", "libsndfile1"),
    "libssl.so.3": ("libssl3", "libssl3t64"),
    "libtbb.so.12": ("libtbb12", "libtbb12"),
    "libusb-1.0.so.0": ("libusb-1.0-0", "libusb-1.0-0"),
    "libxcb.so.1": ("libxcb1", "libxcb1"),
    "libxml2.so.2": ("libxml2", "libxml2"),
    "libxslt.so.1": ("libxslt1.1", "libxslt1.1"),
    "libzmq.so.5": ("libzmq5", "libzmq5"),
    "libzstd.so.1": ("libzstd1", "libzstd1"),
}


def debian_package(soname: str, suite: str) -> str | None:
    """The package of a suite (`bookworm`, `trixie`) that has the library; None when none is known."""
    names = _PACKAGES.get(soname)
    return (names[0 if suite == "bookworm" else 1] or None) if names else None
