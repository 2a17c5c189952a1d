"""Evaluation of models on labelled clips and streams. Needs numpy alone."""
