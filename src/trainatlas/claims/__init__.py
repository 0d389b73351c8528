"""The statements of the lecture notes, and the verdicts that measurements give on them."""
