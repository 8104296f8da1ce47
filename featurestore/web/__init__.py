"""The explorer beside a store: a page that reads its values over HTTP, with no server of ours.

Belongs here: putting the page and a table of genes there. Does not: what the page does (`web/`, in TypeScript).
"""

from featurestore.web.page import NotExplorable, Published, publish_explorer

__all__ = ["NotExplorable", "Published", "publish_explorer"]
