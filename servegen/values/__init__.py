"""Frozen values that the stages pass on: no input, no output, no imports but each other."""
