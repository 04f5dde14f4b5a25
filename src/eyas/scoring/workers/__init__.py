"""Who measures candidates: this process, processes of this machine, or a Ray cluster."""
