"""Keeps pytest from rewriting the assertions of schemathesis, which has none of interest in its 100,000 lines.

As it brings a plugin, pytest would do so for every module of it, half a minute in an environment that is new.
"""

import sys

for _finder in sys.meta_path:
    _marked = getattr(_finder, "_must_rewrite", None)
    if isinstance(_marked, set):
        _marked.discard("schemathesis")
