"""What the functions do beside the flows: drop what nobody needs, and send again what was lost."""
