"""Raw objects of a store, on a local disk or in an object store, with retries and credentials."""
