"""Activations, initialisation, normalisation and architectures, as ordinary torch modules."""
