"""Trains a random forest on Fisher's iris data and registers it as `iris`, with the alias `champion`.

python models/iris/train.py sqlite:///mlflow.db
"""

import logging
import sys
from pathlib import Path

import mlflow
import sklearn
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

NAME, ALIAS = "iris", "champion"


def main(tracking_uri: str) -> str:
    """Train, log, register; returns the registered version."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(tracking_uri)
    data, target = load_iris(return_X_y=True, as_frame=True)
    train, test, train_target, test_target = train_test_split(data, target, random_state=0)
    forest = RandomForestClassifier(n_estimators=50, random_state=0).fit(train, train_target)
    with mlflow.start_run():
        mlflow.log_metric("accuracy", forest.score(test, test_target))
        logged = mlflow.sklearn.log_model(
            forest,
            name=NAME,
            signature=infer_signature(train, forest.predict(train)),
            input_example=test.head(3),
            registered_model_name=NAME,
            pip_requirements=_requirements(),
            # Trees are stored in a type of scikit-learn's own, which skops loads only when it is named.
            skops_trusted_types=["sklearn.tree._tree.Tree"],
        )
    version = str(logged.registered_model_version)
    mlflow.MlflowClient().set_registered_model_alias(NAME, ALIAS, version)
    return version


def _requirements() -> list[str]:
    # What the forest needs to predict; MLflow would add whatever else happens to be imported.
    import numpy
    import pandas
    import skops

    modules = {"mlflow": mlflow, "numpy": numpy, "pandas": pandas, "scikit-learn": sklearn, "skops": skops}
    return [f"{name}=={module.__version__}" for name, module in modules.items()]


if __name__ == "__main__":
    uri = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    print(f"models:/{NAME}/{main(uri)}")
