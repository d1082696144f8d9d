"""How long to wait before asking a store again that did not answer."""

from __future__ import annotations

import random
from typing import Final

FIRST_S: Final = 0.1
MAX_S: Final = 5.0


class Backoff:
    """Doubles from `FIRST_S` to `MAX_S`, each time less by chance, so that hosts do not all come back at once."""

    def __init__(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures += 1

    def succeeded(self) -> None:
        self._failures = 0

    def delay_s(self) -> float:
        """Return how long to wait now; 0 unless the last attempt failed."""
        if not self._failures:
            return 0.0
        return min(MAX_S, FIRST_S * 2.0 ** min(self._failures - 1, 10)) * random.uniform(0.5, 1.0)
