"""What a test may see of the machine: no home folder, no caches, no settings of the person who runs it.

Only the environment variables named here pass. `SLURM_*` would make Lightning look for other nodes, `WANDB_*` and
`HF_*` lead to a user's accounts and caches, `COLUMNS` and `NO_COLOR` change what commands print.
"""

import atexit
import os
import shutil
import site
import tempfile
from pathlib import Path

_ROOT = str(Path(__file__).parents[1])
_KEPT = {"PATH", "TMPDIR", "CI", "LANG", "CUDA_HOME", "CUDA_VISIBLE_DEVICES"}
_KEPT_PREFIXES = (
    *("PYTEST", "COV", "PYTHONPATH", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE"),
    *("OMP_", "MKL_", "OPENBLAS_", "LD_"),  # how this machine computes, and where its libraries are
)


def isolate(*, gpu: bool) -> None:
    """Leave this process, and those that it starts, with an empty home folder and only the variables named here.

    Args:
        gpu: let CUDA see the devices that it sees outside; otherwise it sees none.
    """
    if not gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    python_packages = site.getuserbase()  # of `pip install --user`: they follow the home folder
    for name in list(os.environ):
        if name not in _KEPT and not name.startswith(_KEPT_PREFIXES):
            del os.environ[name]
    home = tempfile.mkdtemp(prefix="marlhf-tests-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    others = os.environ.get("PYTHONPATH")
    os.environ.update(
        HOME=home,
        PYTHONPATH=os.pathsep.join([_ROOT, others] if others else [_ROOT]),  # the code of this checkout
        PYTHONUSERBASE=python_packages,
        HF_HUB_OFFLINE="1",  # read once, on import of the Hub's client: no test reaches the network
    )
