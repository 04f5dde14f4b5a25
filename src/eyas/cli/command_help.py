"""A command's arguments and options: what ``--help`` says of them, and which one a misspelt one is near."""

import difflib
from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """Shows ``FILE...`` where typer has ``{FILE...}...`` and ``FILE... <list[Path]>``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does; of the options that an unknown one may stand for, the nearest alone is offered."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            offered = getattr(error, "possibilities", None)
            if offered:  # typer compares the dashes, too, in which all are alike
                by_word = {option.lstrip("-"): option for option in offered}
                typed = str(getattr(error, "option_name", "")).lstrip("-")
                near = [by_word[word] for word in difflib.get_close_matches(typed, by_word, n=1)]
                error.possibilities = near  # type: ignore[attr-defined]
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words behind the command's name."""
        arguments = [param for param in self.params if param.param_type_name == "argument"]
        names = [param.metavar or str(param.name).upper() for param in arguments]
        shown = [name if param.required else f"[{name}]" for name, param in zip(names, arguments, strict=True)]
        return [self.options_metavar or "", *shown]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The lists of arguments and options."""
        for kind, title in (("argument", "Arguments"), ("option", "Options")):
            params = [param for param in self.get_params(ctx) if param.param_type_name == kind]
            records = [record for record in (param.get_help_record(ctx) for param in params) if record]
            if records:
                with formatter.section(title):
                    formatter.write_dl([(name.partition(" <")[0], text) for name, text in records])
