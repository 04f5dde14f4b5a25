"""Networks side by side: what differs, what does not compare; as table, curve and page."""
