"""`python -m ducttape`: the same as the installed command."""

from ducttape.cli.main import console

if __name__ == "__main__":
    console()
