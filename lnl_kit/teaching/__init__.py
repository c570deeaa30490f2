"""Lessons made from the notebooks, notes for the teacher, and the grading of a class's notebooks."""
