"""The program: the command of all questions, and the page that the notebooks start from."""
