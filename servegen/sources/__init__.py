"""Model URI → Model: resolve once, download once, read what later stages need."""

from servegen.sources.resolve import StoreOptions, resolve

__all__ = ["StoreOptions", "resolve"]
