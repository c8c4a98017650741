"""The git program: clones, commits and pushes. Nothing here knows what a model is."""
