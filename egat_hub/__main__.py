"""``python -m egat_hub``, the same as ``egat-hub``."""

from __future__ import annotations

import sys

from egat_hub.cli.main import main

sys.exit(main())
