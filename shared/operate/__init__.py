"""What operators do, by page and by command: look, approve, roll back, mend."""
