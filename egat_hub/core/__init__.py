"""What everything else stands on: registries, configs, result rows, random numbers, files, processes."""
