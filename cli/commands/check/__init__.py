"""`sluice check URL`: is this a chat-completions API as OpenAI's clients take it for granted? Ours or another's."""

from cli.commands.check.report import check

__all__ = ["check"]
