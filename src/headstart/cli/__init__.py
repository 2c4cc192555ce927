"""The command line: parses, calls, renders; no logic.

What is slow to import is imported when a command runs: `headstart --help` takes no time.
"""
