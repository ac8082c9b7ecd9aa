"""The embedded model's path: from captioned photos to the bundle that ships with the service."""
