"""Planning which rows windows need, and the engines that read them."""
