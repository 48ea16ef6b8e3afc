"""The auditor (a second, dumber engine) and the long random simulation that it watches."""
