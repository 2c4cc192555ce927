"""A measured classifier put to use: loaded, run on images, exported to other runtimes.

Nothing is imported here: `headstart.deploy.graph` needs torch, and who reads
`headstart.deploy.result_details` must not.
"""
