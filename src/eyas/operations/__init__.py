"""What runs it week after week: tracking, report, servers, gates, lineage, notices."""
