"""One module per pipeline stage, and the Prefect tasks that drive, record, report and register them."""
