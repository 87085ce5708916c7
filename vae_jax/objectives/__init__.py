"""What is minimised: an equation a function, in nats."""
