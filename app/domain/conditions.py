"""What a backbone is told to draw for a class of the dataset."""

Condition = int | str  # the number of a label, or words
