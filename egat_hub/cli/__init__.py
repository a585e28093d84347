"""The command line ``egat-hub``: one command a file, thin over functions of the package."""

from egat_hub.cli.main import Answer, build_parser, main

__all__ = ["Answer", "build_parser", "main"]
