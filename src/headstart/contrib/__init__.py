"""Parts that use the seams which a stranger's package uses, and that nothing else imports.

Each folder with an ``entry_points.txt`` is a plug-in, registered as an installed package is: see
`headstart.registry`.
"""
