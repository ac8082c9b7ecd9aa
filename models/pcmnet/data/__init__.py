"""What is read from disk and what it becomes: images, captions, vocabularies, stored features."""
