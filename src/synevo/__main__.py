"""`python -m synevo` is the command `synevo`."""

from synevo.cli import main

if __name__ == "__main__":
    main()
