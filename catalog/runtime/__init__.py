"""What every package needs of the system around it: files and small tables in them, folders, retry policy, plug-ins,
settings, and names that are imported on first use.
"""
