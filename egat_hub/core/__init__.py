"""Shared building blocks: registries, configs, result rows, random numbers, files, processes."""
