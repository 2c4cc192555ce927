"""The adapters: one per library of networks, found by what `Model.source` says."""
