"""Deciding, without doing: what is in an image, and what a deployment is."""
