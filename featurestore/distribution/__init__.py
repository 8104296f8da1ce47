"""The distribution itself: its version, and detecting user files that shadow its packages. Standard library only."""
