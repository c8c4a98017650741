"""The parts of `bench/serving.py`: peers, models, load and the report."""
