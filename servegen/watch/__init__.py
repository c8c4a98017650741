"""Following a model registry: what moved is deployed.

`polling` decides what is to be done, `webhooks` which deliveries of MLflow are believed, `listening` receives
them, `running` does one thing a model at a time, `watching` keeps all of it going.
"""
