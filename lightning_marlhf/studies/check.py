"""`python -m lightning_marlhf.studies.check`: parses command lines of runs, so that a study's last stage fails first.

A process of its own, since the parser imports Lightning, and the process that watches a study should stay small.
"""

import json
import subprocess
import sys
from collections.abc import Sequence

from lightning_marlhf.config.yaml_files import ConfigError


def check_all(commands: Sequence[Sequence[str]]) -> None:
    """Parse command lines such as `["fit", "--config", ...]` in another process.

    Raises:
        ConfigError: one of them is wrong.
    """
    if not commands:
        return
    done = subprocess.run(
        [sys.executable, "-m", "lightning_marlhf.studies.check"],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigError(done.stdout.strip() or done.stderr.strip())


def main() -> int:
    """Check the command lines on stdin; the first mistake is written to stdout."""
    from lightning_marlhf.commands import run as cli

    cli.quieten_lightning()
    for arguments in json.load(sys.stdin):
        try:
            cli.check(arguments)
        except ConfigError as mistake:
            sys.stdout.write(f"{mistake}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
