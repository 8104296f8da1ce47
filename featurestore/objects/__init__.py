"""Raw objects of a store, on a local disk or in an object store, and who may read them."""
