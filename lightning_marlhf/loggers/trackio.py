"""A logger for trackio (github.com/gradio-app/trackio): dashboards on this machine or in a Hugging Face Space."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only


class TrackioLogger(Logger):
    """Logs to trackio, which Lightning has no logger for. `trackio show` opens the dashboard.

    Args:
        project: Runs of one project are shown together.
        run: The name of the run; null lets trackio choose one. A run that is resumed under its name is continued.
        space_id: A Hugging Face Space that shows the dashboard; null keeps all on this machine.

    Raises:
        ValueError: trackio is not installed.
    """

    def __init__(self, project: str = "ma-rlhf", *, run: str | None = None, space_id: str | None = None) -> None:
        super().__init__()
        try:
            import trackio
        except ModuleNotFoundError as error:
            raise ValueError(f"trainer.logger: {error}: pip install trackio") from None
        self._trackio = trackio
        self._project = project
        self._run = run
        self._space_id = space_id
        self._config: dict[str, Any] = {}
        self._experiment: Any = None

    @property
    def name(self) -> str:
        """The project."""
        return self._project

    @property
    def version(self) -> str | None:
        """The run."""
        return self._run

    @property
    def experiment(self) -> Any:
        """The run of trackio; None before its first metrics, since it takes the config when it begins."""
        return self._experiment

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Keep the resolved config for the beginning of the run."""
        self._config = vars(params) if isinstance(params, Namespace) else dict(params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the metrics of an update."""
        if self._experiment is None:
            self._experiment = self._trackio.init(
                self._project, name=self._run, space_id=self._space_id, config=self._config, resume="allow", embed=False
            )
        self._experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send what is left."""
        if self._experiment is not None:
            self._experiment.finish()
            self._experiment = None
