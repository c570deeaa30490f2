"""MLflow: a run of the experiment PROJECT, at $MLFLOW_TRACKING_URI, else in `mlflow.db` of the runs' root."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

# A server that does not answer must not hold a training up for minutes; and nobody is told that it is used.
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
AT_ONCE = 90  # parameters that one call may carry (100)


class Tracker:
    """A run, by the client: MLflow's own idea of the active run is left alone."""

    def open(self, told, known: str | None) -> str:
        """The run's id."""
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self.client = MlflowClient(uri or f"sqlite:///{told.root / 'mlflow.db'}")
        if known is not None:
            self.client.update_run(known, status="RUNNING")  # raises where it is not there any more
            self.id = known
            return known
        experiment = self.client.get_experiment_by_name(told.project)
        place = None if uri else (told.root / "mlflow-artifacts" / told.project).absolute().as_uri()
        number = (
            experiment.experiment_id if experiment else self.client.create_experiment(told.project, place)
        )
        self.id = self.client.create_run(number, run_name=told.name).info.run_id
        parameters = [Param(name, value) for name, value in told.parameters.items()]
        for start in range(0, len(parameters), AT_ONCE):
            self.client.log_batch(self.id, params=parameters[start : start + AT_ONCE])
        return self.id

    def log(self, metrics: dict[str, float], epoch: int) -> None:
        """All metrics of an epoch at once."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self.client.log_batch(self.id, metrics=[Metric(k, v, now, epoch) for k, v in metrics.items()])

    def end(self, summary: dict[str, float], figures: dict[str, Any], files: list[Path]) -> None:
        """The summary as metrics, figures as pages, the files of the run as its artefacts."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        final = [Metric(f"summary.{k}", v, now, 0) for k, v in summary.items()]
        self.client.log_batch(self.id, metrics=final)
        for name, figure in figures.items():
            self.client.log_figure(self.id, figure, f"figures/{name}.html")
        for file in files:
            self.client.log_artifact(self.id, str(file), "run")
        self.client.set_terminated(self.id, "FINISHED")
        self.id = ""

    def close(self) -> None:
        """Say that the run was interrupted, unless it has ended."""
        if getattr(self, "id", ""):
            self.client.set_terminated(self.id, "KILLED")
