"""The methods of HTTP that figures, counts and traces tell apart."""

METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
"""Any other one is a client's invention, and counts as one with all others (as OpenTelemetry's conventions say)."""
