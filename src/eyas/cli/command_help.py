"""What ``--help`` says of a command's arguments: their names alone, as one types them."""

from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """Shows ``FILE...`` where typer has ``{FILE...}...`` and ``FILE... <list[Path]>``."""

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
