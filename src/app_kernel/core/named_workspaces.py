"""Which workspaces a request names."""

from starlette.requests import HTTPConnection

PARAMETER = "workspace_id"
HEADER = "x-workspace-id"
_RAW_HEADER = HEADER.encode()


def named_workspaces(request: HTTPConnection) -> set[str]:
    """Every workspace that the path, the query or the header of a request names.

    Empty text names one that nobody is in: the function of a route that reads the same parameter must not work with
    another text than the one that was checked.
    """
    scope = request.scope
    # One look at the raw text spares most requests the parsing. A name may be percent-encoded, as a whole or in part.
    query = scope["query_string"]
    named = set(request.query_params.getlist(PARAMETER)) if b"workspace" in query or b"%" in query else set()
    named.update(value.decode("latin-1") for name, value in scope["headers"] if name == _RAW_HEADER)
    in_path = scope.get("path_params", {}).get(PARAMETER)
    if in_path is not None:
        named.add(str(in_path))
    return named
