"""What can be typed after `uici`: arguments and options, by what a command is for."""
