"""The explorer beside a store, a server before it, and the client of that server.

The page reads values over HTTP with no server of ours; `featurestore.web.serving` answers other programs.
"""

from typing import TYPE_CHECKING

from catalog.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from featurestore.web.page import NotExplorable, Published, publish_explorer, publish_status

__all__ = ["NotExplorable", "Published", "publish_explorer", "publish_status"]

if not TYPE_CHECKING:  # the client needs nothing of what the page imports
    __getattr__, __dir__ = lazy_names(__name__, door=dict.fromkeys(__all__, "featurestore.web.page"), more={})
