"""An argument parser that complains in one line: the wrong key or value, the nearest right one, what was expected."""

from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from lightning_marlhf.config import config_check
from lightning_marlhf.config.class_names import resolve_class
from lightning_marlhf.config.messages import one_line
from lightning_marlhf.config.raw_config import ConfigError, look_up, merge, sources
from lightning_marlhf.config.signatures import settings_of


class RunParser(LightningArgumentParser):
    """The parser of fit, validate, test and predict."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tree: dict[str, Any] = {}
        self.schema: dict[str, Any] = {}

    def read(self, arguments: Sequence[str], *, linked: Sequence[str]) -> Namespace:
        """Read the command line and its files; wrong keys and classes are refused before values are looked at.

        Args:
            arguments: the command line.
            linked: paths that must not be set by hand, since `seed_everything` sets them.

        Returns:
            The resolved config.

        Raises:
            ConfigError: names what is wrong, where, and the nearest right one.
        """
        for source in sources(arguments):
            self.tree = merge(self.tree, source.tree, accepted=_settings)
            self._check_source(source.name)
        if "--print_config" not in arguments:
            self._check_whole(linked)
        return self.parse_object(self.tree)

    def _check_source(self, name: str) -> None:
        try:
            config_check.check_keys(self.tree, self.schema)
        except ConfigError as mistake:
            raise ConfigError(f"{name}: {mistake}" if name else str(mistake)) from None

    def _check_whole(self, linked: Sequence[str]) -> None:
        for key in ("model", "data"):
            if key not in self.tree:
                raise ConfigError(f"{key} is missing: give --config FILE (see experiments/)")
        if not (self.tree.get("trainer") or {}).get("default_root_dir"):
            example = "e.g. --trainer.default_root_dir runs/mine"
            raise ConfigError(
                f"trainer.default_root_dir is missing: the folder of this run, {example}"
            )
        config_check.check_complete(self.tree, self.schema, linked=linked)
        seed = self.tree.get("seed_everything", self.get_default("seed_everything"))
        for path in linked:
            given = look_up(self.tree, path)
            if given is not None and given != seed:
                raise ConfigError(
                    f"{path}: {given} differs from seed_everything ({seed}), which sets it"
                )

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what jsonargparse found wrong in one line."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise ConfigError(one_line(message, self.tree)) from None


def _settings(class_path: str) -> Collection[str]:
    try:
        return settings_of(resolve_class(class_path, (), path="class_path")) or ()
    except ConfigError:  # said better when the whole key is known
        return ()
