"""``python -m dialogbuild`` is the command line."""

from dialogbuild.cli import main

main()
