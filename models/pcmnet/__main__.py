"""`python -m pcmnet`, which is also how `torchrun` starts its processes: the command line."""

from .cli import main

if __name__ == "__main__":
    main()
