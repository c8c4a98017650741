"""Releases in a Git repository: where their files are, what they say, and how they are changed."""
