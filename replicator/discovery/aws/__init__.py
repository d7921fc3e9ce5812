"""AWS: targets of load balancers, members of Auto Scaling groups, the backend's own instance id, and EC2 consoles."""
