"""What runs on the controller: hosts asked over SSH, playbooks run through ansible-runner."""
