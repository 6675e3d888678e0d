"""`python -m seedcli`, and `torchrun -m seedcli`."""

from seedcli.cli.main import main

if __name__ == "__main__":
    main()
