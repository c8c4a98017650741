"""The server inside every image: MLflow's `/invocations` and the Open Inference Protocol over one model.

Imports nothing else of servegen, so that the folder can be copied into an image alone.
"""
