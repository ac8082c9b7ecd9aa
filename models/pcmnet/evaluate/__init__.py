"""Captions of a model, a bundle or a service, and how good they are."""
