"""A measured classifier put to use: loaded, run on images, exported to other runtimes.

Nothing is imported here: `headstart.deploy.classifier` loads torch, and who reads
`headstart.deploy.preprocessing` must not.
"""
