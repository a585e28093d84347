"""The command line ``egat-hub``: one command a file, thin over functions of the package."""

from egat_hub.cli.answer import Answer
from egat_hub.cli.main import build_parser, main

__all__ = ["Answer", "build_parser", "main"]
