"""Layers, images, content store, registry client and a base from Debian packages; knows nothing of models."""
