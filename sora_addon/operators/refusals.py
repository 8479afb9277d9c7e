"""How an operator says no: a report, and the sentence with its remedy in the panel until the next try."""
from __future__ import annotations

from ...engine.errors import SoraError


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
