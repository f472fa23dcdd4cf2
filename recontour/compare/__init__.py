"""The paper's study as one command: configurations trained and scored, rivals, tables and figure."""
