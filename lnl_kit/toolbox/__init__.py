"""What methods are made of: losses, networks, augmentations, mixtures, metrics, random numbers. Knows no data
set and no run.
"""
