"""Broken cores, each with one rule taken away: the judge must find every one, or it is blind there."""
