"""What a simulated run knew: the truth file, read only by reports of comparison."""
