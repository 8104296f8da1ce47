"""From windows to rows of an array, and the engines that read them."""
