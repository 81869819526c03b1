"""What functions do after their own work: drop what nobody needs, and send again the events that were lost."""
