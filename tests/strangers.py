"""Files as a stranger may hand them over: code that hides in what should be data."""

import os
from pathlib import Path
from typing import Any


class Payload:
    """Makes a folder when it is unpickled freely."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)
