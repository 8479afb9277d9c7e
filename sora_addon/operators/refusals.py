"""How an operator says no: a report, and the sentence with its remedy in the panel until the next try."""
from __future__ import annotations

import functools
from collections.abc import Callable

from ...engine.errors import SoraError


def refusing(execute: Callable) -> Callable:
    """An operator's `execute` that refuses with whatever SoraError it meets."""
    @functools.wraps(execute)
    def execute_or_refuse(self, context):       # Blender counts the arguments
        try:
            return execute(self, context)
        except SoraError as error:
            return refuse(self, context, error)
    return execute_or_refuse


def refuse(operator, context, error: SoraError) -> set[str]:
    """Reports the sentence, keeps it with its remedy for the panel, and cancels."""
    session, remedy = context.window_manager.sora, error.remedy
    session.refusal = error.sentence
    session.remedy_action = remedy.action if remedy else ""
    session.remedy_label = remedy.label if remedy else ""
    session.remedy_value = remedy.value if remedy else ""
    operator.report({"ERROR"}, error.sentence)
    return {"CANCELLED"}


def forget(context) -> None:
    """The trouble is over."""
    session = context.window_manager.sora
    session.refusal = session.remedy_action = session.remedy_label = session.remedy_value = ""
