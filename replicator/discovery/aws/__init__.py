"""AWS: who is behind a load balancer or in an Auto Scaling group, who we are, and what a console shows."""
