"""Turn an MLflow model URI into a tested serving image and the Kubernetes objects that autoscale it."""

__version__ = "0.1.0"
