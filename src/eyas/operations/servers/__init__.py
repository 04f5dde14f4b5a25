"""The servers a team uses, started as child processes on one machine, and stopped again."""
