"""The distribution itself: its version, and that no file of a user hides its packages. Standard library only."""
