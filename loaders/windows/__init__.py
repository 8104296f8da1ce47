"""Windows as tensors: of one feature set on its grid or around anchors, of several sets, of several stores."""
