"""``python -m latentloom``: the command line, of the interpreter that is asked."""

from latentloom.cli import main

if __name__ == "__main__":
    main()
