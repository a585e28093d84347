"""The command line ``egat-hub``: thin over functions of the package."""

from egat_hub.cli.main import Answer, build_parser, main

__all__ = ["Answer", "build_parser", "main"]
