"""The bundle: all that a device needs to run the network and to tell whether it runs as it should."""
