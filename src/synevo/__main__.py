"""`python -m synevo` runs the command `synevo`."""

from synevo.cli.app import main

if __name__ == "__main__":
    main()
