"""Run the command line as `python -m bulkreset`."""

from bulkreset.cli.app import main

if __name__ == "__main__":
    main()
