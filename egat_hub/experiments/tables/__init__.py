"""Tables of result rows."""
