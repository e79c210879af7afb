"""An open benchmark of spoken hotline matters: texts, misheard forms of them, a scorer, our figures (README.md)."""
