"""A log line when a condition comes, changes or goes; silence while it lasts."""

from __future__ import annotations

from typing import Any


class ChangeLogger:
    """Remembers the state of each named condition; logger: an rclpy logger."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._problems: dict[str, str] = {}

    def problem(self, key: str, code: str, sentence: str) -> None:
        """Warn with sentence unless key already has the same code."""
        if self._problems.get(key) != code:
            self._problems[key] = code
            self._logger.warning(sentence)

    def fine(self, key: str, sentence: str) -> None:
        """Log that key has recovered, if it had a problem."""
        if self._problems.pop(key, None) is not None:
            self._logger.info(sentence)
